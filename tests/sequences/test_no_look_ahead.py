"""Nothing that became known at as_of or later can reach a sample: not by changing, deleting or shuffling it."""

import random
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds import at, prepared, table
from trmfin.data.prepared import Prepared
from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task

TASK = Task(
    name="everything",
    histories=(History(name="card", keys=("card",), length=3), History(name="shop", keys=("shop",), length=2, links=("part_of",))),
    fields=(
        Field(name="amount", column="amount", transform="signed_log"),
        Field(name="ratio", column="amount", transform="ratio", against="sample.amount"),
        Field(name="step", column="amount", transform="difference", against="previous.amount"),
        Field(name="paid", column="paid", transform="number"),
        Field(name="paid_share", column="paid", transform="ratio", against="previous.amount"),
        Field(name="unpaid", column="amount", transform="difference", against="previous.paid"),
        Field(name="age", column="event_time", transform="gap_seconds", against="as_of"),
        Field(name="pause", column="event_time", transform="gap_seconds", against="previous"),
        Field(name="country", column="country", transform="category"),
        Field(name="verdict", column="verdict", transform="category"),
        Field(name="hour", column="event_time", transform="hour_of_day"),
        Field(name="same_country", column="country", transform="same", against="sample.country"),
        Field(name="same_verdict", column="verdict", transform="same", against="previous.verdict"),
        Field(name="own", column="amount", transform="number", of="sample"),
    ),
    targets=(Target(name="fraud", head="binary", meaning="is a fraud"),),
    primary="fraud",
    group="card",
    money=("amount", "paid"),
    relations=("settles", "part_of"),
)
KEYS, COUNTRIES, VERDICTS = (None, "a", "b"), (None, "at", "de"), ("fraud", "genuine")
DAYS = st.integers(0, 6)
EVENT = st.fixed_dictionaries(
    {
        "event_time": DAYS,
        "known_at": DAYS,
        "sequence": st.sampled_from([None, 1, 2]),
        "card": st.sampled_from(KEYS),
        "shop": st.sampled_from(KEYS),
        "amount": st.integers(-300, 300),
        "country": st.sampled_from(COUNTRIES),
        "paid": st.integers(0, 300),
        "paid_known_at": DAYS,
        "verdict": st.sampled_from(VERDICTS),
        "verdict_known_at": DAYS,
    }
)
LINK = st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["settles", "part_of", "other"]), DAYS)
SAMPLE = st.fixed_dictionaries(
    {
        "as_of": st.integers(1, 7),
        "card": st.sampled_from(KEYS[1:]),
        "shop": st.sampled_from(KEYS),
        "amount": st.integers(-3, 3),
        "country": st.sampled_from(COUNTRIES),
    }
)
WORLD = st.tuples(st.lists(EVENT, min_size=1, max_size=9), st.lists(LINK, max_size=6), st.lists(SAMPLE, min_size=1, max_size=4))
LATE = ("paid", "verdict")
Row = dict[str, Any]
World = tuple[list[Row], list[tuple[int, int, str, int]], list[Row]]


def rows_of(world: World) -> tuple[list[Row], list[Row], list[Row]]:
    """Events, links and samples with ids and days as times yet to come."""
    events, links, samples = world
    named = [{"event_id": f"e{7 * i % 10}", "event_type": "x", **event} for i, event in enumerate(events)]
    linked = [
        {"from_event": named[a % len(named)]["event_id"], "to_event": named[b % len(named)]["event_id"], "kind": kind, "known_at": day}
        for a, b, kind, day in links
    ]
    return named, linked, [{"sample_id": f"s{i}", **sample} for i, sample in enumerate(samples)]


def tables(events: list[Row], links: list[Row], samples: list[Row]) -> Prepared:
    """Days become times, amounts and texts keep their types where all are null."""

    def timed(row: Row) -> Row:
        return {name: at(value) if name in ("event_time", "as_of") or name.endswith("known_at") else value for name, value in row.items()}

    texts = {"card": str, "shop": str, "country": str}
    event = {**texts, "event_id": str, "sequence": int, "verdict": str}
    blank = {"event_id": "never", "event_type": "x", "card": None, "shop": None, "sequence": None, "amount": 0, "country": None}
    blank |= {"event_time": 999, "known_at": 999, "paid": 0, "paid_known_at": 999, "verdict": "fraud", "verdict_known_at": 999}
    linked = table([{**timed(link), "amount": 1} for link in links]) if links else None
    return prepared(table([timed(row) for row in [*events, blank]], **event), table([timed(row) for row in samples], **texts), linked)


def parts(batch: Batch) -> dict[str, bytes]:
    """Every array of a batch but `rows`, to the bit."""
    arrays = {f.name: getattr(batch, f.name) for f in fields(Batch) if f.name not in ("rows", "targets")} | dict(batch.targets)
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


def sequences_of(rows: tuple[list[Row], list[Row], list[Row]], fitted: Fitted | None = None) -> Sequences:
    plain = build(tables(*rows), TASK)
    return plain.aligned(fitted or Fitted.fit(plain, np.arange(len(plain)), bins=3))


def changed_after(day: int, rows: tuple[list[Row], list[Row], list[Row]], how: random.Random) -> tuple[list[Row], list[Row], list[Row]]:
    """What is known at `day` or later is deleted or becomes something else; everything changes its place."""
    events, links, samples = rows
    kept: list[Row] = []
    for event in events:
        changed = dict(event)
        if event["known_at"] >= day:
            if how.random() < 0.3:
                continue
            changed |= {"known_at": day + how.randrange(9), "event_time": how.randrange(9), "amount": how.randrange(999)}
            changed |= {"card": how.choice(KEYS), "shop": how.choice(KEYS), "country": "new", "sequence": how.randrange(9)}
        for name in LATE:
            if changed[f"{name}_known_at"] >= day:
                changed |= {name: how.choice([None, 123 if name == "paid" else "new"]), f"{name}_known_at": day + how.randrange(9)}
        kept.append(changed)
    there = {event["event_id"] for event in kept}
    linked = [link for link in links if link["known_at"] < day and {link["from_event"], link["to_event"]} <= there]
    names = sorted(there)
    for _ in range(how.randrange(4) if names else 0):
        ends = {"from_event": how.choice(names), "to_event": how.choice(names)}
        linked.append({**ends, "kind": "settles", "known_at": day + how.randrange(9)})
    how.shuffle(kept)
    how.shuffle(linked)
    return kept, linked, samples


@settings(max_examples=40)
@given(world=WORLD, seed=st.integers(0, 10**6))
def test_what_becomes_known_at_as_of_or_later_changes_no_bit(world: World, seed: int) -> None:
    rows, how = rows_of(world), random.Random(seed)
    before = sequences_of(rows)
    sample = how.randrange(len(before))
    after = sequences_of(changed_after(rows[2][sample]["as_of"], rows, how), before.fitted)
    assert parts(after.batch([sample])) == parts(before.batch([sample]))


@settings(max_examples=20)
@given(world=WORLD, seed=st.integers(0, 10**6))
def test_the_order_of_rows_changes_no_bit(world: World, seed: int) -> None:
    rows, how = rows_of(world), random.Random(seed)
    before = sequences_of(rows)
    shuffled = tuple(how.sample(part, len(part)) for part in rows)
    after = sequences_of(shuffled)  # type: ignore[arg-type]
    assert after.fitted == before.fitted
    places = [before.sample_ids.tolist().index(name) for name in after.sample_ids]
    assert parts(after.batch(np.arange(len(after)))) == parts(before.batch(places))


@settings(max_examples=20)
@given(world=WORLD)
def test_a_sample_does_not_depend_on_who_stands_beside_it(world: World) -> None:
    sequences = sequences_of(rows_of(world))
    whole = sequences.batch([*range(len(sequences)), 0])
    for place, row in enumerate([*range(len(sequences)), 0]):
        alone = sequences.batch([row])
        one = replace(
            whole,
            **{f.name: getattr(whole, f.name)[[place]] for f in fields(Batch) if f.name not in ("targets", "rows")},
            targets={name: values[[place]] for name, values in whole.targets.items()},
        )
        assert parts(one) == parts(alone)


def test_long_batches_equal_short_ones_to_the_bit() -> None:
    how = random.Random(0)
    events = [
        {"event_id": f"e{i:04}", "event_type": "x", "event_time": i * 0.7, "known_at": i * 0.9, "sequence": None, "card": how.choice("ab")}
        | {"shop": None, "amount": how.randrange(10**9), "country": how.choice(["at", "de"]), "paid": how.randrange(10**9)}
        | {"paid_known_at": i, "verdict": "fraud", "verdict_known_at": i + 3}
        for i in range(200)
    ]
    samples = [
        {"sample_id": f"s{i}", "as_of": i * 0.8, "card": how.choice("ab"), "shop": None, "amount": i, "country": "at"} for i in range(257)
    ]
    sequences = sequences_of((events, [], samples))
    whole = sequences.batch(np.arange(257))
    for size in (1, 7, 64):
        pieces = [sequences.batch(np.arange(first, min(first + size, 257))) for first in range(0, 257, size)]
        assert np.concatenate([piece.numbers for piece in pieces]).tobytes() == whole.numbers.tobytes()
        assert np.concatenate([piece.codes for piece in pieces]).tobytes() == whole.codes.tobytes()


def test_the_property_would_notice_a_leak() -> None:
    """The same change made one day earlier, to what the sample may see, does change its batch."""
    event = {"event_time": 1, "known_at": 2, "sequence": None, "card": "a", "shop": "a", "amount": 5, "country": "at"}
    late = {"paid": 7, "paid_known_at": 2, "verdict": "fraud", "verdict_known_at": 2}
    rows = rows_of(([{**event, **late}], [], [{"as_of": 3, "card": "a", "shop": "a", "amount": 1, "country": "at"}]))
    before = sequences_of(rows)
    visible = sequences_of(changed_after(2, rows, random.Random(3)), before.fitted)
    hidden = sequences_of(changed_after(3, rows, random.Random(3)), before.fitted)
    assert parts(visible.batch([0])) != parts(before.batch([0])) == parts(hidden.batch([0]))
