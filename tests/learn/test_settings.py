"""A setting that would do nothing with a task's targets is refused instead of being silent."""

from dataclasses import replace
from typing import Any

import pytest

from tests.learn.test_fit import SHORT, train
from tests.learn.tiny import TASK, answering, asking, notes, world
from trmfin.errors import ConfigError
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
