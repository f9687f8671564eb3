"""A checkpoint of which any step fails, or at any step of which the process is killed, loses no event that was answered."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for
from tests.scoring.test_folder import refuse
from tests.scoring.test_lasting import step
from tests.scoring.test_stream import CLOSE, in_batch, payments
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError, RunError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.lasting import LOG, MANIFEST, STATE, LastingStream, lasting
from trmfin.scoring.rings import Rings

STEPS = [(os, name) for name in ("open", "fsync", "replace", "mkdir", "unlink", "rmdir", "truncate")] + [(io, "open"), (np, "save")]
BROKEN = OSError(5, "Input/output error")
BEGUN, GONE_ON, LAST = 8, 11, 17  # rows taken in before the checkpoint, until the kill, and in all


class Faults:
    """While it is in use, the call at `place` among those that change files raises `error`, before or after it has done its work."""

    def __init__(self, place: int, error: BaseException, after: bool) -> None:
        self.place, self.error, self.after, self.calls = place, error, after, 0
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Faults":
        for module, name in STEPS:
            self.patch.setattr(module, name, self.failing(getattr(module, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls - 1 != self.place:
                return call(*arguments, **options)
            if self.after:
                made = call(*arguments, **options)
                if isinstance(made, int):
                    os.close(made)
                elif made is not None:
                    made.close()
            raise self.error

        return called


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """So that states are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trmfin.scoring.rings.BLOCK", 4)
        yield


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Bundle, np.ndarray, Path]:
    """With a folder of a state and a log behind it, from which each try begins."""
    prepared, task = payments()
    bundle = bundle_for(prepared, task)
    with lasting(bundle, folder := tmp_path_factory.mktemp("stage") / "stream") as stream:
        step(stream, prepared, 0, BEGUN - 3)
        stream.checkpoint()
        step(stream, prepared, BEGUN - 3, BEGUN)
    return prepared, bundle, in_batch(prepared, bundle), folder


def checkpoint_with(stream: LastingStream, place: int, error: BaseException, after: bool) -> int:
    """How many calls that change files were made."""
    with Faults(place, error, after) as faults:
        try:
            stream.checkpoint()
        except (RunError, KeyboardInterrupt):
            pass
    return faults.calls


def at_every_step(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], folder: Path, work: Callable[[LastingStream, int], int], first: int
) -> int:
    """Do work on the stage's stream with the step at each place failing, drop it as a kill does, and compare what the next one answers.

    first: the row that comes next. → how many steps there are.
    """
    prepared, bundle, expected, begun = stage
    place, calls = -1, 0
    while calls > place:
        place += 1
        shutil.copytree(begun, folder / str(place))
        with lasting(bundle, folder / str(place)) as stream:
            calls = work(stream, place)
        with lasting(bundle, folder / str(place)) as again:
            found = again.step(prepared.events[first:LAST], prepared.samples[first:LAST]).logits
            assert len(list(again.folder.glob(f"{STATE}*"))) == 1
        np.testing.assert_allclose(found, expected[first:LAST], atol=CLOSE, rtol=0, err_msg=f"step {place}")
        shutil.rmtree(folder / str(place))
    return place


@pytest.mark.parametrize(
    ("error", "after"), [(BROKEN, False), (BROKEN, True), (KeyboardInterrupt(), True)], ids=["before", "after", "interrupted"]
)
def test_a_stream_that_goes_on_after_any_step_of_a_checkpoint_failed_loses_nothing(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], error: BaseException, after: bool, tmp_path: Path
) -> None:
    def work(stream: LastingStream, place: int) -> int:
        calls = checkpoint_with(stream, place, error, after)
        stream.take(stage[0].events[BEGUN:GONE_ON])
        return calls

    assert at_every_step(stage, tmp_path, work, GONE_ON) > 40


def test_a_kill_at_any_step_of_a_checkpoint_loses_nothing(stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path) -> None:
    def work(stream: LastingStream, place: int) -> int:
        return checkpoint_with(stream, place, KeyboardInterrupt(), after=False)

    assert at_every_step(stage, tmp_path, work, BEGUN) > 40


def test_a_kill_in_a_checkpoint_after_one_that_failed_loses_nothing(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path
) -> None:
    def work(stream: LastingStream, place: int) -> int:
        calls = checkpoint_with(stream, place, BROKEN, place % 2 == 1)
        stream.take(stage[0].events[BEGUN:GONE_ON])
        checkpoint_with(stream, 7 * place % 50, KeyboardInterrupt(), False)
        return calls

    assert at_every_step(stage, tmp_path, work, GONE_ON) > 40


def fail_a_checkpoint(stream: LastingStream, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A checkpoint that goes no further than this function."""
    with monkeypatch.context() as patch:
        patch.setattr(f"trmfin.scoring.lasting.{where}", refuse)
        with pytest.raises(OSError):
            stream.checkpoint()


def test_what_checkpoints_that_failed_leave_goes_with_the_next(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, expected, _ = stage
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        for first in (5, 6, 7):
            fail_a_checkpoint(stream, monkeypatch, "write_json")
            assert len(list(tmp_path.glob(f"{STATE}*"))) == 1
            found += step(stream, prepared, first, first + 1)
        stream.checkpoint()
        assert {path.name for path in tmp_path.glob("*-0*")} == {f"{STATE}00000004", f"{LOG}00000004"}
        found += step(stream, prepared, 8, 12)
    np.testing.assert_allclose(np.concatenate(found), expected[:12], atol=CLOSE, rtol=0)


def test_a_log_that_is_missing_is_told_and_nothing_is_removed(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, _, begun = stage
    shutil.copytree(begun, folder := tmp_path / "stream")
    with lasting(bundle, folder) as stream:
        fail_a_checkpoint(stream, monkeypatch, "write_state")
    (folder / f"{LOG}00000001").rename(tmp_path / "log")
    there = sorted(folder.rglob("*"))
    with pytest.raises(RunError, match=f"{LOG}00000001 is missing, or {STATE}00000002, .*; put it back"), lasting(bundle, folder):
        pass
    (folder / f"{LOG}00000002").unlink()
    with pytest.raises(RunError, match=f"{LOG}00000001 is missing; put it back"), lasting(bundle, folder):
        pass
    assert sorted(folder.rglob("*")) == [path for path in there if path.name != f"{LOG}00000002"]


def test_a_first_log_that_is_missing_is_told_too(stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path) -> None:
    prepared, bundle, *_ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 2)
    stream.log.unlink()
    with pytest.raises(RunError, match=f"{LOG}00000000 is missing; put it back"), lasting(bundle, tmp_path):
        pass


def test_a_log_that_others_follow_cannot_be_torn(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, *_ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 3)
        first = stream.log
        fail_a_checkpoint(stream, monkeypatch, "write_state")
    data = first.read_bytes()
    first.write_bytes(data[:-1])
    with pytest.raises(RunError, match=f"{first}: the record at byte .* though another log was begun after it"), lasting(bundle, tmp_path):
        pass
    assert first.read_bytes() == data[:-1]


def test_half_a_record_is_cut_off_before_another_log_is_begun(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, expected, _ = stage
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        with monkeypatch.context() as patch:
            for call in ("os.fsync", "os.truncate"):
                patch.setattr(call, refuse)
            with pytest.raises(RunError, match="cannot be written"):
                step(stream, prepared, 5, 6)
            with pytest.raises(RunError, match="cannot be cut off"):
                stream.checkpoint()
            assert len(list(tmp_path.glob(f"{LOG}*"))) == 1
            patch.undo()
            patch.setattr("trmfin.scoring.lasting.write_state", refuse)
            with pytest.raises(OSError):
                stream.checkpoint()
        found += step(stream, prepared, 5, 8)
    with lasting(bundle, tmp_path) as stream:
        found += step(stream, prepared, 8, 12)
    np.testing.assert_allclose(np.concatenate(found), expected[:12], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("call", [1, 2])
def test_a_stream_that_was_interrupted_while_it_took_events_in_must_be_opened_again(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log holds an event that its windows hold in part: a checkpoint would lose it, and it could come under other keys."""
    prepared, bundle, expected, _ = stage
    calls, put = [], Rings.put

    def interrupted(rings: Rings, key: tuple[str, ...], event: Any) -> None:
        calls.append(key)
        if len(calls) == call:
            raise KeyboardInterrupt
        put(rings, key, event)

    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        with monkeypatch.context() as patch:
            patch.setattr(Rings, "put", interrupted)
            with pytest.raises(KeyboardInterrupt):
                stream.take(prepared.events[5:6])
        other = prepared.events[5:6].with_columns(pl.lit("other").alias(name) for name in ("card_id", "shop_id"))
        for work in (stream.checkpoint, lambda: stream.take(other), lambda: step(stream, prepared, 6, 7)):
            with pytest.raises(RunError, match="was interrupted while it took events in, .*; open it again, and send again what was not"):
                work()
    with lasting(bundle, tmp_path) as stream:
        found += step(stream, prepared, 5, 10)
    np.testing.assert_allclose(np.concatenate(found), expected[:10], atol=CLOSE, rtol=0)


def test_a_question_that_is_refused_stops_no_stream(stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path) -> None:
    prepared, bundle, expected, _ = stage
    with lasting(bundle, tmp_path) as stream:
        stream.take(prepared.events[:50])
        with pytest.raises(DataError, match="ask about samples in the order of as_of"):
            stream.step(prepared.events[50:51], prepared.samples[5:6])
        stream.checkpoint()
        found = step(stream, prepared, 51, 60)
    np.testing.assert_allclose(np.concatenate(found), expected[51:60], atol=CLOSE, rtol=0)


def test_a_stream_whose_folder_is_closed_writes_nothing_more(stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path) -> None:
    prepared, bundle, *_ = stage
    with lasting(bundle, tmp_path) as closed:
        step(closed, prepared, 0, 3)
    size = closed.log.stat().st_size
    for work in (closed.checkpoint, lambda: closed.take(prepared.events[3:4]), lambda: step(closed, prepared, 3, 4)):
        with pytest.raises(RunError, match="the stream was closed; open it again"):
            work()
    assert closed.log.stat().st_size == size and not list(tmp_path.glob(f"{STATE}*/{MANIFEST}"))


def test_folders_that_are_made_for_a_stream_are_named_on_the_disk(
    stage: tuple[Prepared, Bundle, np.ndarray, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[Path] = []
    monkeypatch.setattr("trmfin.scoring.lasting.sync_folder", named.append)
    with lasting(stage[1], tmp_path / "new" / "stream"):
        assert {tmp_path, tmp_path / "new"} <= set(named)
