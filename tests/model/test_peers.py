"""Peers of the core: two nets with a one-step gradient (HRM), blocks passed once, updates that keep a share of the old."""

import pytest
import torch
from torch import Tensor

from tests.model import by_hand
from tests.model.test_core import LENGTH, MASK, config, core, question
from trmfin.errors import ConfigError
from trmfin.model.config import Depth, ModelConfig
from trmfin.model.core import Core, State
from trmfin.model.peers import PlainCore


def peer(**changes: object) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Core(ModelConfig(**config("attention").to_json() | changes), LENGTH).double()


def stepped(model: Core, x: Tensor, depth: Depth | None = None) -> State:
    return model(x, model.start(x), model.setting(MASK), depth)


def test_two_nets_refine_z_with_one_and_y_with_the_other() -> None:
    model = peer(nets=2, latent_steps=2, answer_steps=1)
    x, setting = question(), model.setting(MASK)
    y, z = model.start(x)
    for _ in range(2):
        h = z + x + y
        for block in model.blocks:
            h = block(h, setting, block.weights(h.dtype))
        z = h
    h = y + z
    for block in model.answer_blocks:
        h = block(h, setting, block.weights(h.dtype))
    found = stepped(model, x)
    torch.testing.assert_close(found.y, h)
    torch.testing.assert_close(found.z, z)
    assert not torch.equal(model.blocks[0].mlp.down.weight, model.answer_blocks[0].mlp.down.weight)


def hrm_by_hand(model: Core, x: Tensor, hidden: Tensor) -> Tensor:
    """y of one sample (L, D) after one supervision step of two nets, all but the last update of z and of y detached."""
    c, weights = model.config, dict(model.named_parameters())
    of_answer = {name.removeprefix("answer_"): value for name, value in weights.items() if name.startswith("answer_")}
    y, z = model.start_y.expand_as(x), model.start_z.expand_as(x)
    for _ in range(c.answer_steps):
        y = y.detach()
        for _ in range(c.latent_steps):
            z = by_hand.net(z.detach() + y + x, weights, c.blocks, c.heads, hidden)
        y = by_hand.net(y + z, of_answer, c.blocks, c.heads, hidden)
    return y


def gradients(model: Core, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Of every weight by name, and of the question."""
    leaves = dict(model.named_parameters()) | {"x": x}
    loss = (y * torch.arange(y.shape[-1])).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def test_two_nets_with_a_one_step_gradient_are_the_hierarchical_reasoning_model() -> None:
    model, x = peer(nets=2, gradient="step", latent_steps=3, answer_steps=2), question().requires_grad_()
    ours = stepped(model, x).y[0]
    theirs = hrm_by_hand(model, x[0], ~MASK[0])
    torch.testing.assert_close(ours, theirs)
    found, expected = gradients(model, x, ours), gradients(model, x, theirs)
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().max() > 1e-5 for gradient in found.values())


def test_the_updates_before_the_last_carry_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []
    for name in ("net", "answer_net"):
        of = getattr(Core, name)
        monkeypatch.setattr(
            Core, name, lambda self, h, setting, of=of, name=name: calls.append((name, torch.is_grad_enabled())) or of(self, h, setting)
        )
    stepped(peer(nets=2, gradient="step", latent_steps=2, answer_steps=2), question())
    assert calls == [("net", False), ("net", False), ("answer_net", False), ("net", False), ("net", True), ("answer_net", True)]


def test_one_net_has_the_weights_it_always_had() -> None:
    each = ("mixer.qkv", "mixer.out", "mlp.gate_up", "mlp.down")
    assert set(core().state_dict()) == {"start_y", "start_z"} | {f"blocks.{i}.{name}.weight" for i in range(2) for name in each}
    assert set(core("mlp").state_dict()) == {"start_y", "start_z"} | {
        f"blocks.{i}.{name}.weight" for i in range(2) for name in ("mixer.mlp.gate_up", "mixer.mlp.down", "mlp.gate_up", "mlp.down")
    }
    assert {name.split(".")[0] for name, _ in peer(nets=2).named_parameters()} == {"blocks", "answer_blocks"}


def test_a_one_step_gradient_changes_no_answer_but_where_gradient_flows() -> None:
    whole, single = peer(), peer(gradient="step")
    single.load_state_dict(whole.state_dict())
    x = question()
    torch.testing.assert_close(stepped(single, x).y, stepped(whole, x).y)
    setting = single.setting(MASK)
    first = x.clone().requires_grad_()
    stepped(single, first).y.square().sum().backward()
    with torch.no_grad():  # all but the last update of z and of y, by hand
        state = single.start(x)
        for _ in range(single.config.answer_steps - 1):
            state = single.cycle(x, state, setting, 2)
        state = State(state.y, single.latent(x, state, setting, 1))
    second = x.clone().requires_grad_()
    z = single.net(state.z + second + state.y, setting)
    single.net(state.y + z, setting).square().sum().backward()
    assert first.grad is not None and second.grad is not None
    torch.testing.assert_close(first.grad, second.grad)
    full = x.clone().requires_grad_()
    stepped(whole, full).y.square().sum().backward()
    assert full.grad is not None and not torch.allclose(full.grad, first.grad)


@pytest.mark.parametrize("depth", [Depth(1, 1), Depth(3, 2)])
def test_another_depth_is_that_of_a_core_made_so(depth: Depth) -> None:
    model, made_so = core(), core(latent_steps=depth.latent_steps, answer_steps=depth.answer_steps)
    torch.testing.assert_close(stepped(model, question(), depth).y, stepped(made_so, question()).y)
    assert not torch.allclose(stepped(model, question()).y, stepped(made_so, question()).y)


def test_a_damped_update_keeps_a_share_of_the_old_state() -> None:
    plain, damped = peer(latent_steps=1, answer_steps=1), peer(latent_steps=1, answer_steps=1, damping=0.25)
    x, setting = question(), plain.setting(MASK)
    y, z = plain.start(x)
    new_z = 0.25 * z + 0.75 * plain.net(z + x + y, setting)
    new_y = 0.25 * y + 0.75 * plain.net(y + new_z, setting)
    found = stepped(damped, x)
    torch.testing.assert_close(found.y, new_y)
    torch.testing.assert_close(found.z, new_z)


def test_without_damping_an_update_is_the_new_state_to_the_bit() -> None:
    model, x = peer(damping=0.0), question()
    setting, (y, z) = model.setting(MASK), model.start(x)
    for _ in range(model.config.answer_steps):
        for _ in range(model.config.latent_steps):
            z = model.net(z + (x + y), setting)
        y = model.net(y + z, setting)
    found = stepped(model, x)
    assert torch.equal(found.y, y) and torch.equal(found.z, z)


@pytest.mark.parametrize("changes", [{}, {"mixer": "mlp"}, {"nets": 2, "gradient": "step", "damping": 0.05}, {"half_tokens": True}])
def test_products_in_half_precision_keep_every_gradient(changes: dict[str, object]) -> None:
    """The cycles without gradient come first: what they leave of a weight in bfloat16 must not stand in for one that learns."""
    model, x = peer(answer_steps=2, **changes).float(), question().float().requires_grad_()
    exact = gradients(model, x, stepped(model, x).y)
    with torch.autocast("cpu", torch.bfloat16):
        y = stepped(model, x).y
    for name, gradient in gradients(model, x, y).items():
        assert (gradient - exact[name]).norm() < 0.2 * exact[name].norm(), name


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
@pytest.mark.parametrize("half_tokens", [False, True])
def test_tokens_are_in_half_precision_where_asked_for(half_tokens: bool, mixer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = peer(mixer=mixer, half_tokens=half_tokens).float(), question().float()
    seen, net = [], Core.net
    monkeypatch.setattr(Core, "net", lambda self, h, setting: seen.append(h.dtype) or net(self, h, setting))
    assert stepped(model, x).y.dtype == torch.float32 and set(seen) == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        y = stepped(model, x).y
    assert set(seen) == {torch.bfloat16 if half_tokens else torch.float32} and y.dtype == torch.float32


def test_a_plain_core_passes_its_blocks_once_whatever_the_state() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = PlainCore(ModelConfig(**config("attention").to_json() | {"core": "plain", "supervision_steps": 1}), LENGTH).double()
    x, setting = question(), model.setting(MASK)
    once = stepped(model, x)
    h = by_hand.norm(x)
    for block in model.blocks:
        h = block(h, setting, block.weights(h.dtype))
    torch.testing.assert_close(once.y, h)
    again = model(x, State(once.y, once.z + 1), setting, Depth(5, 5))
    assert torch.equal(once.y, again.y)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"core": "plain"}, "no recursion"),
        ({"core": "plain", "supervision_steps": 1, "nets": 2}, "no recursion"),
        ({"core": "gru", "supervision_steps": 1, "gradient": "step"}, "no recursion"),
        ({"core": "plain", "supervision_steps": 1, "damping": 0.05}, "no recursion, .*damping 0; found 1, 1, 'cycle', 0.05"),
        ({"nets": 3}, "nets is 3"),
        ({"gradient": "half"}, "gradient is 'half'"),
        ({"damping": 1.0}, "damping is 1.0"),
        ({"damping": True}, "damping is True"),
        ({"damping": -0.1}, "damping is -0.1"),
        ({"damping": float("nan")}, "damping is nan"),
        ({"damping": "0.1"}, "damping is '0.1'"),
    ],
)
def test_a_peer_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**changes)  # type: ignore[arg-type]
