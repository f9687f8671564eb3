"""A record as tables that are drawn: the way from the comparison to the score, each step of the recursion, the events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from trmfin.data.layout import LATE
from trmfin.explaining.case import moments
from trmfin.explaining.reasons import shown
from trmfin.sequences.transforms import MINOR_UNITS

MARGIN = 0.1  # of the way that values go
COMPARISON, SCORE = "comparison", "score"
NEITHER = "no reason names it"
SILENCE = 5.0  # times as long as usual: a gap worth telling
SECONDS_A_DAY = 86_400
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z")
HIDDEN = ("event_id", "event_type", "known_at")  # columns of events that say little to people


def waterfall(record: Mapping[str, Any]) -> pl.DataFrame:
    """part, start, end, value (log-odds) and kind (whole, raises, lowers): the comparison, players strongest first, the score.

    Whole bars start a little below all others, where a chart's axis may start too. The last one ends at the score's log-odds as the
    run's table has them; the bar before it ends a residual away.
    """
    found = record["attribution"]
    at, rows = found["base"], []
    for name, value in sorted(found["values"].items(), key=lambda item: -abs(item[1])):
        rows.append((name, at, at + value, value, "raises" if value > 0 else "lowers"))
        at += value
    score = record["inference"]["logits"][record["inference"]["step"] - 1]
    ends = [score, found["base"], *(end for row in rows for end in row[1:3])]
    floor = min(ends) - MARGIN * (max(ends) - min(ends) or 1.0)
    whole = [(COMPARISON, floor, found["base"], found["base"], "whole"), (SCORE, floor, score, score, "whole")]
    return pl.DataFrame([whole[0], *rows, whole[1]], schema=["part", "start", "end", "value", "kind"], orient="row")


def by_step(record: Mapping[str, Any]) -> pl.DataFrame:
    """One row a supervision step: step, log_odds, the halt head's probability, the strongest player and what it adds."""
    told, values = record["inference"], record["attribution"]["values_by_step"]
    rows = []
    for step in range(told["step"]):
        name = max(values, key=lambda player: abs(values[player][step]))
        rows.append((step + 1, told["logits"][step], told["halts"][step], name, values[name][step]))
    return pl.DataFrame(rows, schema=["step", "log_odds", "halt", "strongest", "adds"], orient="row")


def events_of(record: Mapping[str, Any]) -> pl.DataFrame:
    """The case's events as people read them, newest first: carries (codes of reasons that name the event), event_time, its columns.

    Money is in major units. Columns that no event has a value in are left out.
    """
    case, money = record["data"]["case"], record["data"]["money"]
    carries: dict[str, list[str]] = {}
    for reason in (*record["reasons"], *record["mitigating"]):
        for event in reason["event_ids"]:
            carries.setdefault(event, []).append(reason["code"])
    events = sorted(case["events"], key=lambda event: str(event["event_time"]), reverse=True)
    names = [name for name in (events[0] if events else {}) if name not in HIDDEN and any(event[name] is not None for event in events)]
    names.sort(key=lambda name: name != "event_time")
    rows = [
        {"carries": ", ".join(carries.get(event["event_id"], []))} | {name: _told(event[name], name in money) for name in names}
        for event in events
    ]
    return pl.DataFrame(rows, schema=["carries", *names])


def timeline(record: Mapping[str, Any]) -> tuple[str, pl.DataFrame]:
    """What the events' heights are ("" where events have no money), and one row an event, oldest first.

    event_id, event_time, event_type, height (major units; 0 where there is none), carries (codes of the reasons that name the event) and
    kind: raises or lowers, as the reasons that name it do on the whole, or neither.
    """
    case, money = record["data"]["case"], record["data"]["money"]
    events = sorted(case["events"], key=lambda event: (str(event["event_time"]), event["event_id"]))
    column = next((name for name in (events[0] if events else {}) if name in money), "")
    rows = []
    for event in events:
        naming = [reason for reason in (*record["reasons"], *record["mitigating"]) if event["event_id"] in reason["event_ids"]]
        pull = sum(reason["contribution"] / len(reason["event_ids"]) for reason in naming)
        height = (event[column] or 0) / MINOR_UNITS if column else 0.0
        kind = "raises" if pull > 0 else "lowers" if pull < 0 else NEITHER
        carries = ", ".join(reason["code"] for reason in naming)
        rows.append((event["event_id"], event["event_time"], event["event_type"], height, carries, kind))
    texts = dict.fromkeys(("event_id", "event_time", "event_type"), pl.String) | {
        "height": pl.Float64,
        "carries": pl.String,
        "kind": pl.String,
    }
    return column, pl.DataFrame(rows, schema=texts, orient="row").with_columns(moments("event_time"))


def gaps(record: Mapping[str, Any]) -> list[str]:
    """What the case's data lack, in words: empty cells, no events, long silences."""
    case, told = record["data"]["case"], []
    if empty := [name for name, value in case["sample"].items() if value is None and not name.endswith(LATE)]:
        told.append(f"not known of the sample: {', '.join(empty)}")
    events = case["events"]
    if not events:
        return [*told, "there are no events at all"]
    for name in (name for name in events[0] if not name.endswith(LATE)):
        if 0 < (missing := sum(event[name] is None for event in events)):
            told.append(f"{name} is not known of {missing} of {len(events)} events")
    as_of = pl.DataFrame({"time": [*(event["event_time"] for event in events), record["as_of"]]}).select(moments("time")).to_series().sort()
    days = as_of.diff().drop_nulls().dt.total_seconds() / SECONDS_A_DAY
    usual, longest = float(days.median()), float(days.max())  # type: ignore[arg-type]
    if len(days) > 2 and longest > SILENCE * max(usual, 1.0):
        at = as_of[int(days.arg_max() or 0)]
        told.append(f"nothing for {longest:.0f} days from {at:%Y-%m-%d}, where {usual:.1f} days between events are usual")
    return told


def _told(value: Any, money: bool) -> str:
    if isinstance(value, str):
        if (moment := MOMENT.fullmatch(value)) is None:
            return value
        day, clock = moment.groups()
        return day if clock == "00:00" else f"{day} {clock}"
    return "" if value is None else shown(value, money)
