"""One sample with all that its score depends on: its row, the events of its windows, their links. Small, exact, JSON round trip.

What was not known at its as_of is not part of it, nor is any answer or protected attribute. Scored alone, a case has the score it
has among all others, so a record that holds one can be replayed without the data it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.layout import EVENTS, LATE, LINKS, SAMPLES, TIME
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Task
from trmfin.sequences.windows import event_places

COPY = "copy of the case"  # a column that tells copies apart
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"
TYPES: dict[str, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "time": TIME,
    "day": pl.Date(),
    "yes or no": pl.Boolean(),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Frames as a pipeline's `prepare` makes them, of the columns that the task reads."""

    sample: pl.DataFrame  # one row
    events: pl.DataFrame  # of all windows, each once, in the order in which they became known
    links: pl.DataFrame | None = None

    def prepared(self) -> Prepared:
        """What sequences are built from."""
        return Prepared(events=self.events, samples=self.sample, links=self.links)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Case.from_json` gives equal frames back."""
        tables = {"sample": self.sample, "events": self.events} | ({} if self.links is None else {"links": self.links})
        types = {name: {column: _type(column, dtype) for column, dtype in table.schema.items()} for name, table in tables.items()}
        rows = {name: [_plain_row(row) for row in table.iter_rows(named=True)] for name, table in tables.items()}
        return {"types": types, **rows, "sample": rows["sample"][0]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Case:
        """Inverse of `to_json`. Raises DataError on a table or a type that is none of ours."""
        try:
            rows = {**data, "sample": [data["sample"]]}
            tables = {name: _table(rows[name], types) for name, types in data["types"].items()}
            return cls(**tables)
        except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as problem:
            said = str(problem).splitlines()[0]
            raise DataError(f"case: its data cannot be read ({said}); take the record as it was written") from problem

    def copies(self, count: int) -> Prepared:
        """The same case so many times, as samples 0, 1, …, that share no event; to be changed, and built together by `build_copies`."""
        numbers = pl.DataFrame({COPY: range(count)}, schema={COPY: pl.String()})

        def copied(table: pl.DataFrame, *ids: str) -> pl.DataFrame:
            return numbers.join(table, how="cross").with_columns(pl.format("{}#{}", COPY, name).alias(name) for name in ids)

        return Prepared(
            events=copied(self.events, "event_id"),
            samples=copied(self.sample).with_columns(sample_id=COPY),
            links=None if self.links is None else copied(self.links, "from_event", "to_event"),
        )


def build_copies(copies: Prepared, task: Task) -> Sequences:
    """Sequences of `Case.copies`: a copy's histories hold its own events only. No column that a field could read is otherwise."""
    apart = replace(task, histories=tuple(replace(history, keys=(*history.keys, COPY)) for history in task.histories))
    return replace(build(copies, apart), task=task)


def cases(prepared: Prepared, sequences: Sequences, rows: NDArray[np.int64]) -> Iterator[Case]:
    """The cases of samples `rows` of sequences that were built from `prepared`."""
    task, events = sequences.task, prepared.events
    own, of_events = _read(task, prepared.samples, "sample"), _read(task, events, "event")
    samples, table = prepared.samples.select(own), events.select(of_events)
    for row in rows:
        seen = event_places(sequences.windows.values(), np.array([row]), len(events))
        inside = np.unique(seen[seen < len(events)])
        sample = samples[int(row)]
        mine = table[inside.tolist()].sort("known_at", "event_id")
        as_of = sample["as_of"][0]
        yield Case(sample=_as_known(_cast(sample), as_of), events=_as_known(_cast(mine), as_of), links=_links(prepared.links, mine, as_of))


def _read(task: Task, table: pl.DataFrame, side: str) -> list[str]:
    """Columns of a table that a sample's score depends on, in the table's order."""
    wanted = set(EVENTS if side == "event" else SAMPLES) | {name for history in task.histories for name in history.keys}
    wanted |= {"sequence"} if side == "event" else {task.group}
    for field in task.fields:
        form, _, other = field.against.partition(".")
        wanted |= {field.column} if field.side == side else set()
        wanted |= {other} if other and side == ("sample" if form == "sample" else "event") else set()
    wanted |= {name + LATE for name in wanted if name != "known"}
    return [name for name in table.columns if name in wanted]


def _as_known(table: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Without late values that were not known strictly before as_of."""
    late = [name.removesuffix(LATE) for name in table.columns if name.endswith(LATE) and name.removesuffix(LATE) in table.columns]
    told = {name: pl.col(name + LATE) < as_of for name in late}
    hidden = [pl.when(told[name]).then(pl.col(part)).alias(part) for name in late for part in (name, name + LATE)]
    return table.with_columns(hidden)


def _links(links: pl.DataFrame | None, events: pl.DataFrame, as_of: datetime) -> pl.DataFrame | None:
    if links is None:
        return None
    inside = [pl.col(end).is_in(events["event_id"].implode()) for end in ("from_event", "to_event")]
    return links.filter(*inside, pl.col("known_at") < as_of).select([*LINKS, "amount"]).sort("from_event", "to_event", "kind")


def _cast(table: pl.DataFrame) -> pl.DataFrame:
    """Every column of one of TYPES' types; values stay what they are."""
    return table.cast({name: TYPES[_type(name, dtype)] for name, dtype in table.schema.items()})


def _type(column: str, dtype: pl.DataType) -> str:
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "number"
    for name in ("time", "day", "yes or no"):
        if dtype == TYPES[name]:
            return name
    raise DataError(f"case, column {column}: is {dtype}; expected {', '.join(TYPES)}")


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """As JSON has it: times as ISO 8601 in UTC with microseconds."""
    if isinstance(value, datetime):
        return value.strftime(MOMENT)
    return value.isoformat() if isinstance(value, date) else value


def _table(rows: Sequence[dict[str, Any]], types: dict[str, str]) -> pl.DataFrame:
    texts = {name: pl.String() if kind in ("time", "day") else TYPES[kind] for name, kind in types.items()}
    frame = pl.DataFrame(rows, schema=texts, orient="row", strict=True)
    days = [pl.col(name).str.to_date("%Y-%m-%d") for name, kind in types.items() if kind == "day"]
    return frame.with_columns(*days, *(moments(name) for name, kind in types.items() if kind == "time"))


def moments(column: str) -> pl.Expr:
    """A column of texts as `plain` writes times → UTC times."""
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
