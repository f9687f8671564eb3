"""The whole network: what a batch may not change, which tasks it serves, what it counts."""

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import trmfin.model
from tests.worlds import WORLDS, card_and_shop, document_chain, grid, monthly_panel
from trmfin.errors import ConfigError, TaskError
from trmfin.model.config import PRESETS, Depth, Mixer, ModelConfig
from trmfin.model.network import Answer, Network
from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import TOKEN_HEADS, Field, History
from trmfin.shipped import load_pipeline

TINY = ModelConfig(width=8, head_width=4, blocks=1, inner_multiple=4, latent_steps=1, answer_steps=2, supervision_steps=2, bins=4)


@cache
def world(make: Callable) -> Sequences:
    sequences = build(*make())
    return sequences.aligned(Fitted.fit(sequences, np.arange(len(sequences)), bins=4))


def network(make: Callable, **changes: object) -> Network:
    sequences = world(make)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return drawn(Network(sequences.task, sequences.fitted, replace(TINY, **changes)))


def drawn(net: Network) -> Network:
    """With weights drawn where they start at zero, so that answers differ."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("heads."):
                parameter.normal_()
    return net.eval()


def whole(make: Callable) -> Batch:
    return world(make).batch(np.arange(len(world(make))))


def answers(net: Network, batch: Batch) -> Answer:
    with torch.inference_mode():
        x, setting = net.encode(batch), net.setting(batch)
        state = net.core.start(x)
        for _ in range(net.config.supervision_steps):
            state = net.core(x, state, setting)
        return net.read(state, setting)


def cores(make: Callable) -> list[dict[str, object]]:
    plain: dict[str, object] = {"core": "plain", "supervision_steps": 1}
    attending: list[dict[str, object]] = [{}, {"nets": 2, "gradient": "step", "damping": 0.05}, plain]
    return attending if make is document_chain else [*attending, {"mixer": "mlp"}, plain | {"mixer": "mlp"}, plain | {"core": "gru"}]


@pytest.mark.parametrize("make", WORLDS)
def test_every_world_is_answered_in_the_shape_its_targets_ask_for(make: Callable) -> None:
    sequences, B, L = world(make), len(world(make)), world(make).task.length
    for changes in cores(make):
        found = answers(network(make, **changes), whole(make))
        assert found.halt.shape == (B,)
        for target in sequences.task.targets:
            shape = {"tokens": (B, L, target.outputs), "choice": (B, L, L)}.get(target.head, (B, target.outputs))
            assert found.logits[target.name].shape == shape and not found.logits[target.name].isnan().any()


@pytest.mark.parametrize("make", WORLDS)
def test_batch_size_and_order_do_not_change_an_answer(make: Callable) -> None:
    sequences, order = world(make), np.random.default_rng(0).permutation(len(world(make)))
    for changes in cores(make):
        net = network(make, **changes)
        together, mixed = answers(net, whole(make)), answers(net, sequences.batch(order))
        for name, logits in together.logits.items():
            torch.testing.assert_close(logits[order], mixed.logits[name], atol=1e-5, rtol=1e-5)
            for row in (0, len(sequences) - 1):
                alone = answers(net, sequences.batch([row]))
                torch.testing.assert_close(logits[row : row + 1], alone.logits[name], atol=1e-5, rtol=1e-5)


def test_a_sample_without_any_history_is_answered() -> None:
    batch = whole(card_and_shop)
    alone = np.flatnonzero(batch.mask.sum(1) == 1)
    assert alone.size and torch.isfinite(answers(network(card_and_shop), batch).logits["fraud"][alone]).all()


def test_padding_is_zero_in_the_question() -> None:
    for make in WORLDS:
        batch = whole(make)
        x = network(make).encode(batch)
        assert (x[torch.from_numpy(~batch.mask)] == 0).all() and (x[:, 0].abs().sum(-1) > 0).all()


def test_what_a_padded_cell_holds_is_never_read() -> None:
    batch = whole(card_and_shop)
    dirty = replace(
        batch,
        numbers=np.where(batch.mask[..., None], batch.numbers, np.float32(7)),
        codes=np.where(batch.mask[..., None], batch.codes, 2),
    )
    for mixer in ("attention", "mlp"):
        net = network(card_and_shop, mixer=mixer)
        assert torch.equal(answers(net, batch).logits["fraud"], answers(net, dirty).logits["fraud"])


def test_a_choice_never_falls_on_padding() -> None:
    batch = whole(document_chain)
    logits = answers(network(document_chain), batch).logits["settles"]
    assert (~batch.mask).any() and (logits.softmax(-1)[torch.from_numpy(~batch.mask)[:, None, :].expand_as(logits)] == 0).all()


@pytest.mark.parametrize("changes", [{}, {"core": "plain", "supervision_steps": 1}])
def test_related_tokens_attend_by_a_learnt_bias(changes: dict[str, object]) -> None:
    net, batch = network(document_chain, **changes), whole(document_chain)
    before = answers(net, batch).logits["cell"]
    assert net.relations is not None and (net.relations == 0).all()
    without = replace(batch, relation=None)
    torch.testing.assert_close(before, answers(net, without).logits["cell"], atol=1e-6, rtol=0)
    with torch.no_grad():
        net.relations[1] = torch.tensor([4.0, -4.0])
    assert (answers(net, batch).logits["cell"] - before).abs().max() > 1e-3
    assert torch.equal(answers(net, without).logits["cell"], before)


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": "mlp"},
        {"core": "gru", "supervision_steps": 1},
        {"core": "plain", "mixer": "mlp", "supervision_steps": 1},
    ],
)
def test_relations_are_refused_where_nothing_would_use_them(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="has relations between tokens"):
        network(document_chain, **changes)


@pytest.mark.parametrize("name", ["k.10", "type", "values"])
def test_a_target_whose_name_torch_cannot_take_is_refused(name: str) -> None:
    _, task = monthly_panel()
    task = replace(task, targets=(replace(task.targets[0], name=name),), primary=name)
    fitted = replace(world(monthly_panel).fitted, task_sha256=task.sha256)
    with pytest.raises(TaskError, match=f"target '{name}' cannot be called so"):
        Network(task, fitted, TINY)


def test_a_task_may_lack_numbers_or_codes_or_all_fields() -> None:
    data, task = monthly_panel()
    for kept in ((), tuple(f for f in task.fields if f.is_code), tuple(f for f in task.fields if not f.is_code)):
        sequences = build(data, replace(task, fields=kept))
        sequences = sequences.aligned(Fitted.fit(sequences, np.arange(len(sequences)), bins=4))
        found = answers(Network(sequences.task, sequences.fitted, TINY).eval(), sequences.batch(np.arange(20)))
        assert torch.isfinite(found.logits["default"]).all()


def test_a_field_that_never_varies_is_known_by_its_presence_only() -> None:
    data, task = monthly_panel()
    task = replace(task, fields=(Field(name="billed", column="billed", transform="number"),))
    sequences = build(data, task)
    fitted = Fitted.fit(sequences, np.array([0]), bins=4)
    assert len(fitted.edges["billed"]) == 1
    found = answers(Network(task, fitted, TINY).eval(), sequences.aligned(fitted).batch(np.arange(20))).logits["default"]
    assert torch.isfinite(found).all() and torch.equal(found[2], found[3])


def payment_history(config: ModelConfig) -> Network:
    """The network of the shipped task, bins and vocabularies as large as real data fill them."""
    task = load_pipeline("payment_history").task
    fitted = Fitted(
        edges={f.name: tuple(map(float, range(config.bins + 1))) for f in task.numbers},
        vocabulary={f.name: tuple(map(str, range(11))) for f in task.codes},
        fit_until="2005-10-01T00:00:00+00:00",
        task_sha256=task.sha256,
    )
    with torch.random.fork_rng(devices=[]):
        return Network(task, fitted, config)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("tiny", 10_000, 150_000), ("small", 10_000, 500_000), ("paper", 5_000_000, 7_000_000)]
)
def test_presets_have_the_promised_size_on_payment_histories(name: str, least: int, most: int) -> None:
    net = payment_history(replace(PRESETS[name], members=1))
    assert least <= net.parameters_count * PRESETS[name].members <= most
    assert net.parameters_count == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_the_count_of_operations_agrees_with_torch(mixer: Mixer) -> None:
    data, task = monthly_panel()
    task = replace(task, histories=(History(name="statements", keys=("client_id",), length=15),))
    sequences = build(data, task)
    sequences = sequences.aligned(Fitted.fit(sequences, np.arange(20), bins=4))
    config = ModelConfig(width=32, blocks=2, inner_multiple=8, latent_steps=2, answer_steps=2, supervision_steps=3, mixer=mixer)
    net, batch = Network(task, sequences.fitted, config), sequences.batch(np.arange(20))
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):  # the fused kernel of a CPU is not counted
        answers(net.requires_grad_(False), batch)  # or the counter looks for where gradients come from
    assert net.flops(steps=3) * 20 == pytest.approx(counted.get_total_flops(), rel=0.03)


@pytest.mark.parametrize(
    ("changes", "depth"),
    [
        ({}, None),
        ({"gradient": "step"}, None),
        ({"nets": 2, "gradient": "step"}, None),
        ({"gradient": "step"}, Depth(1, 2)),
        ({}, Depth(4, 1)),
        ({"core": "plain", "supervision_steps": 1}, None),
        ({"core": "plain", "supervision_steps": 1}, Depth(4, 1)),
    ],
)
def test_the_count_of_operations_of_a_training_step_agrees_with_torch(changes: dict[str, object], depth: Depth | None) -> None:
    net, batch = network(monthly_panel, width=32, head_width=16, **{"answer_steps": 3, "latent_steps": 2} | changes), whole(monthly_panel)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        x, setting = net.encode(batch), net.setting(batch)
        net.read(net.core(x, net.core.start(x), setting, depth), setting).logits["default"].sum().backward()
    assert net.flops(steps=1, training=True, depth=depth) * 20 == pytest.approx(counted.get_total_flops(), rel=0.05)


def test_operations_at_another_depth_are_those_of_a_network_made_so() -> None:
    net, made_so = network(monthly_panel), network(monthly_panel, latent_steps=4, answer_steps=3)
    for training in (False, True):
        assert net.flops(2, training, Depth(4, 3)) == made_so.flops(2, training) > net.flops(2, training)
    assert network(monthly_panel, gradient="step", latent_steps=4).flops(2) == network(monthly_panel, latent_steps=4).flops(2)


def test_weights_are_named_once() -> None:
    state = network(document_chain).state_dict()
    places = [value.untyped_storage().data_ptr() for value in state.values() if value.numel()]
    assert len(places) == len(set(places)) and not any(name.endswith(("_scope", ".turns")) for name in state)


def test_an_answer_per_token_is_given_for_the_leading_token_too() -> None:
    net = network(grid)
    assert all(t.head in TOKEN_HEADS for t in net.task.targets)
    assert answers(net, whole(grid)).logits["digit"].shape == (2, 17, 4)


def test_the_model_names_nothing_of_finance() -> None:
    words = ("default", "fraud", "client", "card", "payment", "loan", "price", "sudoku", "maze")
    for path in Path(trmfin.model.__file__).parent.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not [name for name in names if any(word in name.lower() for word in words)], path.name
