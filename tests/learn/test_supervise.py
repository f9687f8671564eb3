"""One training step: who stops early, where slots begin and how they are stirred, in which precision products are taken."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.learn.test_fit import SHORT, easy, same, train
from tests.learn.tiny import MODEL, asking, notes, world
from trmfin.learn.fit import start
from trmfin.learn.settings import TrainSettings
from trmfin.learn.supervise import Run, begun, halted, loop_step, precision, slot_step, stirred, validate
from trmfin.model.core import Core, State
from trmfin.model.network import Answer
from trmfin.sequences.task import Target

STATE = State(torch.zeros(40, 3, 8), torch.ones(40, 3, 8))
NOISY = replace(SHORT, random_start=True, state_noise=0.1)
EXACT = asking(Target(name="bad", head="binary", meaning="x"), "exact")


def started(settings: TrainSettings, **changes: Any) -> Run:
    where = world(notes(), EXACT)
    return start(where.sequences, where.train, where.fitted, replace(MODEL, **changes), settings)


def test_slots_that_say_stop_are_refilled_unless_all_steps_are_asked_for() -> None:
    settings = replace(SHORT, batch_size=400)
    run, sure = started(settings, supervision_steps=4), Answer(logits={}, halt=torch.arange(400) - 199.5)
    stops = halted(run, sure, settings)
    assert not stops[:200].any() and 0.8 < stops[200:].mean() < 1  # of the sure ones a tenth explores
    assert not halted(run, sure, replace(settings, halt_early=False)).any()
    run.slots.age[:] = 3
    assert halted(run, sure, settings)[200:].all()


def test_no_slot_is_refilled_early_where_all_steps_are_asked_for() -> None:
    def depths(**changes: Any) -> dict[int, int]:
        settings = replace(SHORT, epochs=10, halt_weight=0.0, **changes)
        where, run = world(notes(), EXACT), started(settings, supervision_steps=3)
        with torch.no_grad():
            run.network.halt.bias.fill_(99.0)  # every slot says stop
        run.slots.depth[:] = 3
        for _ in range(12):
            slot_step(run, where.sequences, settings)
        return dict(run.slots.depths)

    assert depths(halt_early=False) == {3: 12 // 3 * 16} and depths()[1] > 100


@pytest.mark.parametrize("settings", [NOISY, replace(NOISY, seed=5)])
def test_noise_is_a_function_of_seed_and_step_alone(settings: TrainSettings) -> None:
    def draws(seed: int, step: int, within: int) -> list[Tensor]:
        asked = replace(settings, seed=seed)
        return [*begun(STATE, asked, step), *stirred(STATE, asked, step, within)]

    torch.manual_seed(1)
    first = draws(0, 3, 0)
    torch.manual_seed(2)
    assert all(torch.equal(one, other) for one, other in zip(first, draws(0, 3, 0), strict=True))
    for other in (draws(1, 3, 0), draws(0, 4, 0)):
        assert not any(torch.isclose(a, b).float().mean() > 0.01 for a, b in zip(first, other, strict=True))
    stir, within = first[2:], draws(0, 3, 1)[2:]
    assert not any(torch.isclose(a, b).float().mean() > 0.01 for a, b in zip(stir, within, strict=True))


def test_noise_has_the_spread_that_is_asked_for_and_differs_between_slots_and_parts() -> None:
    y, z = begun(STATE, NOISY, 0)
    assert y.std() == pytest.approx(1, abs=0.1) and z.mean() == pytest.approx(0, abs=0.1)
    assert not torch.isclose(y[0], y[1]).any() and not torch.isclose(y[0], z[0]).any()
    after = stirred(State(y, z), NOISY, 0)
    moved = after.y - y
    assert moved.std() == pytest.approx(0.1, abs=0.01) and not torch.isclose(moved[0], moved[1]).any()
    assert abs(torch.corrcoef(torch.stack((moved.flatten(), y.flatten())))[0, 1]) < 0.1  # drawn apart from where slots begin


def test_without_noise_a_state_is_left_as_it_is() -> None:
    assert begun(STATE, SHORT, 3) is STATE and stirred(STATE, SHORT, 3) is STATE


@pytest.mark.parametrize("advance", [slot_step, loop_step])
def test_a_step_begins_at_random_and_is_stirred_before_the_network_sees_it(advance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, seen, forward = replace(NOISY, batch_size=8, refill=advance is slot_step), list[State](), Core.forward
    where, run = easy(), start(easy().sequences, easy().train, easy().fitted, MODEL, replace(NOISY, batch_size=8))

    def noted(self: Core, x: Tensor, state: State, *others: Any) -> State:
        seen.append(state)
        return forward(self, x, state, *others)

    monkeypatch.setattr(Core, "forward", noted)
    advance(run, where.sequences, settings)
    own = State(torch.zeros_like(seen[0].y), torch.zeros_like(seen[0].z))
    expected = stirred(begun(own, settings, 0), settings, 0)
    torch.testing.assert_close(seen[0].y, expected.y)
    torch.testing.assert_close(seen[0].z, expected.z)
    assert not any(state.y.requires_grad or state.z.requires_grad for state in seen)


def gaining(monkeypatch: pytest.MonkeyPatch, gains: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": gains})


@pytest.mark.parametrize(("asked", "gains", "half"), [(True, True, True), (True, False, False), (False, True, False)])
def test_products_are_halved_only_where_asked_for_and_where_the_processor_gains(
    asked: bool, gains: bool, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaining(monkeypatch, gains)
    settings = replace(SHORT, half_precision=asked)
    run, where, seen, forward = started(settings), easy(), list[bool](), Core.forward

    def noted(self: Core, *given: Any) -> State:
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(self, *given)

    monkeypatch.setattr(Core, "forward", noted)
    with precision(run.network, settings):
        assert torch.is_autocast_enabled("cpu") is half
    slot_step(run, where.sequences, settings)
    loop_step(run, where.sequences, settings)
    assert np.isfinite(validate(run, where.sequences, where.validation, 0.0, settings))
    assert seen == [half] * 5 and not torch.is_autocast_enabled("cpu")  # of one slot step, two loop steps, two of validation


def test_a_processor_that_does_not_gain_trains_as_if_nothing_had_been_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gaining(monkeypatch, False)
    assert same(train(settings=replace(SHORT, half_precision=True)), train())


@pytest.mark.parametrize(
    "changes", [{}, {"mixer": "mlp"}, {"nets": 2, "gradient": "step", "damping": 0.05, "answer_steps": 2}, {"half_tokens": True}]
)
def test_weights_states_and_losses_stay_in_single_precision(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    gaining(monkeypatch, True)
    settings = replace(SHORT, half_precision=True, state_noise=0.1, random_start=True)
    run, where = started(settings, **changes), world(notes(), EXACT)
    for _ in range(2):
        slot_step(run, where.sequences, settings)
    kept = [run.slots.y, run.slots.z, run.slots.loss, *run.network.parameters()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in kept)
