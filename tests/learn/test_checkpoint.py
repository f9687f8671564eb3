"""An interrupted training goes on to the bit where it stopped, and from nothing else than its own checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.learn.test_fit import SHORT, same, train
from tests.learn.tiny import MODEL, TASK, World, notes, world
from tests.worlds import grid
from trmfin.errors import RunError
from trmfin.learn.checkpoint import content
from trmfin.learn.fit import Progress, fit
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import ModelConfig
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import build

SETTINGS = replace(SHORT, epochs=4, validations=4)  # 24 steps, looked at after 6, 12, 18 and 24


class Killed(Exception):
    """What the test interrupts training with."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return tell


def interrupted(checkpoint: Path, step: int = 14, where: World | None = None, settings: TrainSettings = SETTINGS, **options: Any) -> None:
    with pytest.raises(Killed):
        train(where, settings, checkpoint=checkpoint, tell=killed_at(step), **options)
    assert checkpoint.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "adam_atan2"},
        {"random_depth": True, "epochs": 16 / 3, "field_dropout": 0.2, "cell_dropout": 0.1},
        {"refill": False, "epochs": 8},
        {"schedule": "constant", "half_precision": True},
        {"curriculum": ((0.0, 1, 1), (0.6, 2, 2)), "random_start": True, "state_noise": 0.1},
        {"refill": False, "epochs": 8, "state_noise": 0.1},
        {"steps": 24, "epochs": 1},
    ],
)
def test_a_resumed_training_is_bit_identical_to_an_undisturbed_one(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = replace(SETTINGS, **changes)
    whole = train(settings=settings)
    for step in (8, 14, 22):
        interrupted(tmp_path / "member", step, settings=settings)
    told: list[int] = []
    resumed = train(settings=settings, checkpoint=tmp_path / "member", tell=lambda progress: told.append(progress.step))
    assert told[0] == 19 and same(whole, resumed)
    assert (resumed.history, resumed.best_step, resumed.depths) == (whole.history, whole.best_step, whole.depths)


@pytest.mark.parametrize("step", [8, 14, 20])
def test_a_training_resumed_before_at_or_after_a_stage_of_its_curriculum_is_bit_identical(step: int, tmp_path: Path) -> None:
    """The stage begins with step 13: killed at 8 the run goes on from 6, at 14 from 12, at 20 from 18."""
    settings, model = replace(SETTINGS, curriculum=((0.0, 1, 1), (0.5, 2, 2))), replace(MODEL, nets=2, gradient="step", damping=0.05)
    interrupted(tmp_path / "member", step, settings=settings, model=model)
    whole, resumed = train(settings=settings, model=model), train(settings=settings, model=model, checkpoint=tmp_path / "member")
    assert same(whole, resumed) and whole.history == resumed.history
    assert not same(whole, train(settings=replace(settings, curriculum=((0.0, 1, 1), (0.55, 2, 2))), model=model))


def test_a_resumed_training_with_early_halting_is_bit_identical(tmp_path: Path) -> None:
    sequences, row = build(*grid()), np.array([0])
    fitted = Fitted.fit(sequences, np.arange(2), 4)
    aligned, model = sequences.aligned(fitted), replace(MODEL, supervision_steps=4)
    settings = replace(SETTINGS, epochs=60, batch_size=4)  # 60 steps

    def run(**options: Any) -> Any:
        return fit(aligned, row, row, fitted=fitted, model=model, settings=settings, **options)

    with pytest.raises(Killed):
        run(checkpoint=tmp_path / "member", tell=killed_at(37))
    whole, resumed = run(), run(checkpoint=tmp_path / "member")
    assert same(whole, resumed) and whole.depths == resumed.depths and len(whole.depths) > 1


def test_a_finished_training_is_taken_as_it_is(tmp_path: Path) -> None:
    first = train(settings=SETTINGS, checkpoint=tmp_path / "member")
    told: list[Progress] = []
    again = train(settings=SETTINGS, checkpoint=tmp_path / "member", tell=told.append)
    assert same(first, again) and not told and again.history == first.history


def doubled_limits() -> World:
    data = notes()
    return world(replace(data, samples=data.samples.with_columns(pl.col("limit") * 2)))


def other_notes() -> World:
    data = notes()
    return world(replace(data, events=data.events.with_columns(late=pl.col("late") + (pl.col("event_id") == "6.0.1"))))


def other_answers() -> World:
    data = notes()
    flipped = pl.when(pl.col("sample_id") == "c5@0").then(1 - pl.col("target_bad")).otherwise(pl.col("target_bad"))
    return world(replace(data, samples=data.samples.with_columns(target_bad=flipped)))


def other_split() -> World:
    plain = world()
    return replace(plain, train=plain.train[1:])


def other_task() -> World:
    return world(task=replace(TASK, name="others"))


@pytest.mark.parametrize("make", [doubled_limits, other_notes, other_answers, other_split, other_task])
def test_a_checkpoint_of_other_data_is_refused(make: Callable[[], World], tmp_path: Path) -> None:
    interrupted(tmp_path / "member", 8)
    with pytest.raises(RunError, match="member: made from other data or settings than this run's"):
        train(make(), SETTINGS, checkpoint=tmp_path / "member")


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        (replace(SETTINGS, seed=1), MODEL),
        (replace(SETTINGS, learning_rate=2e-2), MODEL),
        (SETTINGS, replace(MODEL, width=16)),
        (replace(SETTINGS, curriculum=((0.0, 1, 1),)), MODEL),
        (replace(SETTINGS, state_noise=0.1), MODEL),
        (replace(SETTINGS, steps=24), MODEL),
        (SETTINGS, replace(MODEL, latent_steps=2)),
        (SETTINGS, replace(MODEL, nets=2)),
        (SETTINGS, replace(MODEL, gradient="step")),
        (SETTINGS, replace(MODEL, damping=0.05)),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(settings: TrainSettings, model: ModelConfig, tmp_path: Path) -> None:
    interrupted(tmp_path / "member", 8)
    with pytest.raises(RunError, match="made from other data or settings"):
        train(settings=settings, model=model, checkpoint=tmp_path / "member")


def test_content_does_not_depend_on_how_the_data_were_read(tmp_path: Path) -> None:
    data = notes()
    data.write(tmp_path / "prepared")
    assert content(world(type(data).read(tmp_path / "prepared")).sequences) == content(world(data).sequences)


def test_a_changed_byte_of_a_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "member"
    interrupted(path, 8)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    places = np.concatenate((np.arange(0, 40), random.integers(0, len(whole), 60)))
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ random.integers(1, 256)]) + whole[place + 1 :])
        with pytest.raises(RunError, match="member: not a readable checkpoint .*delete it to train from the start") as caught:
            train(settings=SETTINGS, checkpoint=path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x08\0\0\0\0\0\0\0{}      ", None])
def test_a_cut_or_foreign_file_is_one_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "member"
    interrupted(path, 8)
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(RunError, match="not a readable checkpoint"):
        train(settings=SETTINGS, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        train(settings=SETTINGS, checkpoint=tmp_path / "missing" / "member")
