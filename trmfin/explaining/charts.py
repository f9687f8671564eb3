"""A record as tables that are drawn: the way from the comparison to the score, each step of the recursion, the events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from trmfin.explaining.reasons import shown

MARGIN = 0.1  # of the way that values go
COMPARISON, SCORE = "comparison", "score"
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
    rows = [
        {"carries": ", ".join(carries.get(event["event_id"], []))} | {name: _told(event[name], name in money) for name in names}
        for event in events
    ]
    return pl.DataFrame(rows, schema=["carries", *names])


def _told(value: Any, money: bool) -> str:
    if isinstance(value, str):
        return value.partition("T")[0] if value.endswith("Z") else value
    return "" if value is None else shown(value, money)
