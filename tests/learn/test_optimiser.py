import copy
import io
import json
import math

import pytest
import torch
from torch import nn

from trmfin.errors import ConfigError
from trmfin.learn.optimiser import AdamATan2, ExponentialAverage, make_optimiser, schedule


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


class Training:
    """A tiny training run whose every step is a function of the step's number."""

    def __init__(self, name: str) -> None:
        self.network = network()
        self.optimiser = make_optimiser(self.network, name, lr=0.05, weight_decay=0.1)
        self.schedule = schedule(self.optimiser, warmup=lambda total: 3, total=lambda step: 12, kind="cosine")
        self.average = ExponentialAverage(self.network, 0.9)

    def run(self, first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.linspace(-1, 1, 12).reshape(4, 3) * (step + 1)
            self.optimiser.zero_grad()
            (self.network(x) - 1).square().mean().backward()
            self.optimiser.step()
            self.schedule.step()
            self.average.update(self.network)

    def parts(self):
        return {"network": self.network, "optimiser": self.optimiser, "schedule": self.schedule, "average": self.average}


def weights(module: nn.Module) -> list[list[float]]:
    return [parameter.detach().flatten().tolist() for parameter in module.parameters()]


@pytest.mark.parametrize("name", ["adamw", "adam_atan2"])
def test_a_run_resumed_half_way_is_bit_identical(name):
    whole, first, resumed = Training(name), Training(name), Training(name)
    whole.run(0, 10)
    first.run(0, 5)
    file = io.BytesIO()
    torch.save({part: value.state_dict() for part, value in first.parts().items()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for part, value in resumed.parts().items():
        value.load_state_dict(saved[part])
    resumed.run(5, 10)
    assert weights(resumed.network) == weights(whole.network)
    assert weights(resumed.average.module) == weights(whole.average.module)
    assert resumed.average.count == whole.average.count == 10


@pytest.mark.parametrize("name", ["adamw", "adam_atan2"])
def test_state_may_pass_through_json_numbers(name):
    first, resumed = Training(name), Training(name)
    first.run(0, 4)
    state = copy.deepcopy(first.optimiser.state_dict())
    resumed.network.load_state_dict(first.network.state_dict())
    resumed.schedule.load_state_dict(first.schedule.state_dict())
    resumed.optimiser.load_state_dict({"state": state["state"], "param_groups": json.loads(json.dumps(state["param_groups"]))})
    first.run(4, 6)
    resumed.run(4, 6)
    assert weights(resumed.network) == weights(first.network)


def test_adam_atan2_equals_two_steps_by_hand():
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    optimiser = AdamATan2([weight], lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    expected, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradients in enumerate(([0.5, -3.0], [-1.0, 0.0]), start=1):
        weight.grad = torch.tensor([gradients])
        optimiser.step()
        for i, g in enumerate(gradients):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.95 * square[i] + 0.05 * g * g
            m, v = mean[i] / (1 - 0.9**step), square[i] / (1 - 0.95**step)
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * 1.27 * math.atan2(m, math.sqrt(v))
        assert weight.detach()[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_adam_atan2_does_not_depend_on_the_scale_of_gradients():
    moved = []
    for scale in (1e-15, 1.0, 1e15):
        weight = nn.Parameter(torch.zeros(2, 2))
        weight.grad = torch.tensor([[1.0, -2.0], [3.0, 0.0]]) * scale
        AdamATan2([weight], lr=0.1).step()
        moved.append(weight.detach().flatten().tolist())
    assert moved[1] == pytest.approx([-0.1 * 1.27 * math.pi / 4, 0.1 * 1.27 * math.pi / 4, -0.1 * 1.27 * math.pi / 4, 0.0])
    assert moved[0] == pytest.approx(moved[1]) and moved[2] == pytest.approx(moved[1])


def test_a_parameter_without_gradient_stays():
    still, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moving.grad = torch.ones(2, 2)
    optimiser = AdamATan2([still, moving], lr=0.1, weight_decay=0.5)
    assert optimiser.step(lambda: 3.0) == 3.0
    assert (still == 1).all() and (moving != 1).all() and still not in optimiser.state


@pytest.mark.parametrize("name", ["adamw", "adam_atan2"])
def test_only_matrices_decay(name):
    module = network()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    make_optimiser(module, name, lr=0.1, weight_decay=0.5).step()
    assert [row[0] for row in weights(module)] == pytest.approx([0.95, 1.0, 0.95, 1.0])


def test_frozen_parameters_are_left_out():
    module = network()
    module[0].requires_grad_(False)
    groups = make_optimiser(module, "adamw", lr=0.1, weight_decay=0.0).param_groups
    assert sum(len(group["params"]) for group in groups) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("constant", [0.5, 1, 1, 1, 1, 1, 1]), ("cosine", [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0])],
)
def test_learning_rate_rises_then_follows_its_schedule(kind, expected):
    optimiser = make_optimiser(network(), "adamw", lr=0.2, weight_decay=0.0)
    plan, seen = schedule(optimiser, warmup=lambda total: 2, total=lambda step: 6, kind=kind), []
    for _ in range(7):
        seen.append(optimiser.param_groups[0]["lr"] / 0.2)
        optimiser.step()
        plan.step()
    assert seen == pytest.approx(expected, abs=1e-12)


def test_average_starts_as_a_copy_and_its_decay_warms_up():
    module = nn.Linear(1, 1, bias=False)
    average = ExponentialAverage(module, 0.5)
    expected = 0.0
    for k, value in enumerate([1.0, 2.0, 3.0, 4.0]):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update(module)
        decay = min(0.5, (1 + k) / (10 + k)) if k else 0.0
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)
    assert average.count == 4 and not average.module.weight.requires_grad and module.weight.requires_grad
    average.count = 7
    assert average.count == 7


def test_average_leaves_the_network_alone():
    module = network()
    before = weights(module)
    ExponentialAverage(module, 0.99).update(module)
    assert weights(module) == before and module.training


@pytest.mark.parametrize(
    "call",
    [
        lambda: make_optimiser(network(), "sgd", lr=0.1, weight_decay=0.0),
        lambda: make_optimiser(network(), "adamw", lr=0.0, weight_decay=0.0),
        lambda: make_optimiser(network(), "adamw", lr=0.1, weight_decay=0.0, betas=(0.9, 1.0)),
        lambda: schedule(make_optimiser(network(), "adamw", lr=0.1, weight_decay=0.0), lambda total: 1, lambda step: 2, "linear"),
        lambda: schedule(make_optimiser(network(), "adamw", lr=0.1, weight_decay=0.0), lambda total: 1, lambda step: 0, "cosine"),
        lambda: ExponentialAverage(network(), 1.0),
    ],
)
def test_options_that_do_not_exist_are_refused(call):
    with pytest.raises(ConfigError, match="expected|choose|must lie"):
        call()
