"""A setting that would do nothing with a task's targets is refused instead of being silent."""

from dataclasses import replace
from typing import Any

import pytest

from tests.learn.test_fit import SHORT, train
from tests.learn.tiny import TASK, answering, asking, notes, world
from trmfin.errors import ConfigError
from trmfin.learn.settings import TrainSettings
from trmfin.model.core import Core
from trmfin.sequences.task import Target


@pytest.mark.parametrize("changes", [{"positive_weight": 2.0}, {"label_smoothing": 0.1}])
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


def test_a_curriculum_survives_json_and_toml_lists() -> None:
    settings = replace(SHORT, curriculum=SHALLOW_FIRST)
    assert TrainSettings.from_json(settings.to_json() | {"curriculum": [[0.0, 1, 1], [0.5, 2, 3]]}) == settings


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
        (5,),
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


def test_a_number_of_steps_takes_the_place_of_epochs() -> None:
    assert train(settings=replace(SHORT, steps=7, epochs=100)).steps == 7
