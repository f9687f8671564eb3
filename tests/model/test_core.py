"""The recursion: what one supervision step is, where gradient flows, what padding and batches may not change."""

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

import trmfin.model.core
from tests.model import by_hand
from trmfin.model.config import Mixer, ModelConfig
from trmfin.model.core import Core, State

LENGTH, WIDTH = 5, 8
MASK = torch.tensor([[True] * 5, [True, False, False, True, True], [True, False, False, False, False]])


def config(mixer: Mixer, **changes: int) -> ModelConfig:
    sizes = {"width": WIDTH, "head_width": 4, "blocks": 2, "inner_multiple": 4, "latent_steps": 2, "answer_steps": 3} | changes
    return ModelConfig(mixer=mixer, **sizes)


def core(mixer: Mixer = "attention", **changes: int) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Core(config(mixer, **changes), LENGTH).double()  # so that a difference is a difference in meaning, not in rounding


def question(rows: int = 3) -> Tensor:
    x = torch.randn(3, LENGTH, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return (x * MASK.unsqueeze(-1))[:rows]


def stepped(model: Core, x: Tensor, mask: Tensor = MASK, steps: int = 1) -> State:
    state, setting = model.start(x), model.setting(mask)
    for _ in range(steps):
        state = model(x, state.detach(), setting)
    return state


def step_by_hand(model: Core, x: Tensor, hidden: Tensor, cut: bool = True) -> tuple[Tensor, Tensor]:
    """One supervision step of one sample: T cycles, all but the last detached where `cut`."""
    c, weights = model.config, dict(model.named_parameters())
    y, z = model.start_y.expand_as(x), model.start_z.expand_as(x)
    heads = c.heads if c.mixer == "attention" else 0
    for number in range(c.answer_steps):
        y, z = by_hand.cycle(x, y, z, weights, c.latent_steps, c.blocks, heads, hidden)
        if cut and number < c.answer_steps - 1:
            y, z = y.detach(), z.detach()
    return y, z


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_one_supervision_step_equals_a_hand_computed_step(mixer: Mixer) -> None:
    model = core(mixer)
    found = stepped(model, question())
    for row in range(3):
        y, z = step_by_hand(model, question()[row], ~MASK[row])
        torch.testing.assert_close(found.y[row], y, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.z[row], z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_gradient_flows_through_the_last_cycle_only(mixer: Mixer) -> None:
    model, x = core(mixer), question(1)[0]
    gradients = []
    for compute in (
        lambda: stepped(model, x[None], MASK[:1]).y[0],
        lambda: step_by_hand(model, x, ~MASK[0])[0],
        lambda: step_by_hand(model, x, ~MASK[0], cut=False)[0],
    ):
        model.zero_grad()
        (compute()[0] * torch.arange(WIDTH)).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None})
    ours, last_only, through_all = gradients
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, last_only[name], atol=1e-5, rtol=1e-5)
        assert (gradient - through_all[name]).abs().max() > 1e-3, name


def test_gradient_does_not_flow_into_the_supervision_step_before() -> None:
    model = core()
    x = question().requires_grad_()
    first = stepped(model, x)
    second = model(x, first.detach(), model.setting(MASK))
    before = torch.autograd.grad(second.y.sum(), first.y, allow_unused=True, retain_graph=True)[0]
    assert before is None and torch.autograd.grad(second.y.sum(), x)[0].abs().sum() > 0


def test_the_starting_state_is_saved_with_the_network_and_never_trained() -> None:
    model = core()
    assert {"start_y", "start_z"} <= set(model.state_dict()) and not {"start_y", "start_z"} & {name for name, _ in model.named_parameters()}
    assert model.start_y.shape == model.start_z.shape == (WIDTH,) and not torch.equal(model.start_y, model.start_z)
    state = model.start(question())
    assert state.y.shape == (3, LENGTH, WIDTH) and torch.equal(state.y[0, 0], state.y[2, 4]) and torch.equal(state.z[1, 1], model.start_z)


def test_the_starting_state_has_unit_spread() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wide = Core(ModelConfig(width=512, head_width=8, blocks=1, mixer="mlp", inner_multiple=1), 1)
    assert wide.start_y.std().item() == pytest.approx(1, abs=0.1) and wide.start_y.abs().max() < 2.4


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_what_stands_on_padding_changes_no_real_token(mixer: Mixer) -> None:
    model, rubbish = core(mixer), torch.full((3, LENGTH, WIDTH), 9.0).double()
    clean = stepped(model, question(), steps=2)
    dirty = stepped(model, torch.where(MASK.unsqueeze(-1), question(), rubbish), steps=2)
    torch.testing.assert_close(clean.y[MASK], dirty.y[MASK], atol=1e-6, rtol=0)


def test_more_padding_on_the_left_changes_no_real_token() -> None:
    model = Core(config("attention"), LENGTH + 3).double()
    x = question()
    wider, padded = torch.cat((torch.full((3, 3, WIDTH), 9.0), x), 1), torch.cat((torch.zeros(3, 3, dtype=torch.bool), MASK), 1)
    plain, shifted = stepped(model, x, steps=2), stepped(model, wider, padded, steps=2)
    torch.testing.assert_close(plain.y[MASK], shifted.y[:, 3:][MASK], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_a_sample_is_answered_alike_alone_in_any_batch_and_in_any_order(mixer: Mixer) -> None:
    model, order = core(mixer), torch.tensor([2, 0, 1])
    together = stepped(model, question(), steps=2)
    mixed = stepped(model, question()[order], MASK[order], steps=2)
    torch.testing.assert_close(together.y[order], mixed.y, atol=1e-6, rtol=0)
    for row in range(3):
        alone = stepped(model, question()[row : row + 1], MASK[row : row + 1], steps=2)
        torch.testing.assert_close(together.y[row : row + 1], alone.y, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_tokens_exchange_information_and_their_order_matters(mixer: Mixer) -> None:
    model, x = core(mixer), question(1)
    changed, swapped = x.clone(), x[:, [0, 2, 1, 3, 4]]
    changed[:, 4] += 1
    mask = MASK[:1]
    assert (stepped(model, x, mask).y[0, 0] - stepped(model, changed, mask).y[0, 0]).abs().max() > 1e-3
    assert (stepped(model, x, mask).y[0, 0] - stepped(model, swapped, mask).y[0, 0]).abs().max() > 1e-4


def test_a_step_runs_the_net_t_times_n_plus_one_times(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = core(latent_steps=4, answer_steps=3), []
    net = Core.net
    monkeypatch.setattr(Core, "net", lambda self, h, setting: calls.append(torch.is_grad_enabled()) or net(self, h, setting))
    stepped(model, question())
    assert calls == [False] * 10 + [True] * 5


def test_the_core_knows_tokens_only() -> None:
    for name in ("core", "layers"):
        tree = ast.parse((Path(trmfin.model.core.__file__).parent / f"{name}.py").read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert {module for module in modules if module.startswith("trmfin")} <= {"trmfin.model.config", "trmfin.model.layers"}
