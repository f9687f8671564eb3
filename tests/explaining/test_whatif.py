"""An edited case: what nobody touched stays bit by bit, what was edited is what was meant, and the list of changes says so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.architecture.tree import ROOT
from tests.worlds import WORLDS, card_and_shop, document_chain, monthly_panel
from trmfin.data.prepared import Prepared
from trmfin.errors import BundleError, DataError
from trmfin.explaining.case import Case, cases
from trmfin.explaining.whatif import KEEP, Sheet, differences, edited, said, sheets, shown, steps, task_of
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Task

PAYMENTS = ROOT / "sample_data" / "payments"


def records(prepared: Prepared, task: Task) -> list[dict[str, Any]]:
    """As much of records as editing reads."""
    sequences = build(prepared, task)
    found = cases(prepared, sequences, np.arange(len(sequences)))
    return [{"data": {"case": case.to_json(), "money": list(task.money), "task_sha256": task.sha256}} for case in found]


def untouched(sheet: Sheet) -> dict[int, dict[str, Any]]:
    """Every cell as an edit to what is shown already, as JSON has it."""
    return json.loads(json.dumps([row for row in sheet.rows.iter_rows(named=True)], default=lambda value: value.isoformat()))


def one(world: Any, row: int = -1) -> tuple[dict[str, Any], Task]:
    prepared, task = world()
    return records(prepared, task)[row], task


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_a_case_that_nobody_touched_comes_back_identical(world: Any) -> None:
    prepared, task = world()
    for record in records(prepared, task):
        case, found = record["data"]["case"], sheets(record, task)
        new = edited(case, found, {}, {})
        assert json.dumps(new) == json.dumps(case)
        own, events = (
            {place: {c.name: row[c.name] for c in sheet.columns if not c.fixed} for place, row in enumerate(untouched(sheet))}
            for sheet in found
        )
        assert json.dumps(edited(case, found, own, events)) == json.dumps(case), "edited to what they are"
        for table in ("sample", "events", "links"):
            ours, theirs = getattr(Case.from_json(new), table), getattr(Case.from_json(case), table)
            assert (ours is None and theirs is None) or ours.equals(theirs)
        assert differences(case, new, record["data"]["money"]).is_empty()


def test_every_record_of_the_sample_run_comes_back_identical() -> None:
    lines = (PAYMENTS / "run" / "records" / "part-00000.jsonl").read_bytes().splitlines()
    for line in lines:
        record = json.loads(line)
        found = sheets(record, task_of(PAYMENTS / "bundle", record))
        assert json.dumps(edited(record["data"]["case"], found, {}, {})) == json.dumps(record["data"]["case"])
    assert len(lines) == 160


def test_sheets_are_typed_money_is_in_major_units_and_identities_are_fixed() -> None:
    record, task = one(card_and_shop)
    own, events = sheets(record, task)
    assert dict(own.rows.schema)["paid_at"] == pl.Datetime("us", "UTC") and own.rows["amount"].to_list() == [(1_000 + 250 * 19) / 100]
    assert {column.name for column in own.columns if column.fixed} == {"sample_id", "as_of", "card_id", "shop_id"}
    assert {column.name for column in events.columns if not column.fixed} == {"event_type", "amount", "country", "fraud"}
    assert events.rows.columns[:2] == [KEEP, "event_time"] and events.rows[KEEP].all()
    assert events.rows["event_time"].is_sorted(descending=True)
    empty = replace(events, stored=())
    assert empty.rows.schema == events.rows.schema and empty.rows.is_empty()


def test_edits_are_stored_as_a_case_stores_them_and_told_in_words() -> None:
    record, task = one(card_and_shop)
    case = record["data"]["case"]
    place = next(n for n, event in enumerate(reversed(case["events"])) if event["fraud"] is None)
    new = edited(
        case,
        sheets(record, task),
        {0: {"amount": 1_234_567.89, "paid_at": "2024-01-09T23:30:00.000Z", "country": ""}},
        {place: {"amount": 0}},
    )
    assert (new["sample"]["amount"], new["sample"]["paid_at"], new["sample"]["country"]) == (
        123_456_789,
        "2024-01-09T23:30:00.000000Z",
        None,
    )
    event = case["events"][::-1][place]
    assert new["events"][::-1][place] == event | {"amount": 0}
    told = differences(case, new, record["data"]["money"])
    assert told.rows() == [
        ("sample", "paid_at", said(case["sample"]["paid_at"], "time"), "2024-01-09 23:30:00"),
        ("sample", "amount", "57.50", "1,234,567.89"),
        ("sample", "country", "at", "nothing"),
        (event["event_id"], "amount", f"{event['amount'] / 100:.2f}", "0.00"),
    ]
    Case.from_json(new).prepared()


def test_an_event_that_is_left_out_takes_its_links_along_and_so_may_all() -> None:
    record, task = one(document_chain, 0)
    case = record["data"]["case"]
    found = sheets(record, task)
    place = [event["event_id"] for event in found[1].stored].index("0.pay")
    new = edited(case, found, {}, {place: {KEEP: False}})
    assert [event["event_id"] for event in new["events"]] == [e["event_id"] for e in case["events"] if e["event_id"] != "0.pay"]
    gone = [link for link in case["links"] if "0.pay" in (link["from_event"], link["to_event"])]
    assert gone and new["links"] == [link for link in case["links"] if link not in gone]
    assert differences(case, new, []).rows() == [
        ("0.pay", "event", "there", "left out"),
        ("links", "count", str(len(case["links"])), str(len(case["links"]) - len(gone))),
    ]
    assert differences(new, case, []).row(0) == ("0.pay", "event", "not there", "there")
    none = edited(case, found, {}, {place: {KEEP: False} for place in range(len(case["events"]))})
    assert none["events"] == none["links"] == []
    assert len(build(Case.from_json(none).prepared(), task)) == 1
    kept = edited(case, found, {}, {place: {KEEP: True}})
    assert kept == case


@pytest.mark.parametrize(
    ("of_sample", "of_events", "words"),
    [
        ({"amount": 1.005}, {}, "what-if, amount of the sample: found 1.005; expected an amount with at most two decimals"),
        ({"amount": "much"}, {}, "found 'much'; expected an amount"),
        ({"amount": 1e300}, {}, "expected an amount"),
        ({"amount": True}, {}, "expected an amount"),
        ({"amount": float("nan")}, {}, "expected an amount"),
        ({"paid_at": "yesterday"}, {}, "found 'yesterday'; expected a time such as"),
        ({"paid_at": 5}, {}, "found 5; expected a time"),
        ({"sample_id": "other"}, {}, "sample_id of the sample: cannot be edited"),
        ({"card_id": "other"}, {}, "card_id of the sample: cannot be edited"),
        ({"nonsense": 1}, {}, "nonsense of the sample: cannot be edited"),
        ({KEEP: False}, {}, "keep event of the sample: cannot be edited"),
        ({}, {"event_type": ""}, "is empty; it needs a value"),
        ({}, {"event_type": None}, "is empty; it needs a value"),
        ({}, {"known_at": "2024-01-01T00:00:00Z"}, "cannot be edited"),
        ({}, {"fraud_known_at": "2024-01-01T00:00:00Z"}, "cannot be edited"),
        ({}, {"fraud": "fraud"}, "was not known yet when the case was scored"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(of_sample: dict[str, Any], of_events: dict[str, Any], words: str) -> None:
    record, task = one(card_and_shop)
    with pytest.raises(DataError) as told:
        edited(record["data"]["case"], sheets(record, task), {0: of_sample}, {0: of_events})
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("kind", "stored", "seen", "given", "then"),
    [
        ("integer", 3, 3, 4.0, 4),
        ("number", 0.1, 0.1, 2, 2.0),
        ("money", 16_777_217, 167_772.17, 0.07, 7),
        ("yes or no", True, True, False, False),
        ("text", "a", "a", 5, "5"),
    ],
)
def test_each_kind_of_value_is_shown_and_read(kind: Any, stored: Any, seen: Any, given: Any, then: Any) -> None:
    case = {"types": {"sample": {"x": "integer" if kind == "money" else kind}, "events": {}}, "sample": {"x": stored}, "events": []}
    record = {"data": {"case": case, "money": ["x"] if kind == "money" else []}}
    found = sheets(record, monthly_panel()[1])
    assert shown(stored, kind) == seen and found[0].rows["x"].to_list() == [seen]
    new = edited(case, found, {0: {"x": given}}, {})["sample"]["x"]
    assert new == then and type(new) is type(then)
    assert edited(case, found, {0: {"x": None}}, {})["sample"]["x"] is None


def test_days_and_whole_numbers_beyond_a_browsers_are_checked() -> None:
    case = {
        "types": {"sample": {"day": "day", "n": "integer", "ok": "yes or no"}, "events": {}},
        "sample": {"day": "2024-02-29", "n": 2**60, "ok": None},
        "events": [],
    }
    found = sheets({"data": {"case": case, "money": []}}, monthly_panel()[1])
    assert edited(case, found, {0: {"day": "2025-03-01", "n": 2**60, "ok": True}}, {})["sample"] == {
        "day": "2025-03-01",
        "n": 2**60,
        "ok": True,
    }
    for column, value, words in (
        ("day", "2025-02-29", "expected a day"),
        ("n", 2**60 + 1, "a whole number"),
        ("n", 1.5, "a whole number"),
        ("ok", 1, "yes or no"),
    ):
        with pytest.raises(DataError, match=words):
            edited(case, found, {0: {column: value}}, {})


def test_another_task_is_refused() -> None:
    record, _ = one(monthly_panel)
    with pytest.raises(BundleError, match="is not the task of this record"):
        task_of(PAYMENTS / "bundle", record)


def test_steps_stand_side_by_side_and_end_where_they_halt() -> None:
    told = steps({"step": 2, "logits": [0.5, 1.0]}, {"step": 3, "logits": [0.25, 0.5, 0.75]})
    assert told.rows() == [(1, 0.5, 0.25, -0.25), (2, 1.0, 0.5, -0.5), (3, None, 0.75, None)]
