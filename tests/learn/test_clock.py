"""A training that time ends is a whole one of fewer steps: it warms up, cools down and is looked at as often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.learn.test_checkpoint import Killed, killed_at
from tests.learn.test_fit import same, train
from tests.learn.tiny import MODEL, TRAINING, world
from trmfin.errors import ConfigError
from trmfin.learn.clock import Clock
from trmfin.learn.fit import Progress, Trained
from trmfin.learn.pretrain import foretelling_loss, pretrain
from trmfin.learn.supervise import slot_step, validate

SIXTY_FOUR = replace(TRAINING, epochs=32 / 3, validations=4)  # steps
ENDLESS = replace(SIXTY_FOUR, epochs=1e6)


class Time:
    """A clock that stands still until it is told to go on."""

    now = 1000.0

    def taking(self, work: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The work, which now takes so long."""

        def timed(*arguments: Any) -> Any:
            self.now += seconds
            return work(*arguments)

        return timed


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Time in which a training step takes a second and everything else none."""
    made = Time()
    monkeypatch.setattr("trmfin.learn.clock.time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr("trmfin.learn.fit.slot_step", made.taking(slot_step, 1.0))
    monkeypatch.setattr("trmfin.learn.pretrain.foretelling_loss", made.taking(foretelling_loss, 1.0))
    return made


def alike(one: Trained, other: Trained) -> bool:
    return same(one, other) and (one.history, one.steps, one.depths) == (other.history, other.steps, other.depths)


def test_a_training_of_so_many_seconds_is_that_of_the_steps_it_had_time_for(time: Time) -> None:
    limited = train(settings=ENDLESS, max_seconds=64.0)
    assert [entry["step"] for entry in limited.history] == [16, 32, 48, 64] and alike(limited, train(settings=SIXTY_FOUR))


def test_a_limit_that_is_not_reached_changes_nothing(time: Time) -> None:
    assert alike(train(settings=SIXTY_FOUR, max_seconds=1000.0), train(settings=SIXTY_FOUR))


def test_pre_training_of_so_many_seconds_is_that_of_the_steps_it_had_time_for(time: Time) -> None:
    w, told = world(), list[Progress]()

    def weights(epochs: float, **options: Any) -> dict[str, np.ndarray]:
        settings = replace(TRAINING, pretrain_epochs=epochs)
        return pretrain(w.sequences, w.train, fitted=w.fitted, model=MODEL, settings=settings, **options)

    limited, planned = weights(1e6, max_seconds=64.0, tell=told.append), weights(64 / 3)
    assert (told[-1].step, told[-1].total) == (64, 64)
    assert all(np.array_equal(value, planned[name]) for name, value in limited.items())


def test_a_resumed_training_has_the_time_left_that_it_had_and_goes_on_as_if_undisturbed(time: Time, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(settings=ENDLESS, max_seconds=64.0, checkpoint=tmp_path / "member", tell=killed_at(40))
    time.now += 5000
    told: list[Progress] = []
    resumed = train(settings=ENDLESS, max_seconds=64.0, checkpoint=tmp_path / "member", tell=told.append)
    assert told[0].step == 33 and alike(resumed, train(settings=SIXTY_FOUR))


@pytest.mark.parametrize("more", [64.0, 640.0])
def test_a_training_whose_time_was_up_is_not_taken_up_again(more: float, time: Time, tmp_path: Path) -> None:
    first = train(settings=ENDLESS, max_seconds=64.0, checkpoint=tmp_path / "member")
    told: list[Progress] = []
    again = train(settings=ENDLESS, max_seconds=more, checkpoint=tmp_path / "member", tell=told.append)
    assert not told and alike(first, again)


def test_resumed_without_a_limit_a_training_has_all_its_steps(time: Time, tmp_path: Path) -> None:
    train(settings=SIXTY_FOUR, max_seconds=32.0, checkpoint=tmp_path / "member")
    assert train(settings=SIXTY_FOUR, checkpoint=tmp_path / "member").steps == 64


def test_validations_that_take_long_leave_time_to_train(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.learn.fit.validate", time.taking(validate, 24.0))
    limited = train(settings=ENDLESS, max_seconds=64.0)
    assert [entry["step"] for entry in limited.history] == [16, 32] and limited.history[-1]["step"] == limited.steps


def test_the_steps_that_fit_follow_the_pace(time: Time) -> None:
    clock = Clock(planned=1000, max_seconds=64.0)
    assert clock.total(0) == 1000
    time.now += 16
    assert [clock.total(step) for step in (0, 1, 8, 200, 300)] == [4, 4, 32, 800, 1000]
    time.now += 48
    assert clock.total(200) == 200 and clock.total(0) == 1  # time is up; a step is taken all the same


def test_without_a_limit_no_time_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(planned=10, began=0.0)
    monkeypatch.setattr("trmfin.learn.clock.time", SimpleNamespace())
    assert (clock.total(7), clock.used, [clock.due(step, 5) for step in (1, 2)]) == (10, 0.0, [False, True])
    clock.judge(2)
    assert [clock.due(step, 5) for step in (3, 4)] == [False, True]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_at_all_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="max_seconds is .*; it must be above 0"):
        Clock(planned=1, max_seconds=seconds)
