"""A record as tables that are drawn."""

from __future__ import annotations

from copy import deepcopy

import pytest

from tests.explaining.runs import explained, records_of
from trmfin.explaining.charts import NEITHER, by_step, events_of, gaps, timeline, waterfall


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:  # type: ignore[type-arg]
    return records_of(explained(tmp_path_factory.mktemp("drawn")).run)


def test_the_waterfall_leads_from_the_comparison_to_the_score(records: list[dict]) -> None:  # type: ignore[type-arg]
    for record in records:
        found = waterfall(record)
        values = record["attribution"]["values"]
        assert found["part"][0] == "comparison" and found["part"][-1] == "score" and set(found["part"][1:-1]) == set(values)
        assert found["end"][0] == record["attribution"]["base"] and found["end"][-1] == record["inference"]["logits"][-1]
        assert found["start"][1:-1].to_list() == found["end"][:-2].to_list(), "each bar begins where the one before ends"
        assert abs(found["end"][-2] - found["end"][-1]) <= 1e-4
        assert found["value"][1:-1].abs().is_sorted(descending=True)
        assert all(
            kind == ("raises" if value > 0 else "lowers") for kind, value in zip(found["kind"][1:-1], found["value"][1:-1], strict=True)
        )
        assert found["start"][0] == found["start"][-1] < min(found["end"].min(), found["start"][1:-1].min())  # type: ignore[type-var]


def test_every_step_is_a_row(records: list[dict]) -> None:  # type: ignore[type-arg]
    record = records[3]
    found = by_step(record)
    assert found["step"].to_list() == [1, 2, 3, 4] and found["log_odds"].to_list() == record["inference"]["logits"]
    for step, name, adds in found.select("step", "strongest", "adds").iter_rows():
        values = {player: steps[step - 1] for player, steps in record["attribution"]["values_by_step"].items()}
        assert adds == values[name] and abs(adds) == max(map(abs, values.values()))


def test_events_stand_newest_first_with_the_reasons_they_carry(records: list[dict]) -> None:  # type: ignore[type-arg]
    record = next(
        record for record in records if len(record["data"]["case"]["events"]) > 2 and any(r["event_ids"] for r in record["reasons"])
    )
    found, events = events_of(record), record["data"]["case"]["events"]
    assert len(found) == len(events) and found["event_time"].is_sorted(descending=True)
    newest = max(events, key=lambda event: event["event_time"])
    assert found.columns[:2] == ["carries", "event_time"]
    assert found["event_time"][0] == newest["event_time"].partition("T")[0], "midnight is a day"
    assert found["billed"][0] == f"{newest['billed'] / 100:,.2f}", "money in major units"
    carried = {event for reason in (*record["reasons"], *record["mitigating"]) for event in reason["event_ids"]}
    assert sum(bool(codes) for codes in found["carries"]) == len(carried)


def test_events_that_are_no_days_are_told_by_the_minute(records: list[dict]) -> None:  # type: ignore[type-arg]
    record = deepcopy(next(record for record in records if len(record["data"]["case"]["events"]) > 2))
    event = max(record["data"]["case"]["events"], key=lambda event: event["event_time"])
    event["event_time"] = event["event_time"].replace("T00:00:00", "T14:10:52")
    event["status"] = "TZ"
    found = events_of(record)
    assert found["event_time"][0] == f"{event['event_time'][:10]} 14:10" and found["status"][0] == "TZ", "which is no time"


def test_a_case_without_events_is_an_empty_table(records: list[dict]) -> None:  # type: ignore[type-arg]
    assert events_of(records[0]).height == 0


def test_the_timeline_colours_events_by_the_reasons_that_name_them(records: list[dict]) -> None:  # type: ignore[type-arg]
    for record in records:
        column, found = timeline(record)
        events = {event["event_id"]: event for event in record["data"]["case"]["events"]}
        assert set(found["event_id"]) == set(events) and found["event_time"].is_sorted()
        for name, height, carries, kind in found.select("event_id", "height", "carries", "kind").iter_rows():
            naming = [reason for reason in (*record["reasons"], *record["mitigating"]) if name in reason["event_ids"]]
            pull = sum(reason["contribution"] / len(reason["event_ids"]) for reason in naming)
            assert carries == ", ".join(reason["code"] for reason in naming)
            assert kind == ("raises" if pull > 0 else "lowers" if pull < 0 else NEITHER)
            assert column == "billed" and height == events[name]["billed"] / 100
    kinds = {kind for record in records for kind in timeline(record)[1]["kind"]}
    assert {"raises", "lowers"} <= kinds


def test_what_the_data_lack_is_said(records: list[dict]) -> None:  # type: ignore[type-arg]
    assert gaps(records[0]) == ["there are no events at all"]
    record = deepcopy(max(records, key=lambda record: len(record["data"]["case"]["events"])))
    events = record["data"]["case"]["events"]
    newest = max(event["event_time"] for event in events)
    record["as_of"] = newest
    assert gaps(record) == []
    events[0]["billed"] = None
    record["data"]["case"]["sample"]["limit"] = None
    record["as_of"] = f"{int(newest[:4]) + 1}{newest[4:]}"
    told = gaps(record)
    assert told[:2] == ["not known of the sample: limit", f"billed is not known of 1 of {len(events)} events"]
    assert told[2].startswith(("nothing for 365 days", "nothing for 366 days")) and f"from {newest[:10]}" in told[2]
