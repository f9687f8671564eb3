"""A record's case as tables that a person edits, the case that comes of it, and what is otherwise, in words. Loads no model.

Who and when stay as they are: identities, keys, and when something happened or became known. Cells that nobody touched keep their
stored value, whatever they look like on a screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl

from trmfin.data.files import read_json
from trmfin.data.layout import EVENTS, LATE, SAMPLES
from trmfin.errors import BundleError, DataError
from trmfin.explaining.case import MOMENT, TYPES
from trmfin.sequences.task import Task
from trmfin.sequences.transforms import MINOR_UNITS

Edits = Mapping[int, Mapping[str, Any]]  # row of a sheet → column → its new value, as JSON has it
Kind = Literal["text", "integer", "number", "time", "day", "yes or no", "money"]

KEEP = "keep event"  # a sheet's first column of events: without the tick the event is left out
ORDER = "sequence"
REQUIRED = ("event_type",)  # of those that may be edited
LARGEST = 2**53  # whole numbers beyond are not exact in a browser
NOTHING = "nothing"
SHOWN: dict[Kind, pl.DataType] = {**TYPES, "money": pl.Float64()}  # type: ignore[dict-item]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a sheet."""

    name: str
    kind: Kind  # money: stored as minor units, shown in major ones
    fixed: bool  # may not be edited


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """A table of a case as it is shown: the sample's one row, or its events, newest first."""

    columns: tuple[Column, ...]  # what may be edited first
    stored: tuple[Mapping[str, Any], ...]  # rows as the case has them, in the sheet's order
    events: bool

    @property
    def rows(self) -> pl.DataFrame:
        """Typed for a screen; with KEEP where these are events."""
        schema = pl.Schema({column.name: SHOWN[column.kind] for column in self.columns})
        rows = [{column.name: shown(row[column.name], column.kind) for column in self.columns} for row in self.stored]
        table = pl.DataFrame(rows, schema=schema, orient="row")
        return table.select(pl.lit(True).alias(KEEP), pl.all()) if self.events else table


def task_of(bundle: Path, record: Mapping[str, Any]) -> Task:
    """The task of the bundle that made a record. Raises BundleError where it is another one."""
    task = Task.from_json(read_json(bundle / "task.json", BundleError))
    if task.sha256 != record["data"]["task_sha256"]:
        raise BundleError(f"bundle {bundle.name}: task.json is not the task of this record; copy the bundle again")
    return task


def sheets(record: Mapping[str, Any], task: Task) -> tuple[Sheet, Sheet]:
    """The sample and the events of a record's case."""
    case, keys = record["data"]["case"], {name for history in task.histories for name in history.keys} | {task.group}

    def sheet(table: str, rows: list[dict[str, Any]]) -> Sheet:
        found = [
            Column(
                name=name,
                kind=_kind(name, kind, record["data"]["money"]),
                fixed=name in keys | ({*EVENTS, *SAMPLES, ORDER} - {*REQUIRED}) or name.endswith(LATE),
            )
            for name, kind in case["types"][table].items()
        ]
        when = [column for column in found if column.name == "event_time"]
        ordered = when + [column for column in found if not column.fixed] + [column for column in found if column.fixed]
        return Sheet(columns=tuple(dict.fromkeys(ordered)), stored=tuple(rows), events=table == "events")

    return sheet("sample", [case["sample"]]), sheet("events", case["events"][::-1])


def shown(stored: Any, kind: Kind) -> Any:
    """A stored value as a sheet has it: money in major units, times and days as such."""
    if stored is None:
        return None
    if kind == "money":
        return stored / MINOR_UNITS
    if kind == "time":
        return datetime.strptime(stored, MOMENT).replace(tzinfo=UTC)
    return date.fromisoformat(stored) if kind == "day" else stored


def edited(case: Mapping[str, Any], sheets: tuple[Sheet, Sheet], sample: Edits, events: Edits) -> dict[str, Any]:
    """The case with what was edited on its sheets; without any edit it is equal to `case`.

    Links of events that are left out go with them. Raises DataError that names the cell where a value cannot be used.
    """
    of_sample, of_events = sheets
    row = _row(of_sample, 0, sample.get(0, {}), "the sample")
    kept = [
        _row(of_events, place, events.get(place, {}), str(stored["event_id"]))
        for place, stored in enumerate(of_events.stored)
        if events.get(place, {}).get(KEEP, True)
    ][::-1]
    new = {**case, "sample": row, "events": kept}
    if "links" in case:
        ids = {event["event_id"] for event in kept}
        new["links"] = [link for link in case["links"] if link["from_event"] in ids and link["to_event"] in ids]
    return new


def _row(sheet: Sheet, place: int, edits: Mapping[str, Any], whose: str) -> dict[str, Any]:
    stored, kinds = sheet.stored[place], {column.name: column for column in sheet.columns}
    new = dict(stored)
    for name, given in edits.items():
        if name == KEEP and sheet.events:
            continue
        where = f"what-if, {name} of {whose}"
        if name not in kinds or kinds[name].fixed:
            raise DataError(f"{where}: cannot be edited; leave it as it is")
        value = _stored(given, kinds[name].kind, stored[name], where)
        if value is None and name in REQUIRED:
            raise DataError(f"{where}: is empty; it needs a value")
        if value is not None and name + LATE in stored and stored[name + LATE] is None:
            raise DataError(f"{where}: was not known yet when the case was scored; leave it empty")
        new[name] = value
    return new


def _stored(given: Any, kind: Kind, before: Any, where: str) -> Any:
    """A value of a sheet as a case stores it. Raises DataError where it is none of its kind."""
    if given == _plain(shown(before, kind)):
        return before
    if given is None or given == "":
        return None
    try:
        return _READ[kind](given)
    except (ValueError, TypeError, ArithmeticError) as problem:
        raise DataError(f"{where}: found {given!r}; expected {EXPECTED[kind]}") from problem


def _text(given: Any) -> str:
    return str(given)


def _whole(given: Any) -> int:
    number = Decimal(str(given))
    if isinstance(given, bool) or number != int(number) or abs(number) > LARGEST:
        raise ValueError(given)
    return int(number)


def _number(given: Any) -> float:
    number = float(given)
    if isinstance(given, bool) or not math.isfinite(number):
        raise ValueError(given)
    return number


def _minor(given: Any) -> int:
    return _whole(Decimal(str(_number(given))) * MINOR_UNITS)


def _moment(given: Any) -> str:
    found = datetime.fromisoformat(given)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).strftime(MOMENT)


def _day(given: Any) -> str:
    return date.fromisoformat(given[:10]).isoformat()


def _yes_or_no(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError(given)
    return given


_READ = {"text": _text, "integer": _whole, "number": _number, "time": _moment, "day": _day, "yes or no": _yes_or_no, "money": _minor}
EXPECTED: dict[Kind, str] = {
    "text": "text",
    "integer": f"a whole number, at most {LARGEST:,} either way",
    "number": "a finite number",
    "time": "a time such as 2026-01-31T12:00:00Z",
    "day": "a day such as 2026-01-31",
    "yes or no": "yes or no",
    "money": f"an amount with at most two decimals, at most {LARGEST // MINOR_UNITS:,} either way",
}


def _plain(value: Any) -> Any:
    """As a screen sends an untouched value back."""
    return value.isoformat() if isinstance(value, datetime | date) else value


def differences(before: Mapping[str, Any], after: Mapping[str, Any], money: Sequence[str]) -> pl.DataFrame:
    """What is otherwise in one case than in another: where, column, before, after, a row a cell, in words, newest event first.

    Of an event that only one of them has one row tells so; likewise of links.
    """
    kinds = {table: {name: _kind(name, kind, money) for name, kind in types.items()} for table, types in before["types"].items()}
    rows = [*_cells("sample", kinds["sample"], before["sample"], after["sample"])]
    old, new = ({event["event_id"]: event for event in case["events"]} for case in (before, after))
    for name, event in reversed(old.items()):
        rows += _cells(name, kinds["events"], event, new[name]) if name in new else [(name, "event", "there", "left out")]
    rows += [(name, "event", "not there", "there") for name in new if name not in old]
    links = [len(case.get("links", ())) for case in (before, after)]
    rows += [("links", "count", str(links[0]), str(links[1]))] if links[0] != links[1] else []
    return pl.DataFrame(rows, schema=dict.fromkeys(("where", "column", "before", "after"), pl.String()), orient="row")


def _cells(where: str, kinds: Mapping[str, Kind], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for name, kind in kinds.items():
        if old[name] != new[name]:
            yield where, name, said(old[name], kind), said(new[name], kind)


def said(stored: Any, kind: Kind) -> str:
    """A stored value in words, to its last digit."""
    if stored is None:
        return NOTHING
    if kind == "yes or no":
        return "yes" if stored else "no"
    if kind == "money":
        return f"{Decimal(stored) / MINOR_UNITS:,.2f}"
    return stored.removesuffix(".000000Z").replace("T", " ") if kind == "time" else str(stored)


def _kind(name: str, kind: Kind, money: Sequence[str]) -> Kind:
    return "money" if name in money else kind


def steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> pl.DataFrame:
    """Log-odds after each recursion step: step, before, after, change; null where one has halted. Both are a record's `inference`."""
    rows = []
    for place in range(max(before["step"], after["step"])):
        old, new = (told["logits"][place] if place < told["step"] else None for told in (before, after))
        rows.append((place + 1, old, new, None if old is None or new is None else new - old))
    return pl.DataFrame(rows, schema={"step": pl.Int64(), **dict.fromkeys(("before", "after", "change"), pl.Float64())}, orient="row")
