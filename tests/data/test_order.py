"""Events lie in a prepared folder as samples ask for them, and nothing else about them changes."""

from datetime import UTC, datetime

import polars as pl
import pytest

from tests.data.test_prepared import made
from trmfin.data.order import in_order_of_samples

EVENTS = pl.DataFrame({"id": [1, 2, 3, 4, 5, 6, 7], "client": ["a", "b", "c", None, "b", "a", "z"]})
SAMPLES = pl.DataFrame({"sample": [1, 2, 3, 4], "client": ["c", None, "a", "c"], "as_of": [datetime(2024, 1, 1, tzinfo=UTC)] * 4})


def test_events_come_in_the_order_in_which_samples_first_ask_for_their_key() -> None:
    ordered = in_order_of_samples(EVENTS, SAMPLES, ("client",))
    assert ordered["id"].to_list() == [3, 1, 6, 2, 4, 5, 7]  # c, then a; those nobody asks for last, as they were
    assert ordered.schema == EVENTS.schema and ordered.sort("id").equals(EVENTS)


def test_a_key_of_several_columns_counts_as_one() -> None:
    events = pl.DataFrame({"id": [1, 2, 3], "shop": ["x", "x", "y"], "day": [1, 2, 1]})
    samples = pl.DataFrame({"shop": ["x", "y", "x"], "day": [2, 1, 1]})
    assert in_order_of_samples(events, samples, ("shop", "day"))["id"].to_list() == [2, 3, 1]


@pytest.mark.parametrize("key", [(), ("missing",), ("client", "id"), ("as_of",)])
def test_a_key_that_both_tables_do_not_hold_alike_leaves_events_as_they_are(key: tuple[str, ...]) -> None:
    assert in_order_of_samples(EVENTS, SAMPLES.with_columns(id=pl.lit("text")), key).equals(EVENTS)


def test_a_pipelines_events_are_ordered_by_the_key_of_its_first_history() -> None:
    rows = [("A", "2024-01"), ("B", "2024-01"), ("A", "2024-02"), ("B", "2024-02")]
    prepared = made([{"client": client, "month": month, "status": "0", "paid": "1"} for client, month in rows])
    assert prepared.samples["sample_id"].to_list() == ["A@2024-01", "B@2024-01", "A@2024-02", "B@2024-02"]
    assert prepared.events["event_id"].to_list() == ["A@2024-01", "A@2024-02", "B@2024-01", "B@2024-02"]
