"""A stream scores as a batch does, whatever pieces it comes in, and an event that is sent again is not counted twice."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import bundle_for, panel, world
from tests.worlds import card_and_shop, document_chain, order_book
from trmfin.data.files import raw_from_frame
from trmfin.data.prepared import Prepared, apply
from trmfin.data.simulate.transactions import World, simulate
from trmfin.errors import ConfigError, DataError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.scoring.stream import Stream
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Task
from trmfin.shipped import load_pipeline

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


@pytest.mark.parametrize("size", [1, 3])
def test_events_of_one_instant_stand_as_in_a_batch_whatever_order_they_come_in(size: int) -> None:
    prepared, task = payments()
    days = [pl.col(name).dt.truncate("5d") for name in ("event_time", "known_at")]
    names = pl.Series(np.random.default_rng(0).permutation(len(prepared.events)).astype(str))
    samples = prepared.samples.with_columns(trigger=pl.lit(None, pl.String), as_of=pl.col("as_of").dt.truncate("5d").dt.offset_by("5d"))
    prepared = Prepared(events=prepared.events.with_columns(*days, event_id=names), samples=samples)
    bundle, mixed = bundle_for(prepared, task), prepared.events.sort("known_at", "event_id", descending=[False, True])
    stream, found = Stream(bundle), []
    for first in range(0, len(mixed), size):
        stream.take(mixed[first : first + size])
    last = prepared.samples.filter(pl.col("as_of") == pl.col("as_of").max())
    found = stream.step(mixed[:0], last).logits
    np.testing.assert_allclose(found, in_batch(prepared, bundle)[-len(last) :], atol=CLOSE, rtol=0)


def test_events_are_ordered_by_their_sequence_where_they_have_one_and_it_must_be_a_number() -> None:
    prepared, task = order_book()
    task = replace(task, targets=tuple(replace(target, head="classes") for target in task.targets))
    mixed = prepared.events.with_columns(sequence=pl.when(pl.col("sequence") != 5).then(-pl.col("sequence")))
    prepared = Prepared(events=mixed, samples=prepared.samples)
    bundle, stream = bundle_for(prepared, task), Stream(bundle_for(prepared, task))
    for row in np.random.default_rng(0).permutation(10).tolist():
        stream.take(mixed[row : row + 1])
    found = stream.step(mixed[:0], prepared.samples[9:10]).logits
    np.testing.assert_allclose(found, in_batch(prepared, bundle)[9:10], atol=CLOSE, rtol=0)
    for column in (pl.col("sequence").cast(pl.Float64), pl.lit(2**63, pl.UInt64)):
        with pytest.raises(DataError, match="column sequence: found .* expected whole numbers of 64 bits"):
            Stream(bundle).take(mixed.with_columns(sequence=column))


def test_an_event_that_comes_again_with_a_corrected_time_moves_to_its_place() -> None:
    prepared, task = payments()
    late = {
        name: pl.when(pl.col("event_id") == "p04.0").then(pl.col(name).dt.offset_by("60h")).otherwise(name)
        for name in ("event_time", "known_at")
    }
    corrected = Prepared(events=prepared.events.with_columns(**late), samples=prepared.samples)
    bundle, stream = bundle_for(corrected, task), Stream(bundle_for(corrected, task))
    stream.take(prepared.events[:8])
    stream.take(corrected.events[4:5])
    for row in range(8, 20):
        found = stream.step(corrected.events[row : row + 1], corrected.samples[row : row + 1]).logits
        np.testing.assert_allclose(found, in_batch(corrected, bundle)[row : row + 1], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("name", ["card_id", "shop_id"])
@pytest.mark.parametrize("value", ["other", None])
def test_an_event_that_comes_again_with_another_key_is_refused(name: str, value: str | None) -> None:
    prepared, task = payments(1)
    stream = Stream(bundle_for(prepared, task))
    stream.take(prepared.events[:10])
    other = prepared.events[3:4].with_columns(pl.lit(value, pl.String).alias(name))
    before = stream.step(prepared.events[:0], prepared.samples[10:12]).logits
    with pytest.raises(DataError, match="stream, event 'p03.0': comes again with other keys, now card .* send it with its first keys"):
        stream.take(other)
    with pytest.raises(DataError, match="stream, event 'p03.0': comes again with other keys"):
        Stream(stream.bundle).take(pl.concat([prepared.events[:8], other]))
    np.testing.assert_array_equal(stream.step(prepared.events[:0], prepared.samples[10:12]).logits, before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("fraud_known_at"), "found nothing where those taken in before have fraud_known_at; expected the same"),
        (
            lambda frame: frame.with_columns(sequence=pl.lit(1)),
            "found sequence where those taken in before have nothing; expected the same",
        ),
        (
            lambda frame: frame.with_columns(country=pl.lit(1.5)),
            r"found country \(number\) where those taken in before have country \(text\); expected the same columns",
        ),
    ],
)
def test_events_with_other_columns_than_those_that_are_held_are_refused(change: Callable[[pl.DataFrame], pl.DataFrame], said: str) -> None:
    prepared, task = payments(1)
    stream, other = Stream(bundle_for(prepared, task)), change(prepared.events)
    stream.read(other)  # nothing is held yet
    stream.take(prepared.events[:10])
    with pytest.raises(DataError, match=f"stream, events: {said}"):
        stream.take(other[10:])
    found = stream.step(prepared.events[10:], prepared.samples[10:]).logits
    np.testing.assert_allclose(found, in_batch(prepared, stream.bundle)[10:], atol=CLOSE, rtol=0)


def test_card_payments_and_their_late_verdicts_have_the_scores_of_a_batch() -> None:
    use = load_pipeline("transactions")
    raw = simulate(World(customers=6, terminals=3, days=60, seed=5, radius=142)).head(300)
    made = apply(use, {"transactions": raw_from_frame(raw, "world")}, datetime(2030, 1, 1, tzinfo=UTC))
    prepared = Prepared(events=made.events.sort("known_at"), samples=made.samples.sort("as_of"))
    bundle = bundle_for(prepared, use.task)
    late = [name for name in prepared.events.columns if f"{name}_known_at" in prepared.events.columns]
    assert len(prepared.samples) == 300 and "verdict" in late
    hidden = [pl.lit(None, prepared.events.schema[name]).alias(name) for each in late for name in (each, f"{each}_known_at")]
    unknown = prepared.events.with_columns(hidden)
    stream, found, told = Stream(bundle), [], 0
    for row, as_of in enumerate(prepared.samples["as_of"]):
        due = prepared.events["verdict_known_at"][told:]
        count = int((due < as_of).sum())
        if count:
            stream.take(prepared.events[told : told + count])
            told += count
        found.append(stream.step(unknown[row : row + 1], prepared.samples[row : row + 1]).logits)
    assert told > 150 and all(rings.lost[0].any() for rings in stream.rings.values())
    np.testing.assert_allclose(np.concatenate(found), in_batch(prepared, bundle), atol=CLOSE, rtol=0)


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
    with pytest.raises(DataError, match="stream, history 'card': .* ask about samples in the order of as_of"):
        stream.step(prepared.events[:0], prepared.samples[5:6])


def holding(stream: Stream) -> dict[str, tuple[list[dict[str, Any]], bool, set[int]]]:
    """All that a stream holds, texts as they are."""
    texts, found = dict(enumerate(stream.texts)), dict[str, tuple[list[dict[str, Any]], bool, set[int]]]()
    for name, rings in stream.rings.items():
        for key, place in rings.places.items():
            ring, counts, lost, row = rings._at(place)
            events = [
                {part: texts[event[part]] if part.startswith("operand text") else event[part].tolist() for part in event.dtype.names}
                for event in ring[: counts[row]]
            ]
            found[f"{name} {key}"] = (events, bool(lost[row]), rings.gone.get(place, set()))
    return found


def random_frames(events: pl.DataFrame, seed: int) -> list[pl.DataFrame]:
    """Payments of few cards, in any order, some of one instant and tie, some again with another time, value, verdict or key."""
    random, frames = np.random.default_rng(seed), []
    for _ in range(90):
        rows = random.integers(0, 30, random.integers(1, 4))
        cards = np.where(random.random(len(rows)) < 0.05, 7, rows % 2)
        day = rows // 4 + np.where(random.random(len(rows)) < 0.2, random.integers(-6, 7, len(rows)), 0)
        when = (pl.lit(events["known_at"][0]) + pl.duration(days=pl.lit(pl.Series(day)))).dt.cast_time_unit("us")
        frames.append(
            events[random.integers(0, len(events), len(rows))].with_columns(
                event_id=pl.Series([f"payment {row}" for row in rows]),
                card_id=pl.Series([f"card{card}" for card in cards]),
                shop_id=pl.lit("shop", pl.String) if random.random() < 0.8 else pl.lit(None, pl.String),
                known_at=when,
                event_time=when,
            )
        )
    return frames


@pytest.mark.parametrize("seed", range(6))
def test_frames_that_are_taken_in_together_leave_what_they_leave_one_after_the_other(seed: int) -> None:
    prepared, task = payments(1)
    bundle = bundle_for(prepared, task)
    single, together, several = Stream(bundle), Stream(bundle), Stream(bundle)
    taken = []
    for frame in random_frames(prepared.events, seed):
        try:
            single.take(frame)
        except DataError:
            continue
        taken.append(frame)
    together.take_each(taken)
    for first in range(0, len(taken), 7):
        several.take_each(taken[first : first + 7])
    assert 40 < len(taken) < 90 and any(lost for _, lost, _ in holding(single).values())
    assert holding(together) == holding(single) and holding(several) == holding(single)


def test_what_a_stream_does_not_keep_is_refused() -> None:
    prepared, task = document_chain()
    with pytest.raises(ConfigError, match="gathers events through links"):
        Stream(bundle_for(prepared, task))
    prepared, task = payments(1)
    stream = Stream(bundle_for(prepared, task))
    with pytest.raises(DataError, match="no key column 'shop_id'"):
        stream.step(prepared.events.drop("shop_id"), prepared.samples)
