"""What training may be told, and what is refused instead of being silent; how deep each step of a curriculum thinks."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.learn.test_clock import Time
from tests.learn.test_fit import SHORT, train
from tests.learn.tiny import MODEL, TASK, answering, asking, notes, world
from trmfin.errors import ConfigError
from trmfin.learn.fit import planned_steps
from trmfin.learn.settings import TrainSettings
from trmfin.model.core import Core
from trmfin.sequences.task import Target


@pytest.mark.parametrize("changes", [{"positive_weight": 2.0}, {"negative_share": 0.5}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize(
    ("target", "answers"),
    [
        (Target(name="days", head="quantiles", meaning="x", levels=(0.5,)), [1.0] * 64),
        (Target(name="grade", head="classes", meaning="x", classes=("good", "bad")), [[0.1, 0.9]] * 64),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(target: Target, answers: list[Any], changes: dict[str, Any]) -> None:
    where = world(answering(notes(), target.name, answers), asking(target))
    ((name, value),) = changes.items()
    with pytest.raises(ConfigError, match=f"training settings: {name} is {value:g}, but .*leave it at [01]") as caught:
        train(where, replace(SHORT, **changes))
    assert "\n" not in str(caught.value)


def test_smoothing_is_allowed_where_any_target_is_smoothed() -> None:
    target = Target(name="days", head="quantiles", meaning="x", levels=(0.5,))
    task = replace(TASK, targets=(*TASK.targets, target), primary="days")
    where = world(answering(notes(), "days", [1.0] * 64), task)
    replace(SHORT, label_smoothing=0.1).check_for(where.sequences)
    with pytest.raises(ConfigError, match="positive_weight is 2, but the primary target 'days' is of the kind quantiles"):
        replace(SHORT, positive_weight=2.0).check_for(where.sequences)


SHALLOW_FIRST = ((0.0, 1, 1), (0.5, 2, 3))


def test_a_curriculum_says_n_and_t_by_the_share_of_the_run() -> None:
    settings = replace(SHORT, curriculum=SHALLOW_FIRST)
    assert [settings.depth(share) for share in (0.0, 0.49, 0.5, 1.0)] == [(1, 1), (1, 1), (2, 3), (2, 3)]
    assert SHORT.depth(0.5) is None


def test_a_curriculum_survives_json_and_is_written_alike_however_it_was_given() -> None:
    settings = replace(SHORT, curriculum=SHALLOW_FIRST)
    assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    for given in ([[0.0, 1, 1], [0.5, 2, 3]], ([0, 1, 1], (0.5, 2, 3))):
        again = replace(SHORT, curriculum=given)
        assert again == settings and hash(again) == hash(settings) and json.dumps(again.to_json()) == json.dumps(settings.to_json())


@pytest.mark.parametrize(
    "wrong",
    [
        ((0.1, 1, 1),),
        ((0.0, 1, 1), (0.0, 2, 2)),
        ((0.0, 1, 1), (1.0, 2, 2)),
        ((0.0, 0, 1),),
        ((0.0, 1),),
        ((0.0, 1.5, 1),),
        ((0.0, True, 1),),
        ((0.0, "1", 1),),
        ((0.0, 1, None),),
        (("0", 1, 1),),
        ((False, 1, 1),),
        ((None, 1, 1),),
        (([0.0], 1, 1),),
        ((float("nan"), 1, 1),),
        ((0.0, 1, 1), (float("nan"), 2, 2)),
        ((0.0, 1, 1), (-0.5, 2, 2)),
        ((0.0, 1, 1), (0.6, 2, 2), (0.3, 3, 3)),
        ("011",),
        (5,),
        "none",
        None,
        {},
        5,
    ],
)
def test_a_curriculum_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="training settings: curriculum is"):
        replace(SHORT, curriculum=wrong)


def test_a_curriculum_is_what_each_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[Any] = []
    forward = Core.forward

    def noted(self: Core, x: Any, state: Any, setting: Any, depth: Any = None) -> Any:
        run.append(depth)
        return forward(self, x, state, setting, depth)

    monkeypatch.setattr(Core, "forward", noted)
    train(settings=replace(SHORT, curriculum=SHALLOW_FIRST, validations=1, steps=10))
    trained = [depth for depth in run if depth is not None]
    assert trained == [(1, 1)] * 5 + [(2, 3)] * 5
    assert run[len(trained) :] == [None] * 2  # validation thinks as deep as the model says, at every supervision step


@pytest.mark.parametrize("refill", [True, False])
def test_where_time_ends_a_run_a_curriculum_goes_by_its_share_of_the_time(refill: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    time, run = Time(), list[tuple[float, Any]]()
    forward = Core.forward

    def noted(self: Core, x: Any, state: Any, setting: Any, depth: Any = None) -> Any:
        if depth is not None:
            run.append((time.now - Time.now, depth))
            time.now += depth[1] * (depth[0] + 1)
        return forward(self, x, state, setting, depth)

    monkeypatch.setattr("trmfin.learn.clock.time", SimpleNamespace(monotonic=lambda: time.now))
    monkeypatch.setattr(Core, "forward", noted)
    settings = replace(SHORT, curriculum=SHALLOW_FIRST, steps=10_000, validations=1, refill=refill)
    trained = train(settings=settings, max_seconds=200.0)
    calls = 1 if refill else MODEL.supervision_steps
    assert len(run) == trained.steps * calls < 100 * calls
    for place in range(0, len(run), calls):
        assert len({depth for _, depth in run[place : place + calls]}) == 1  # one optimiser step has one depth
        passed, depth = run[place]
        assert depth == ((1, 1) if passed < 90 else (2, 3)) or 90 <= passed <= 110
    assert {depth for _, depth in run} == {(1, 1), (2, 3)}


@pytest.mark.parametrize("changes", [{}, {"refill": False}, {"random_depth": True}])
def test_a_number_of_steps_takes_the_place_of_epochs(changes: dict[str, Any]) -> None:
    settings = replace(SHORT, steps=7, epochs=100, **changes)
    assert planned_steps(48, MODEL, settings) == train(settings=settings).steps == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": -1}, "steps is -1; it must be at least 0"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"state_noise": -0.1}, "state_noise is -0.1; it must be at least 0"),
        ({"state_noise": float("inf")}, "state_noise is inf; it must be a number"),
        ({"random_start": 1}, "random_start is 1; it must be true or false"),
        ({"halt_early": "no"}, "halt_early is 'no'; it must be true or false"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"training settings: {said}"):
        replace(SHORT, **changes)
