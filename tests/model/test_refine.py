"""Thinking a question over: more steps, several rollouts, and leaving when the halt head says so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.model.test_ensemble import ensemble
from tests.model.test_network import network, whole, world
from tests.worlds import card_and_shop, document_chain, monthly_panel
from trmfin.errors import ConfigError
from trmfin.model.core import State
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Answer, Network
from trmfin.model.refine import Thinking, answers, answers_until_halted, begin, drawn, picked, stirred
from trmfin.sequences.batch import Batch

STIRRED = Thinking(steps=3, rollouts=3, noise=0.5, seed=4)
RESTARTED = Thinking(rollouts=3, random_start=True, pick="residual")


def of(make: Callable[..., Any], **changes: object) -> tuple[Network, Batch, str]:
    return network(make, **{"supervision_steps": 4} | changes), whole(make), world(make).task.primary


def logits(each: list[Answer], name: str) -> torch.Tensor:
    return torch.stack([answer.logits[name] for answer in each])


@torch.no_grad()
def test_as_trained_is_the_plain_loop() -> None:
    model, batch, name = of(monthly_panel)
    x, setting = model.encode(batch), model.setting(batch)
    state, plain = model.core.start(x), []
    for _ in range(4):
        state = model.core(x, state, setting)
        plain.append(model.read(state, setting))
    assert torch.equal(logits(list(answers(model, batch)), name), logits(plain, name))


@torch.no_grad()
def test_fewer_steps_are_the_first_of_more() -> None:
    model, batch, name = of(monthly_panel)
    longer = logits(list(answers(model, batch, Thinking(steps=6))), name)
    assert len(longer) == 6
    assert torch.equal(longer[:2], logits(list(answers(model, batch, Thinking(steps=2))), name))


@torch.no_grad()
@pytest.mark.parametrize("thinking", [STIRRED, RESTARTED])
@pytest.mark.parametrize("members", [None, 2])
def test_an_answer_of_several_rollouts_does_not_depend_on_its_batch(thinking: Thinking, members: int | None) -> None:
    model: Network | Ensemble = network(monthly_panel, supervision_steps=4) if members is None else ensemble(members=members)
    for one in [model] if isinstance(model, Network) else model.networks:
        unsure(one)
    together = logits(list(answers(model, whole(monthly_panel), thinking)), "default")
    for row in (3, 17):
        alone = logits(list(answers(model, world(monthly_panel).batch([row]), thinking)), "default")
        torch.testing.assert_close(alone[:, 0], together[:, row], atol=1e-5, rtol=1e-5)


def unsure(model: Network) -> None:
    """Its halt head is sure of one sample and run more than of another."""
    with torch.no_grad():
        model.halt.weight.normal_(generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("thinking", [STIRRED, RESTARTED])
def test_rollouts_are_a_function_of_the_seed(thinking: Thinking) -> None:
    model, batch, name = of(monthly_panel)
    unsure(model)
    once, again, other = (logits(list(answers(model, batch, replace(thinking, seed=seed))), name) for seed in (4, 4, 5))
    assert torch.equal(once, again) and not torch.equal(once, other)


@torch.no_grad()
@pytest.mark.parametrize("thinking", [STIRRED, RESTARTED])
def test_the_first_run_is_the_undisturbed_one(thinking: Thinking, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, name = of(monthly_panel)
    plain = logits(list(answers(model, batch, Thinking(steps=thinking.steps))), name)
    each: list[list[Answer]] = []
    monkeypatch.setattr("trmfin.model.refine.picked", lambda runs, confidence: each.append(runs) or runs[0])
    assert torch.equal(logits(list(answers(model, batch, thinking)), name), plain)
    assert all(len(runs) == 3 for runs in each)
    for run in (1, 2):
        others = logits([runs[run] for runs in each], name)
        assert not torch.equal(others[-1], plain[-1]) and not torch.equal(others[-1], each[-1][3 - run].logits[name])


@pytest.mark.parametrize("shape", [(3, 5, 8), (3, 2, 5, 8)])  # of a network, and of an ensemble of two
def test_noise_is_the_same_for_every_sample_and_another_for_every_run_step_part_and_member(shape: tuple[int, ...]) -> None:
    start = State(torch.ones(shape), torch.zeros(shape))
    noise = drawn(start, 1.0, seed=1, run=1, step=1, add=False)
    assert noise.y.shape == shape and all(torch.equal(part[0], part[row]) for part in noise for row in (1, 2))
    for changed in ({"seed": 2}, {"run": 2}, {"step": 2}):
        other = drawn(start, 1.0, **{"seed": 1, "run": 1, "step": 1} | changed, add=False)
        assert not torch.isclose(noise.y[0], other.y[0]).any()
    assert not torch.isclose(noise.y, noise.z).any() and (len(shape) == 3 or not torch.isclose(noise.y[:, 0], noise.y[:, 1]).any())
    added = drawn(start, 0.5, seed=1, run=1, step=1)
    torch.testing.assert_close(added.y, 1 + 0.5 * noise.y)
    torch.testing.assert_close(added.z, 0.5 * noise.z)


def test_noise_is_added_before_each_step_but_the_first_and_a_random_start_takes_the_place_of_the_own() -> None:
    start = State(torch.ones(2, 3, 4), torch.ones(2, 3, 4))
    both = Thinking(rollouts=2, noise=0.1, random_start=True)
    assert stirred(start, both, run=1, step=0) is start and stirred(start, both, run=0, step=1) is start
    moved = (stirred(start, both, run=1, step=1).y - start.y).abs().mean()
    assert begin(start, both, run=0) is start and 0.02 < moved < 0.2
    assert begin(start, both, run=1).y.mean().abs() < 0.8 and begin(start, STIRRED, run=1) is start


def test_the_surest_run_is_taken_sample_by_sample() -> None:
    runs = [Answer(logits={"y": torch.full((2, 1), float(run))}, halt=torch.tensor([run, -run]).float()) for run in range(3)]
    best = picked(runs, torch.stack([run.halt for run in runs]))
    assert best.logits["y"].flatten().tolist() == [2.0, 0.0] and best.halt.tolist() == [2.0, 0.0]


@torch.no_grad()
def test_of_each_sample_the_run_is_taken_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that moves y by what the test says, and a halt head that says what the test says: of four samples and three runs."""
    model, batch = network(monthly_panel), world(monthly_panel).batch([0, 1, 2, 3])
    moves = torch.tensor([[2.0, -1, 5, 0.1], [1.0, -2, 4, 0.3], [-3.0, 3, 3, -0.2]])  # (runs, B)
    sure = torch.tensor([[0.0, 9, -1, 2], [7.0, 8, -2, 2], [5.0, 1, -3, 3]])
    monkeypatch.setattr(type(model.core), "forward", lambda self, x, state, setting: State(state.y + next(steps)[:, None, None], state.z))
    monkeypatch.setattr(type(model), "read", lambda self, state, setting: Answer(logits={"y": state.y[:, 0, :1]}, halt=next(reads)))
    begun = torch.stack([begin(model.core.start(model.encode(batch)), RESTARTED, run).y[:, 0, 0] for run in range(3)])
    for pick, runs in (("halt", [[1, 0, 0, 2], [0, 2, 2, 0]]), ("residual", [[1, 0, 2, 0]] * 2)):
        steps, reads = iter(moves.repeat(2, 1)), iter([*sure, *-sure])
        each = list(answers(model, batch, replace(RESTARTED, steps=2, pick=pick)))
        for number, (answer, taken) in enumerate(zip(each, runs, strict=True), 1):
            torch.testing.assert_close(answer.logits["y"][:, 0], (begun + number * moves)[taken, range(4)])
            assert answer.halt.tolist() == (sure, -sure)[number - 1][taken, range(4)].tolist()


@torch.no_grad()
@pytest.mark.parametrize("members", [None, 2])
def test_what_moves_on_padding_settles_nothing(members: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Network | Ensemble = network(monthly_panel) if members is None else ensemble(members=members)
    batch = whole(monthly_panel)
    assert not batch.mask.all()
    asked: list[torch.Tensor] = []
    monkeypatch.setattr("trmfin.model.refine.picked", lambda runs, confidence: asked.append(confidence) or runs[0])
    core = type(model.core)
    loudness, plain, padding = iter([0.0] * 3 + [100.0] * 3), core.__call__ if members else core.forward, torch.from_numpy(~batch.mask)

    def moved(self: Any, x: torch.Tensor, state: State, setting: Any) -> State:
        y, z = plain(self, x, state, setting)
        where = padding[:, None, :, None] if members else padding[..., None]
        return State(y + next(loudness) * where, z)

    monkeypatch.setattr(core, "__call__" if members else "forward", moved)
    for _ in range(2):
        list(answers(model, batch, replace(RESTARTED, steps=1)))
    torch.testing.assert_close(*asked)


@torch.no_grad()
@pytest.mark.parametrize("thinking", [STIRRED, replace(STIRRED, pick="residual"), RESTARTED])
def test_an_ensemble_of_one_is_thought_over_as_its_member_is(thinking: Thinking) -> None:
    together, batch = ensemble(members=1), whole(monthly_panel)
    (member,) = together.networks
    unsure(member)
    each, alone = (list(answers(model, batch, thinking)) for model in (together, member))
    torch.testing.assert_close(logits(each, "default"), logits(alone, "default"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps 0"),
        ({"rollouts": 0}, "rollouts 0"),
        ({"rollouts": 2, "noise": -1.0}, "noise -1.0"),
        ({"rollouts": 2, "noise": float("nan")}, "noise nan"),
        ({"rollouts": 2, "noise": float("inf")}, "noise inf"),
        ({"rollouts": 2, "noise": 0.5, "seed": -1}, "seed -1"),
        ({"pick": "best"}, "pick is 'best'"),
        ({"rollouts": 2}, "need noise or a random start"),
        ({"noise": 0.5}, "one run has neither"),
        ({"random_start": True}, "one run has neither"),
        ({"pick": "residual"}, "there is one run to take"),
    ],
)
def test_thinking_that_means_nothing_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"thinking: .*{said}") as caught:
        Thinking(**wrong)
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("steps", [None, 2, 6])
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (monthly_panel, {}),
        (monthly_panel, {"mixer": "mlp", "nets": 2, "damping": 0.1}),
        (card_and_shop, {"mixer": "mlp"}),  # padded
        (document_chain, {}),  # padded, with relations
    ],
)
def test_who_leaves_early_has_the_answer_of_the_step_it_left_at(
    make: Callable[..., Any], changes: dict[str, object], steps: int | None
) -> None:
    model, batch, name = of(make, **changes)
    model.halt.weight.normal_(generator=torch.Generator().manual_seed(3))
    if model.relations is not None:
        model.relations.normal_(generator=torch.Generator().manual_seed(5))
    each = list(answers(model, batch, Thinking(steps=steps)))
    halts = torch.stack([answer.halt for answer in each])  # (S, B)
    model.halt.bias -= halts[0].mean()  # so that some leave at once
    margin = 0.01
    halts = torch.stack([answer.halt for answer in answers(model, batch, Thinking(steps=steps))])
    stops = halts > margin
    stops[-1] = True
    expected = stops.int().argmax(0) + 1
    answer, used = answers_until_halted(model, batch, steps=steps, margin=margin)
    assert 1 < len(expected.unique())
    assert used.tolist() == expected.tolist()
    wanted = logits(each, name)[expected - 1, torch.arange(len(expected))]
    torch.testing.assert_close(answer.logits[name], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer.halt, halts[expected - 1, torch.arange(len(expected))], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("bias", "steps"), [(1e6, 1), (-1e6, 4)])
def test_all_may_leave_at_once_or_none_before_the_end(bias: float, steps: int) -> None:
    model, batch, _ = of(monthly_panel)
    model.halt.bias.fill_(bias)
    assert set(answers_until_halted(model, batch)[1].tolist()) == {steps}
