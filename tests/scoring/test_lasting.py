"""A stream that is killed loses no event that it has answered and counts none twice, wherever the kill falls."""

import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for
from tests.scoring.test_folder import refuse
from tests.scoring.test_stream import CLOSE, in_batch, payments
from tests.worlds import order_book
from trmfin.data.files import write_parquet
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError, RunError, TaskError
from trmfin.learn.bundle import Bundle
from trmfin.scoring import record_log
from trmfin.scoring.lasting import IDENTITY, LOG, MANIFEST, STATE, LastingStream, lasting

CHILD = """
import sys
from pathlib import Path
import polars as pl
from trmfin.learn.bundle import Bundle
from trmfin.scoring.lasting import lasting
folder, begun = Path(sys.argv[1]), int(sys.argv[2])
events, samples = (pl.read_parquet(folder / f"{name}.parquet") for name in ("events", "samples"))
with lasting(Bundle.load(folder / "bundle"), folder / "stream") as stream:
    print("open", flush=True)
    for row in range(begun, len(samples)):
        stream.step(events[row : row + 1], samples[row : row + 1])
        print(row, flush=True)
        if row % 7 == 6:
            stream.checkpoint()
"""


def step(stream: LastingStream, prepared: Prepared, first: int, last: int) -> list[np.ndarray]:
    return [stream.step(prepared.events[row : row + 1], prepared.samples[row : row + 1]).logits for row in range(first, last)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Bundle, np.ndarray]:
    prepared, task = payments()
    bundle_for(prepared, task).save(folder := tmp_path_factory.mktemp("bundle") / "bundle")
    bundle = Bundle.load(folder)
    return prepared, bundle, in_batch(prepared, bundle)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_stream_that_is_opened_again_goes_on_where_it_was(
    stage: tuple[Prepared, Bundle, np.ndarray], checkpoint: bool, tmp_path: Path
) -> None:
    prepared, bundle, expected = stage
    found = []
    for first in range(0, 80, 20):
        with lasting(bundle, tmp_path) as stream:
            found += step(stream, prepared, first, first + 20)
            if checkpoint:
                stream.checkpoint()
    np.testing.assert_allclose(np.concatenate(found), expected, atol=CLOSE, rtol=0)
    kept = {f"{STATE}00000004", f"{LOG}00000004"} if checkpoint else {f"{LOG}00000000"}
    assert {path.name for path in tmp_path.iterdir()} == {IDENTITY} | kept


def test_a_log_that_is_torn_anywhere_keeps_all_whole_records(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, expected = stage
    sizes = [0]
    with lasting(bundle, tmp_path) as stream:
        for row in range(12):
            step(stream, prepared, row, row + 1)
            sizes.append(stream.log.stat().st_size)
    whole = stream.log.read_bytes()
    for torn in [*range(sizes[10] + 1, sizes[11], 211), sizes[11] - 1, sizes[11], sizes[11] + 3]:
        stream.log.write_bytes(whole[:torn])
        kept = 11 if torn >= sizes[11] else 10
        with lasting(bundle, tmp_path) as again:
            assert again.log.stat().st_size == sizes[kept]
            found = step(again, prepared, kept, 16)  # what was never answered is sent again
        np.testing.assert_allclose(np.concatenate(found), expected[kept:16], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_log_that_the_disk_cannot_take_loses_nothing_that_is_answered(
    stage: tuple[Prepared, Bundle, np.ndarray], checkpoint: bool, tmp_path: Path
) -> None:
    """A limit on the size of files makes the system write half a record, as a full disk does."""
    prepared, bundle, expected = stage
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        if checkpoint:
            stream.checkpoint()
        size = stream.log.stat().st_size if stream.log.exists() else 0
        allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, allowed[1]))
        try:
            with pytest.raises(RunError, match=f"{LOG}.* cannot be written .*; free some space and send these events again") as told:
                step(stream, prepared, 5, 6)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
        assert stream.log.stat().st_size == size and "--" not in str(told.value)
        found += step(stream, prepared, 5, 10)
    with lasting(bundle, tmp_path) as stream:
        found += step(stream, prepared, 10, 20)
    np.testing.assert_allclose(np.concatenate(found), expected[:20], atol=CLOSE, rtol=0)


def test_nothing_is_written_behind_half_a_record_that_cannot_be_cut_off(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, expected = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 5)
        with monkeypatch.context() as patch:
            for call in ("os.fsync", "os.truncate"):
                patch.setattr(call, refuse)
            with pytest.raises(RunError, match="cannot be written"):
                step(stream, prepared, 5, 6)
        size = stream.log.stat().st_size
        with pytest.raises(RunError, match="holds half a record from byte .*; free some space and open the stream again"):
            step(stream, prepared, 5, 6)
        assert stream.log.stat().st_size == size
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 5, 20)
    np.testing.assert_allclose(np.concatenate(found), expected[5:20], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("place", [0, 8, 14, 20, 60])  # in the mark; in the length, making it short or long; in the hash; in the body
def test_a_record_that_was_altered_before_others_is_told_and_nothing_is_cut_off(
    stage: tuple[Prepared, Bundle, np.ndarray], place: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, _ = stage
    monkeypatch.setattr("trmfin.scoring.record_log.CHUNK", chunk)
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 3)
        size = stream.log.stat().st_size
        step(stream, prepared, 3, 5)
    data = bytearray(stream.log.read_bytes())
    data[size + place] ^= 1
    stream.log.write_bytes(data)
    with pytest.raises(RunError, match=f"{stream.log}: the record at byte {size} is not what its hash says"), lasting(bundle, tmp_path):
        pass
    assert stream.log.read_bytes() == data


def test_a_log_is_read_in_memory_of_one_record(tmp_path: Path) -> None:
    log = record_log.RecordLog(path=tmp_path / "log")
    bodies = [bytes([place]) * 100_000 for place in range(40)]
    for body in bodies:
        log.append(body)
    tracemalloc.start()
    assert all(one == other for one, other in zip(log.records(), bodies, strict=True))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 * 100_000 and log.size == log.path.stat().st_size


@pytest.mark.parametrize("left", [b"\0" * 5000, b"\0" * 3])
def test_zeros_that_a_power_cut_leaves_are_cut_off(stage: tuple[Prepared, Bundle, np.ndarray], left: bytes, tmp_path: Path) -> None:
    prepared, bundle, _ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 3)
    whole = stream.log.read_bytes()
    stream.log.write_bytes(whole + left)
    with lasting(bundle, tmp_path):
        assert stream.log.read_bytes() == whole


def test_a_log_is_read_again_however_its_frames_are_made(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, expected = stage
    monkeypatch.setattr("trmfin.scoring.lasting.TOGETHER", 5)
    made = [
        lambda events: events,
        lambda events: events.select(reversed(events.columns)),
        lambda events: events.with_columns(note=pl.lit(1)),
        lambda events: events.with_columns(country=pl.col("country").cast(pl.Categorical)),
    ]
    with lasting(bundle, tmp_path) as stream:
        for row in range(40):
            stream.take(made[row // 8 % 4](prepared.events[row : row + 1]))
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 40, 60)
    np.testing.assert_allclose(np.concatenate(found), expected[40:60], atol=CLOSE, rtol=0)


def test_a_frame_with_other_columns_is_refused_and_does_not_stand_in_the_log(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path
) -> None:
    prepared, bundle, expected = stage
    other = prepared.events.drop("fraud_known_at")
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        with pytest.raises(DataError, match="expected the same columns of the same kinds"):
            stream.take(other[5:6])
        with pytest.raises(DataError, match="comes again with other keys"):
            stream.take(prepared.events[4:5].with_columns(card_id=pl.lit("other")))
    with lasting(bundle, tmp_path) as stream:
        found += step(stream, prepared, 5, 10)
    np.testing.assert_allclose(np.concatenate(found), expected[:10], atol=CLOSE, rtol=0)


def test_a_folder_with_a_log_alone_is_of_one_bundle(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, _ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 5)
    other = bundle_for(prepared, bundle.task)
    with (
        pytest.raises(RunError, match=f"{IDENTITY}: .* expected format .* and bundle 000000000000; open it with"),
        lasting(other, tmp_path),
    ):
        pass
    (tmp_path / IDENTITY).unlink()
    with pytest.raises(RunError, match=f"no {IDENTITY}, which says of what bundle they are"), lasting(bundle, tmp_path):
        pass


def test_files_of_others_are_left_alone_and_a_log_without_its_state_too(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, expected = stage
    others = ["state-old/mine.txt", "state-00000001.bak/mine.txt", "state-1/manifest.json", "log-book", "log-000000001", "notes.txt"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 5)
        stream.checkpoint()
        found += step(stream, prepared, 5, 10)
    np.testing.assert_allclose(np.concatenate(found), expected[:10], atol=CLOSE, rtol=0)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    (tmp_path / f"{STATE}00000001").rename(tmp_path / "elsewhere")
    with (
        pytest.raises(RunError, match=f"{LOG}00000000 is missing, or {STATE}00000001, which holds what came of it; put it back"),
        lasting(bundle, tmp_path),
    ):
        pass
    assert (tmp_path / f"{LOG}00000001").exists()


def test_the_old_log_goes_once_its_state_is_named_on_the_disk(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, bundle, _ = stage
    done, state = [], tmp_path / f"{STATE}00000001"
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 2)
        log = stream.log
        monkeypatch.setattr("trmfin.scoring.lasting.sync_folder", lambda folder: done.append((folder, (state / MANIFEST).exists())))
        monkeypatch.setattr("trmfin.scoring.lasting.remove_file", lambda path: done.append((path, True)))
        stream.checkpoint()
    assert done == [(state, True), (tmp_path, True), (log, True)]


def test_ties_that_a_full_ring_has_cut_are_remembered_in_a_state(tmp_path: Path) -> None:
    prepared, task = payments()
    late = [pl.lit(prepared.events[name][0]).alias(name) for name in ("event_time", "known_at")]
    tied = prepared.events.with_columns(*late, card_id=pl.lit("c"), event_id=pl.format("all begin alike {}", pl.int_range(10, 90)))
    bundle = bundle_for(prepared, task)
    with lasting(bundle, tmp_path) as stream:
        stream.take(tied)
        held = stream.stream.rings["card"].window(("c",), 2**62)
        stream.checkpoint()
    with lasting(bundle, tmp_path) as stream:
        stream.take(tied[:30])
        np.testing.assert_array_equal(stream.stream.rings["card"].window(("c",), 2**62), held)


def test_a_state_that_was_altered_or_is_of_another_bundle_is_refused(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, _ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 5)
        stream.checkpoint()
    other = bundle_for(prepared, bundle.task)
    with pytest.raises(RunError, match="of bundle .* expected format 3 and bundle 000000000000"), lasting(other, tmp_path):
        pass
    path = tmp_path / f"{STATE}00000001" / "card.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"card.npy: is not what manifest.json says"), lasting(bundle, tmp_path):
        pass


def test_what_cannot_be_used_is_not_written_down_and_what_has_no_key_yet_is_kept(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path
) -> None:
    prepared, bundle, expected = stage
    with lasting(bundle, tmp_path) as stream:
        stream.checkpoint()  # nothing has come
    homeless = prepared.events[:1].with_columns(pl.lit(None, pl.String).alias(name) for name in ("card_id", "shop_id"))
    with lasting(bundle, tmp_path) as stream:
        stream.take(homeless)
        with pytest.raises(DataError, match="no key column 'shop_id'"):
            stream.take(prepared.events.drop("shop_id"))
        with pytest.raises(TaskError, match="no column 'amount'"):
            stream.step(prepared.events.drop("amount"), prepared.samples)
        stream.checkpoint()
    with lasting(bundle, tmp_path) as stream:
        found = step(stream, prepared, 0, 10)
    np.testing.assert_allclose(np.concatenate(found), expected[:10], atol=CLOSE, rtol=0)


def test_events_of_one_instant_stand_in_one_order_before_and_after_a_kill(tmp_path: Path) -> None:
    prepared, task = order_book()
    bundle = bundle_for(prepared, task)
    backwards = prepared.events.reverse()
    with lasting(bundle, tmp_path) as stream:
        before = stream.step(backwards, prepared.samples[9:10]).logits
    with lasting(bundle, tmp_path) as stream:  # from the log
        after = stream.step(prepared.events[:0], prepared.samples[9:10]).logits
    np.testing.assert_allclose(before, in_batch(prepared, bundle)[9:10], atol=CLOSE, rtol=0)
    np.testing.assert_allclose(after, before, atol=CLOSE, rtol=0)


def test_only_one_process_may_have_a_stream(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    bundle, said = stage[1], f"process {os.getpid()} is writing this folder; wait until it ends or choose another folder"
    with lasting(bundle, tmp_path), pytest.raises(RunError, match=said), lasting(bundle, tmp_path):
        pass


def test_a_process_that_is_killed_again_and_again_ends_with_the_scores_of_a_batch(
    stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path
) -> None:
    prepared, bundle, expected = stage
    bundle.save(tmp_path / "bundle")
    write_parquet(prepared.events, tmp_path / "events.parquet")
    write_parquet(prepared.samples, tmp_path / "samples.parquet")
    begun = 0
    for kill in range(4):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(begun)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stdout.readline() == "open\n"
            answered = [int(child.stdout.readline()) for _ in range(5 + 4 * kill)]
            time.sleep(0.003 * kill)
            child.send_signal(signal.SIGKILL)
            answered += [int(line) for line in child.stdout.read().split()]
        begun = answered[-1] + 1
    assert 20 < begun < 80
    with lasting(bundle, tmp_path / "stream") as stream:
        found = step(stream, prepared, begun, 80)
    np.testing.assert_allclose(np.concatenate(found), expected[begun:], atol=CLOSE, rtol=0)
