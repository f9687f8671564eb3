"""A stream that is killed loses no event that it has answered and counts none twice, wherever the kill falls."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for
from tests.scoring.test_stream import CLOSE, in_batch, payments
from tests.worlds import order_book
from trmfin.data.files import write_parquet
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError, RunError, TaskError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.lasting import LOG, STATE, LastingStream, lasting

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
    number = 4 if checkpoint else 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ([f"{STATE}{number:08d}"] if checkpoint else [f"{LOG}{number:08d}"])


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


def test_a_record_with_a_changed_byte_ends_the_log_there(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, _ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 3)
        size = stream.log.stat().st_size
        step(stream, prepared, 3, 4)
    data = bytearray(stream.log.read_bytes())
    data[size + 40] ^= 1
    stream.log.write_bytes(data)
    with lasting(bundle, tmp_path) as again:
        assert again.log.stat().st_size == size


def test_a_state_that_was_altered_or_is_of_another_bundle_is_refused(stage: tuple[Prepared, Bundle, np.ndarray], tmp_path: Path) -> None:
    prepared, bundle, _ = stage
    with lasting(bundle, tmp_path) as stream:
        step(stream, prepared, 0, 5)
        stream.checkpoint()
    other = bundle_for(prepared, bundle.task)
    with pytest.raises(RunError, match="of bundle .* expected format 2 and bundle 000000000000"), lasting(other, tmp_path):
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
    bundle = stage[1]
    with lasting(bundle, tmp_path), pytest.raises(RunError, match=str(os.getpid())), lasting(bundle, tmp_path):
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
