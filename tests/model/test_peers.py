"""Peers of the core: two nets with a one-step gradient (HRM), blocks passed once, updates that keep a share of the old."""

import pytest
import torch
from torch import Tensor

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
            h = block(h, setting)
        z = h
    h = y + z
    for block in model.answer_blocks:
        h = block(h, setting)
    found = stepped(model, x)
    torch.testing.assert_close(found.y, h)
    torch.testing.assert_close(found.z, z)
    assert not torch.equal(model.blocks[0].mlp.down.weight, model.answer_blocks[0].mlp.down.weight)


def test_one_net_has_the_weights_it_always_had() -> None:
    assert {name.split(".")[0] for name, _ in core().named_parameters()} == {"blocks"}


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
    torch.testing.assert_close(stepped(damped, x).y, new_y)


def test_a_plain_core_passes_its_blocks_once_whatever_the_state() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = PlainCore(ModelConfig(**config("attention").to_json() | {"core": "plain", "supervision_steps": 1}), LENGTH).double()
    x = question()
    once = stepped(model, x)
    again = model(x, State(once.y, once.z + 1), model.setting(MASK))
    assert torch.equal(once.y, again.y)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"core": "plain"}, "no recursion"),
        ({"core": "plain", "supervision_steps": 1, "nets": 2}, "no recursion"),
        ({"core": "gru", "supervision_steps": 1, "gradient": "step"}, "no recursion"),
        ({"nets": 3}, "nets is 3"),
        ({"gradient": "half"}, "gradient is 'half'"),
        ({"damping": 1.0}, "damping is 1.0"),
        ({"damping": True}, "damping is True"),
    ],
)
def test_a_peer_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**changes)  # type: ignore[arg-type]
