"""What prepared tables must look like."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from trmfin.data.layout import check_events, check_links, check_money, check_rejects, check_samples, check_truth
from trmfin.errors import DataError


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


EVENTS = pl.DataFrame(
    {
        "event_id": ["e1", "e2"],
        "event_time": [day(1), day(2)],
        "known_at": [day(3), day(4)],
        "event_type": ["paid", "paid"],
        "amount": [100, None],
        "share": [0.5, None],
        "fraud": [1, None],
        "fraud_known_at": [day(9), None],
    },
    schema_overrides={name: pl.Datetime("us", "UTC") for name in ("event_time", "known_at", "fraud_known_at")},
)
SAMPLES = pl.DataFrame(
    {
        "sample_id": ["s1", "s2"],
        "as_of": [day(4), day(5)],
        "trigger": ["e2", None],
        "target_y": [1, None],
        "target_y_known_at": [day(20), None],
    },
    schema_overrides={name: pl.Datetime("us", "UTC") for name in ("as_of", "target_y_known_at")},
)
LINKS = pl.DataFrame(
    {"from_event": ["e1"], "to_event": ["e2"], "kind": ["pays"], "amount": [5], "known_at": [day(9)]},
    schema_overrides={"known_at": pl.Datetime("us", "UTC")},
)
TRUTH = pl.DataFrame({"sample_id": ["s1"], "target": ["y"], "probability": [0.25]})


def test_tables_that_keep_the_layout_pass_also_without_rows() -> None:
    for events, samples, links, truth in ((EVENTS, SAMPLES, LINKS, TRUTH), (EVENTS.clear(), SAMPLES.clear(), LINKS.clear(), TRUTH.clear())):
        check_events(events)
        check_samples(samples, events)
        check_links(links, events)
        check_truth(truth, samples)
    assert EVENTS.height == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_id": pl.lit("e1")}, "column event_id: 2 of 2 rows share a value \\(first: 'e1'\\)"),
        ({"event_id": pl.lit(None, pl.String)}, "column event_id: 2 of 2 rows are null"),
        ({"event_id": pl.lit(1)}, "column event_id: is Int32, expected String"),
        ({"known_at": pl.col("known_at").dt.replace_time_zone(None)}, "column known_at: is Datetime.*expected Datetime"),
        ({"known_at": pl.col("known_at").dt.cast_time_unit("ms")}, "column known_at: is Datetime.*'ms'"),
        ({"due": pl.col("known_at").dt.convert_time_zone("Europe/Vienna")}, "column due: is Datetime.*expected times as"),
        ({"share": pl.Series([0.1, float("nan")])}, "column share: 1 of 2 rows are NaN or infinite.*first: row 2"),
        ({"share": pl.Series([float("inf"), 0.1])}, "column share: 1 of 2 rows are NaN or infinite.*first: row 1"),
        ({"extra": pl.lit(None)}, "column extra: is Null"),
        ({"late_known_at": pl.col("known_at")}, "there is no column late"),
        ({"fraud_known_at": pl.lit("x")}, "column fraud_known_at: is String"),
        ({"fraud_known_at": pl.lit(None, pl.Datetime("us", "UTC"))}, "column fraud: 1 of 2 rows have a value but no fraud_known_at"),
    ],
)
def test_events_that_break_the_layout_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_events(EVENTS.with_columns(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_id": pl.lit("s")}, "column sample_id: 2 of 2 rows share a value"),
        ({"trigger": pl.lit("e9")}, "column trigger: 2 of 2 rows name no event \\(first: 'e9'\\)"),
        ({"trigger": pl.lit(1)}, "column trigger: is Int32"),
        ({"trigger": pl.lit("e1")}, "column trigger: 2 of 2 rows name an event known before as_of"),
        ({"target_z": pl.lit(1)}, "column target_z: has no target_z_known_at beside it"),
        ({"target_y": pl.lit(1)}, "column target_y: 1 of 2 rows have a value but no target_y_known_at"),
    ],
)
def test_samples_that_break_the_layout_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_samples(SAMPLES.with_columns(**change), EVENTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to_event": pl.lit("e9")}, "column to_event: 1 of 1 rows name no event"),
        ({"amount": pl.lit(0.5)}, "column amount: found Float64, expected Int64"),
        ({"kind": pl.lit(None, pl.String)}, "column kind: 1 of 1 rows are null"),
    ],
)
def test_links_that_break_the_layout_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_links(LINKS.with_columns(**change), EVENTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"probability": pl.lit(1.5)}, "not in \\[0, 1\\]"), ({"sample_id": pl.lit("s9")}, "name no sample \\(first: 's9'\\)")],
)
def test_truth_that_breaks_the_layout_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_truth(TRUTH.with_columns(**change), SAMPLES)


def test_a_missing_column_names_those_that_are_there() -> None:
    with pytest.raises(DataError, match="events: has no column known_at; it has event_id, event_time"):
        check_events(EVENTS.drop("known_at"))


def test_money_is_exact() -> None:
    check_money(EVENTS, "events", ["amount", "elsewhere"])
    with pytest.raises(DataError, match="column share: is Float64, expected money as Int64 minor units"):
        check_money(EVENTS, "events", ["share"])


def test_rejects_have_their_layout() -> None:
    with pytest.raises(DataError, match="rejects: found columns a"):
        check_rejects(pl.DataFrame({"a": [1]}))
