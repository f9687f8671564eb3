"""A stream scores as a batch does, whatever pieces it comes in, and an event that is sent again is not counted twice."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring.models import bundle_for, panel, world
from tests.worlds import card_and_shop, document_chain, order_book
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError, DataError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.scoring.rings import SPARE, Rings, identity
from trmfin.scoring.stream import Stream
from trmfin.sequences.sequences import build
from trmfin.sequences.task import History, Task
from trmfin.sequences.windows import Members, as_of_windows

CLOSE = 1e-6


def payments(rounds: int = 4) -> tuple[Prepared, Task]:
    """`card_and_shop` again and again, ten days apart, so that windows are full."""
    prepared, task = card_and_shop()
    parts = []
    for turn in range(rounds):
        names = [name for name in ("event_id", "sample_id", "trigger")]
        parts.append(
            [
                frame.with_columns(
                    *(pl.col(name) + f".{turn}" for name in names if name in frame.columns),
                    *(pl.col(name).dt.offset_by(f"{10 * turn}d") for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)),
                )
                for frame in (prepared.events, prepared.samples)
            ]
        )
    events, samples = (pl.concat(frames) for frames in zip(*parts, strict=True))
    return Prepared(events=events, samples=samples), task


def in_batch(prepared: Prepared, bundle: Bundle) -> np.ndarray:
    sequences = build(prepared, bundle.task).aligned(bundle.fitted)
    return score_rows(bundle, sequences, np.arange(len(sequences))).logits


def streamed(prepared: Prepared, bundle: Bundle, size: int) -> tuple[np.ndarray, Stream]:
    """Log-odds of all samples, `size` rows of both tables at a time; both stand in the order of time."""
    stream, found = Stream(bundle), []
    for first in range(0, max(len(prepared.events), len(prepared.samples)), size):
        found.append(stream.step(prepared.events[first : first + size], prepared.samples[first : first + size]).logits)
    return np.concatenate(found), stream


@pytest.mark.parametrize("size", [1, 3, 80])
def test_scores_are_those_of_a_batch_whatever_pieces_the_stream_comes_in(size: int) -> None:
    prepared, task = payments()
    bundle = bundle_for(prepared, task)
    found, stream = streamed(prepared, bundle, size)
    np.testing.assert_allclose(found, in_batch(prepared, bundle), atol=CLOSE, rtol=0)
    assert stream.entities == 3 + 2 and np.ptp(found[:, -1]) > 1


def test_many_events_of_one_instant_and_a_session_in_the_key() -> None:
    prepared, task = order_book()
    task = replace(task, targets=tuple(replace(target, head="classes") for target in task.targets))
    bundle = bundle_for(prepared, task)
    found, _ = streamed(prepared, bundle, 2)
    np.testing.assert_allclose(found, in_batch(prepared, bundle), atol=CLOSE, rtol=0)


def test_a_verdict_that_comes_late_is_the_same_event_sent_again() -> None:
    prepared, task = payments()
    bundle, late = bundle_for(prepared, task), ("fraud", "fraud_known_at")
    events, samples = prepared.events, prepared.samples
    unknown = events.with_columns(pl.lit(None, events.schema[name]).alias(name) for name in late)
    stream, found, told = Stream(bundle), [], 0
    for row in range(len(samples)):
        while events["fraud_known_at"][told] < samples["as_of"][row]:
            stream.take(events[told : told + 1])
            told += 1
        found.append(stream.step(unknown[row : row + 1], samples[row : row + 1]).logits)
    assert told > 60
    np.testing.assert_allclose(np.concatenate(found), in_batch(prepared, bundle), atol=CLOSE, rtol=0)


def test_an_event_that_is_sent_twice_counts_once() -> None:
    prepared, task = payments(2)
    bundle, stream = bundle_for(prepared, task), Stream(bundle_for(prepared, task))
    for _ in range(2):
        stream.take(prepared.events[:20])
    again = stream.step(prepared.events[20:], prepared.samples[20:]).logits
    np.testing.assert_allclose(again, in_batch(prepared, bundle)[20:], atol=CLOSE, rtol=0)


def test_a_client_without_events_and_a_key_that_is_null_have_empty_windows() -> None:
    where = world(panel(12))
    stream = Stream(where.bundle)
    found = stream.step(where.prepared.events, where.prepared.samples).logits
    np.testing.assert_allclose(found, in_batch(where.prepared, where.bundle), atol=CLOSE, rtol=0)
    nobody = where.prepared.samples[:1].with_columns(client=pl.lit(None, pl.String))
    assert np.isfinite(stream.step(where.prepared.events[:0], nobody).score).all()


def test_a_question_about_the_past_is_refused_where_its_window_is_lost() -> None:
    prepared, task = payments()
    stream = Stream(bundle_for(prepared, task))
    stream.take(prepared.events)
    with pytest.raises(DataError, match="stream, history 'card': .* ask about samples in the order of their as_of"):
        stream.step(prepared.events[:0], prepared.samples[5:6])


def test_what_a_stream_does_not_keep_is_refused() -> None:
    prepared, task = document_chain()
    with pytest.raises(ConfigError, match="gathers events through links"):
        Stream(bundle_for(prepared, task))
    prepared, task = payments(1)
    stream = Stream(bundle_for(prepared, task))
    with pytest.raises(DataError, match="no key column 'shop_id'"):
        stream.step(prepared.events.drop("shop_id"), prepared.samples)


HISTORY = History(name="h", keys=("k",), length=3)
TIMES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=40)


@settings(deadline=None)
@given(TIMES, st.integers(0, 13), st.integers(0, 2))
def test_a_ring_holds_what_a_window_over_all_events_finds(events: list[tuple[int, int]], as_of: int, key: int) -> None:
    """In any order of arrival, while no more than the spare events are not before as_of."""
    keys, known = (np.array([event[part] for event in events], np.int64) for part in range(2))
    dtype = np.dtype([("id", "u8"), ("known_at", "i8")])
    rings = Rings(history=HISTORY, dtype=dtype)
    for place, (mine, when) in enumerate(events):
        rings.put((str(mine),), np.array([(identity(str(place)), when)], dtype)[0])
    if ((keys == key) & (known >= as_of)).sum() > SPARE:
        return
    ties = pl.DataFrame({"event_id": np.arange(len(events))})  # in the order of arrival
    members = Members(row=np.arange(len(events)), key=keys, known_at=known)
    window = as_of_windows(members, ties, key=np.array([key]), as_of=np.array([as_of]), length=HISTORY.length)
    rows = window.order[window.start[0] : window.stop[0]]
    found = rings.window((str(key),), as_of)
    assert found["known_at"].tolist() == known[rows].tolist()
    assert found["id"].tolist() == [identity(str(row)) for row in rows]
