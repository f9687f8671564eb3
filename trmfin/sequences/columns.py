"""Columns: what the task reads of a table, each kept once, encoded before any sample is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import DataError, TaskError
from trmfin.sequences import transforms
from trmfin.sequences.task import Field, Task
from trmfin.sequences.transforms import ABSENT, LARGEST_MONEY, LARGEST_NUMBER, NEVER, TRANSFORMS, Exact, Kind

Side = Literal["event", "sample"]
Int = NDArray[np.int64]
FEW = 16  # texts that are put in order and looked up faster by hand than by a query of polars
UNKNOWN = 1  # the code of a category that training did not see; 0 = absent
FIRST_CODE = 2  # the codes from here on are the field's values in order
EXACT, KNOWN = "exact ", "known "  # with a column's name: parts of a record
TABLES: Mapping[Side, str] = {"event": "events", "sample": "samples"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What the task reads of E rows: of all events, or of the samples themselves.

    Records end with the absent row, to which padding points. Times are int64 microseconds since 1970 UTC. Of a record's parts
    `exact NAME` are columns that relative fields compare: money, times and text int64, numbers float64; `known NAME` is when
    the value of a late column became known, NEVER = not. Look rows up in `records`, not in a part of all of them.
    """

    id_column: pl.Series  # (E,) event_id or sample_id
    known_at: Int  # (E,) when the row could be known; for samples as_of
    records: NDArray[np.void]  # (E + 1,) what belongs to a row side by side, so that looking it up is looking in one place
    late: Mapping[str, str]  # late column → the part that tells when its value became known; columns may share one

    def __len__(self) -> int:
        return len(self.id_column)

    @property
    def numbers(self) -> NDArray[np.float32]:
        """(E + 1, …) NaN = absent; only what a row tells alone, in the places that `told_alone` says."""
        return self.records["numbers"]

    @property
    def codes(self) -> NDArray[np.int32]:
        """(E + 1, …) the same; 0 = absent, 1 = unknown, 2, 3, … = `Sequences.categories`."""
        return self.records["codes"]

    @property
    def compared(self) -> list[str]:
        """The columns that relative fields compare."""
        return [name.removeprefix(EXACT) for name in self.records.dtype.names or () if name.startswith(EXACT)]

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(E,) strings."""
        return self.id_column.to_numpy()


class Reader:
    """Reads columns of one prepared table as the exact arrays that transforms take, each with the absent row at the end."""

    def __init__(self, frame: pl.DataFrame, side: Side, task: Task, texts: pl.Series) -> None:
        """texts: every value of the text columns that any field compares, so that equal values have equal codes in both tables."""
        self.frame, self.table, self.task, self.texts = frame, TABLES[side], task, texts
        self.columns = {column.name: column for column in frame.get_columns()}
        self.read = dict[str, Exact]()  # by column: several fields may sum up the same one

    def column(self, name: str, field: Field) -> pl.Series:
        if name not in self.columns:
            raise TaskError(f"{self.table}: no column {name!r}, which field {field.name!r} reads; found {', '.join(self.columns)}")
        return self.columns[name]

    def kind(self, name: str, field: Field) -> Kind:
        """What a column is; the field's transform must be defined for it."""
        column = self.column(name, field)
        found = column_kind(column.dtype, name in self.task.money)
        reads = TRANSFORMS[field.transform].reads
        if found is None or found not in reads:
            raise TaskError(
                f"{self.table}, column {name}: {column.dtype}{' money' if name in self.task.money else ''}; "
                f"field {field.name!r} ({field.transform}) reads {' or '.join(reads)} columns (times in UTC, money as integers)"
            )
        return found

    def exact(self, name: str, field: Field) -> Exact:
        """(E + 1,) int64 with ABSENT for money, times and text, float64 with NaN for plain numbers."""
        kind = self.kind(name, field)
        if name not in self.read:
            self.read[name] = self._exact(name, kind, self.columns[name])
        return self.read[name]

    def _exact(self, name: str, kind: Kind, column: pl.Series) -> Exact:
        if kind == "number":
            return self._checked(name, np.append(filled(column.cast(pl.Float64), np.nan), np.nan), LARGEST_NUMBER)
        if kind == "text":
            column = as_codes(column, self.texts)
        elif kind == "time":
            column = microseconds(column)
        values = np.append(filled(column.cast(pl.Int64), ABSENT), ABSENT)
        return self._checked(name, values, LARGEST_MONEY) if kind == "money" else values

    def _checked(self, name: str, values: Exact, largest: float) -> Exact:
        absent = values == ABSENT if values.dtype == np.int64 else np.isnan(values)
        beyond = np.flatnonzero(~absent & ((values > largest) | (values < -largest)))
        if beyond.size:
            raise DataError(
                f"{self.table}, column {name}: {beyond.size} of {len(self.frame)} values are infinite or beyond ±{largest:.3g} "
                f"(first: row {beyond[0]}, {values[beyond[0]]}); reject such rows in prepare"
            )
        return values


def column_kind(dtype: pl.DataType, money: bool) -> Kind | None:
    """Money is an integer column the task names; None where no transform can read the type."""
    if money:
        return "money" if dtype.is_integer() else None
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC"):
        return "time"
    return "text" if dtype in (pl.String, pl.Categorical, pl.Enum) else None


def microseconds(column: pl.Series) -> pl.Series:
    """Int64 microseconds since 1970 UTC of a Date or a UTC Datetime column."""
    return column.cast(pl.Datetime("us", "UTC") if isinstance(column.dtype, pl.Datetime) else pl.Datetime("us")).cast(pl.Int64)


def filled(column: pl.Series, value: float) -> NDArray[Any]:
    """The column with a value for null. Looks first: polars makes a query of filling, which is most of the time of one row."""
    nulls = column.null_count()
    if nulls == len(column) > 0:
        return np.full(nulls, value)
    return (column.fill_null(value) if nulls else column).to_numpy()


def distinct(column: pl.Series) -> pl.Series:
    """The texts of a column in order, each once, null left out."""
    if len(column) <= FEW:
        return pl.Series(column.name, sorted({*column.to_list()} - {None}), pl.String)
    values = column.unique().sort(nulls_last=False)
    return values[values.null_count() :]


def as_codes(column: pl.Series, values: Iterable[str]) -> pl.Series:
    """Position of each text among `values`, null where it is null or not among them."""
    texts = column.cast(pl.String)
    if len(texts) <= FEW:
        place = {value: number for number, value in enumerate(values)}
        return pl.Series(column.name, [place.get(text) for text in texts.to_list()], pl.UInt32)
    return texts.cast(pl.Enum(values), strict=False).to_physical()


def relative(field: Field, column: Exact, other: Exact) -> NDArray[np.float32] | NDArray[np.int64]:
    """A relative field's numbers, or for `same` its codes 0, FIRST_CODE, FIRST_CODE + 1. Shapes broadcast."""
    if field.transform == "same":
        position = transforms.same(column, other)
        return position + (FIRST_CODE - 1) * (position > 0)
    if field.transform == "gap_seconds":
        earlier, later = (column, other) if field.against == "as_of" else (other, column)
        return transforms.gap_seconds(earlier, later)
    return transforms.ratio(column, other) if field.transform == "ratio" else transforms.difference(column, other)


def compared_columns(task: Task, side: Side) -> dict[str, Field]:
    """Columns of one table that relative fields read, each with a field that does."""
    wanted: dict[str, Field] = {}
    for field in task.fields:
        if not field.against:
            continue
        form, _, other = field.against.partition(".")
        if field.side == side:
            wanted[field.column] = field
        if other and side == ("sample" if form == "sample" else "event"):
            wanted[other] = field
    return wanted


def told_alone(fields: Iterable[Field], side: Side) -> dict[int, int]:
    """Which of a task's number or category fields a row of this table tells without another row: axis of the batch → place in `Columns`.

    Numbers of one column, transform and comparison share a place. A sample's row tells its relative fields, too.
    """
    places = dict[tuple[str, ...], int]()
    own = [(axis, item) for axis, item in enumerate(fields) if item.side == side and (side == "sample" or not item.against)]
    return {axis: places.setdefault(same_cells(item), len(places)) for axis, item in own}


def same_cells(item: Field) -> tuple[str, ...]:
    """What two fields of one table have in common if their cells are equal. Category fields may have vocabularies of their own."""
    return (item.name,) if item.is_code else (item.column, item.transform, item.against)


def compared_texts(events: pl.DataFrame, samples: pl.DataFrame, task: Task) -> pl.Series:
    """Every text, sorted, in the columns that relative fields compare."""
    parts: list[pl.Series] = []
    for side, frame in (("event", events), ("sample", samples)):
        schema = frame.schema
        for name in compared_columns(task, side):  # type: ignore[arg-type]
            if name in schema and column_kind(schema[name], False) == "text":
                parts.append(distinct(frame[name].cast(pl.String).rename("text")))
    return distinct(pl.concat(parts)) if parts else pl.Series("text", [], pl.String)


def late_columns(frame: pl.DataFrame, names: Iterable[str]) -> tuple[dict[str, str], dict[str, Int]]:
    """Late column → part of a record, and each of these parts, (E + 1,). A column is late where NAME_known_at stands beside it.

    Columns that become known together share a part.
    """
    parts, times, there = dict[str, str](), dict[str, Int](), set(frame.columns)
    for name in names:
        if (beside := f"{name}_known_at") in there:
            mine = np.append(filled(microseconds(frame[beside]), NEVER), NEVER)
            parts[name] = next((part for part, theirs in times.items() if np.array_equal(theirs, mine)), f"{KNOWN}{name}")
            times.setdefault(parts[name], mine)
    return parts, times


def records_of(
    numbers: NDArray[np.float32], codes: NDArray[np.int32], exact: Mapping[str, Exact], times: Mapping[str, Int]
) -> NDArray[np.void]:
    """(E + 1,) records of `numbers` and `codes` (E + 1, …), of `exact` by column and of `times` by part of a record, each (E + 1,)."""
    parts: dict[str, NDArray[Any]] = {f"{EXACT}{name}": values for name, values in exact.items()}
    parts |= {**times, "numbers": numbers, "codes": codes}
    if (numbers.shape[1] + codes.shape[1]) % 2:
        parts["spare"] = np.zeros(len(numbers), np.int32)  # so that every record begins at a multiple of 8 bytes
    records = np.empty(len(numbers), [(name, values.dtype, values.shape[1:]) for name, values in parts.items()])
    for name, values in parts.items():
        records[name] = values
    return records


def event_columns(events: pl.DataFrame, task: Task, texts: pl.Series) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    """The columns of all events, and the values of each category field in this data set."""
    reader = Reader(events, "event", task, texts)
    numbers, codes, categories = _static(reader, "event", task)
    exact = {name: reader.exact(name, field) for name, field in compared_columns(task, "event").items()}
    late, times = late_columns(events, sorted({f.column for f in task.fields if f.side == "event"} | set(exact)))
    records, known_at = records_of(numbers, codes, exact, times), microseconds(events["known_at"]).to_numpy()
    return Columns(id_column=events["event_id"], known_at=known_at, records=records, late=late), categories


def sample_columns(samples: pl.DataFrame, task: Task, texts: pl.Series) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    """The samples' own columns for the leading token, relative fields included, and the values of each category field.

    A sample's late column (NAME beside NAME_known_at) is absent unless it was known strictly before as_of.
    """
    names = {f.column for f in task.fields if f.of == "sample"} | set(compared_columns(task, "sample"))
    hidden = [n for n in sorted(names) if n in samples.columns and f"{n}_known_at" in samples.columns]
    shown = samples.with_columns(pl.when(pl.col(f"{n}_known_at") < pl.col("as_of")).then(pl.col(n)) for n in hidden)
    reader = Reader(shown, "sample", task, texts)
    numbers, codes, categories = _static(reader, "sample", task)
    exact = {name: reader.exact(name, field) for name, field in compared_columns(task, "sample").items()}
    as_of = microseconds(samples["as_of"]).to_numpy()
    for fields, table in ((task.numbers, numbers), (task.codes, codes)):
        for axis, place in told_alone(fields, "sample").items():
            if (field := fields[axis]).against:
                other = np.append(as_of, ABSENT) if field.against == "as_of" else exact[field.against.partition(".")[2]]
                table[:, place] = relative(field, exact[field.column], other)
    return Columns(id_column=samples["sample_id"], known_at=as_of, records=records_of(numbers, codes, exact, {}), late={}), categories


def _static(reader: Reader, side: Side, task: Task) -> tuple[NDArray[np.float32], NDArray[np.int32], dict[str, tuple[str, ...]]]:
    """What rows of one table tell alone, relative fields still absent: numbers, codes, and the values of each of its category fields."""
    rows = len(reader.frame) + 1
    of_numbers, of_codes = told_alone(task.numbers, side), told_alone(task.codes, side)
    numbers = np.full((rows, len(set(of_numbers.values()))), np.nan, np.float32)
    codes = np.zeros((rows, len(of_codes)), np.int32)
    first = {place: axis for axis, place in reversed(of_numbers.items())}  # of the fields that share a place
    for place in sorted(first):
        if not (field := task.numbers[first[place]]).against:
            numbers[:, place] = transforms.number(field.transform, reader.exact(field.column, field))
    categories = {field.name: TRANSFORMS[field.transform].values for field in task.codes if field.side == side}
    for axis, place in of_codes.items():
        if (field := task.codes[axis]).transform == "category":
            reader.kind(field.column, field)
            column = reader.column(field.column, field).cast(pl.String)
            categories[field.name] = tuple(distinct(column).to_list())
            codes[:-1, place] = filled(as_codes(column, categories[field.name]).cast(pl.Int32), -FIRST_CODE) + FIRST_CODE
        elif not field.against:
            position = transforms.calendar(field.transform, reader.exact(field.column, field))
            codes[:, place] = np.where(position < 0, 0, position + FIRST_CODE)
    return numbers, codes, categories
