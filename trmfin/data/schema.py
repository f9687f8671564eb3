"""Raw rows against a schema: accepted rows with their types, rejected rows with every rule they broke.

A schema is a dataframely Schema. What its columns may say beyond dataframely, in `metadata`:
    {"optional": True}    the column may be missing from the file (it must be nullable); it is then null throughout
    {"future": True}      a date or time after the present is allowed (a due date); otherwise such a row is rejected
    {"period": "month"}   the date stands for its whole month, which must be over; it is typed as the month's first day
    {"first": True}       of rows with the same primary key the one with the least value here counts, the others are repeats
    {"late": True}        filled later than the rest: of rows that are alike but for it the first that has it counts, the others are repeats
    {"id": True}          an identifier, as are primary keys and columns called `id` or `…_id`: formulas are rejected in it
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import dataframely as dy
import polars as pl

from trmfin.data.convert import converted, expectation, is_number, shown, stripped
from trmfin.data.delimited import REJECTS
from trmfin.data.files import RawTable
from trmfin.data.header import sources
from trmfin.data.keys import shared
from trmfin.errors import ConfigError

POSITION = "position in the file"  # the column that dataframely carries along, so that a failure knows its row
LIMITS = {
    "min": "at least",
    "max": "at most",
    "min_exclusive": "more than",
    "max_exclusive": "less than",
    "is_in": "one of",
    "regex": "the pattern",
}
FORMULA = r"^[=+\-@]"
NESTED = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Object)


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """What became of a raw table's rows: accepted + rejected = read."""

    accepted: pl.DataFrame  # the schema's columns, typed, and `line`, in the file's order
    rejects: pl.DataFrame  # REJECTS layout, by line
    renamed: Mapping[str, str]  # name in the file → the schema's, where they differ
    rounded: Mapping[str, int]  # column → its cells in `accepted` that had more decimals than its scale, where there are any


@dataclass(frozen=True, kw_only=True)
class Breach:
    """Rows that break one rule."""

    rule: str  # "COLUMN|RULE", or a rule of the whole row
    rows: pl.Series  # (n,) UInt32 positions in the raw frame
    found: pl.Series | None = None  # (n,) String: what stood there, quoted, and what it was rounded to
    expected: str = ""


def sift(raw: RawTable, schema: type[dy.Schema], table: str, aliases: Mapping[str, str], now: datetime | None = None) -> Sifted:
    """Every row of `raw` either typed as the schema asks or rejected with all the rules it breaks.

    A value that is not of the column's type breaks `COLUMN|dtype`; one with more decimals than a decimal column's scale is
    rounded half-even and judged as that, while rejects keep what was read. Of identical rows that share a primary key the first
    in the file counts and the others break `repeat`; rows that share a key and differ all break `primary_key`, since which of
    them is right cannot be told, unless a column says which is `first`: then that one counts and the others are repeats too.
    Of rows that are alike but for what is `late` the first that has it counts, and those that have it not yet are repeats.
    Where `now` (UTC) is given, a date or time after it breaks `COLUMN|future`. Entries of `rules` are "RULE" or
    "RULE: found 'VALUE'[, rounded to …][, expected …]".
    Raises DataError where a column is missing or given twice, ConfigError where the schema has a column `line` or marks columns
    that it cannot.
    """
    if "line" in schema.column_names():
        raise ConfigError(f"schema {table!r}: has a column 'line', which is kept for the line number; call it 'line_in_file'")
    names = sources(raw, schema, aliases)
    typed, rounded, breaches = _typed(raw.frame, schema, names, now)
    breaches += _schema_breaches(typed, schema, raw.frame, names, rounded)
    breaches = _by_key(breaches, typed, schema, raw.frame, names)
    reasons = _reasons(breaches)
    accepted = typed.with_columns(raw.frame["line"])
    if reasons.height:
        good = pl.Series([True]).new_from_index(0, accepted.height).scatter(reasons["row"], False)
        accepted, rounded = accepted.filter(good), {column: cells.filter(good) for column, cells in rounded.items()}
    rejected = raw.frame[reasons["row"]]
    rejects = pl.DataFrame(
        {"table": [table] * rejected.height, "line": rejected["line"], "rules": reasons["rules"], "row": _json(rejected.drop("line"))},
        schema=REJECTS,
    )
    ragged = raw.ragged.with_columns(pl.lit(table).alias("table"))
    return Sifted(
        accepted=accepted,
        rejects=pl.concat([rejects, ragged]).sort("line", maintain_order=True),
        renamed={source: column for column, source in names.items() if source != column},
        rounded={column: count for column, cells in rounded.items() if (count := int(cells.sum()))},
    )


def rule_counts(rejects: pl.DataFrame) -> dict[str, int]:
    """How many rejected rows break each rule, the commonest first."""
    rules = rejects["rules"].explode(empty_as_null=False).str.split_exact(": ", 1).struct.field("field_0")
    counts = rules.value_counts().sort(["count", rules.name], descending=[True, False])
    return dict(counts.iter_rows())


def _typed(
    frame: pl.DataFrame, schema: type[dy.Schema], names: Mapping[str, str], now: datetime | None
) -> tuple[pl.DataFrame, dict[str, pl.Series], list[Breach]]:
    """Every column as the schema's type; which cells were rounded; the rows where a type, or what a column's metadata asks, fails."""
    columns: dict[str, pl.Series] = {}
    rounded: dict[str, pl.Series] = {}
    breaches: list[Breach] = []
    for column, definition in schema.columns().items():
        if column not in names:
            columns[column] = pl.Series(column, [None], definition.dtype).new_from_index(0, frame.height)
            continue
        raw = stripped(frame[names[column]])
        dtype = raw.dtype if definition.validate_dtype(raw.dtype) else definition.dtype
        read = converted(raw, dtype)
        month = (definition.metadata or {}).get("period") == "month" and read.values.dtype in (pl.Date, pl.Datetime)
        columns[column] = typed = (read.values.dt.truncate("1mo") if month else read.values).alias(column)
        if read.rounded is not None:
            rounded[column] = read.rounded
        for rule, mask, expected in (
            ("dtype", typed.is_null() & raw.is_not_null(), expectation(dtype)),
            ("formula", _formulas(column, definition, raw), "text or a number"),
            ("future", _future(definition, typed, now), f"at most {now:%Y-%m-%d}" if now else ""),
        ):
            if mask is not None and mask.any():
                rows = mask.arg_true()
                breaches.append(Breach(rule=f"{column}|{rule}", rows=rows, found=shown(raw[rows]), expected=expected))
    return pl.DataFrame(columns), rounded, breaches


def _formulas(column: str, definition: dy.Column, raw: pl.Series) -> pl.Series | None:
    """Which cells of an identifier a spreadsheet would run; None for other columns."""
    named = column.casefold() == "id" or column.casefold().endswith("_id")
    if raw.dtype != pl.String or not (definition.primary_key or named or (definition.metadata or {}).get("id")):
        return None
    suspicious = raw.str.contains(FORMULA).fill_null(False)
    return suspicious & ~is_number(raw) if suspicious.any() else None


def _future(definition: dy.Column, typed: pl.Series, now: datetime | None) -> pl.Series | None:
    """Which dates or times lie after `now`; None for other columns and where that is allowed."""
    metadata = definition.metadata or {}
    if now is None or typed.dtype not in (pl.Date, pl.Datetime) or metadata.get("future"):
        return None
    times = typed.dt.month_end() if metadata.get("period") == "month" else typed
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone:
        times = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    present = now.astimezone(UTC).replace(tzinfo=None)
    return (times > (present.date() if times.dtype == pl.Date else present)).fill_null(False)


def _schema_breaches(
    typed: pl.DataFrame, schema: type[dy.Schema], raw: pl.DataFrame, names: Mapping[str, str], rounded: Mapping[str, pl.Series]
) -> list[Breach]:
    """What dataframely finds. A value lost in conversion is null here, which by itself is no further breach."""
    try:
        positions = pl.int_range(typed.height, dtype=pl.UInt32).alias(POSITION)
        failure = _tracked(schema).filter(typed.lazy().with_columns(positions)).failure
        if not len(failure):
            return []
        failures = failure.details()
    except (pl.exceptions.PolarsError, dy.exc.SchemaError) as problem:
        raise ConfigError(f"schema {schema.__name__!r}: its rules cannot be evaluated ({problem}); correct the pipeline") from problem
    breaches = []
    for rule in [name for name in failures.columns if name not in typed.columns and name != POSITION]:
        rows = failures[POSITION].filter(failures[rule] == "invalid")
        column, _, kind = rule.rpartition("|")
        if not rows.len():
            continue
        if rule == "primary_key":
            keys = typed.select(schema.primary_key())[rows]
            breaches.append(Breach(rule=rule, rows=rows.filter(~keys.select(pl.any_horizontal(pl.all().is_null())).to_series())))
        elif kind == "nullability":
            breaches.append(Breach(rule=rule, rows=rows.filter(stripped(raw[names[column]])[rows].is_null())))
        elif column in names:
            rows = rows.filter(typed[column][rows].is_not_null())
            found = _found(raw[names[column]][rows], typed[column][rows], rounded[column][rows] if column in rounded else None)
            breaches.append(Breach(rule=rule, rows=rows, found=found, expected=_limit(schema, column, kind)))
        else:
            breaches.append(Breach(rule=rule, rows=rows))
    return [breach for breach in breaches if breach.rows.len()]


def _by_key(
    breaches: list[Breach], typed: pl.DataFrame, schema: type[dy.Schema], raw: pl.DataFrame, names: Mapping[str, str]
) -> list[Breach]:
    """The breaches, with rows that share a primary key told apart: one that counts breaks nothing by sharing it."""
    first, late = _marked(schema, "first"), _marked(schema, "late")
    others = [breach for breach in breaches if breach.rule != "primary_key"]
    if len(others) == len(breaches):
        return breaches
    keys, rows = schema.primary_key(), next(breach.rows for breach in breaches if breach.rule == "primary_key")
    broken = rows.is_in(pl.concat([breach.rows.cast(rows.dtype) for breach in others] or [rows.clear()]).implode())
    told = shared(typed[rows], keys, first, late, rows, broken)
    counted = ", line " + raw["line"][told.counted].cast(pl.String) + " counts"
    repeats = Breach(rule="repeat", rows=told.repeats, found=_keys(raw, keys, names, told.repeats) + counted)
    unclear = Breach(rule="primary_key", rows=told.unclear, found=_keys(raw, keys, names, told.unclear))
    return others + [breach for breach in (repeats, unclear) if breach.rows.len()]


def _marked(schema: type[dy.Schema], what: str) -> str | None:
    """The column whose metadata say so. Raises ConfigError where several do, or where one is the primary key's or is both."""
    columns = [column for column, definition in schema.columns().items() if (definition.metadata or {}).get(what)]
    if len(columns) > 1 or what == "late" and {*columns} & {*schema.primary_key(), _marked(schema, "first")}:
        raise ConfigError(
            f"schema {schema.__name__!r}: {', '.join(columns)} marked {what!r}; expected one column, and a late one neither first nor a key"
        )
    return columns[0] if columns else None


@cache
def _tracked(schema: type[dy.Schema]) -> type[dy.Schema]:
    """The schema with a column that tells a row's position."""
    made: type[dy.Schema] = types.new_class(schema.__name__, (schema,), exec_body=_with_position)
    return made


def _with_position(body: dict[str, Any]) -> None:
    body["position"] = dy.UInt32(alias=POSITION, nullable=True)


def _keys(raw: pl.DataFrame, keys: list[str], names: Mapping[str, str], rows: pl.Series) -> pl.Series:
    found = pl.DataFrame({key: shown(raw[names[key]][rows]) for key in keys})
    return found.select(pl.concat_str([pl.lit(f"{key} ") + pl.col(key) for key in keys], separator=", ") + " more than once").to_series()


def _found(raw: pl.Series, typed: pl.Series, rounded: pl.Series | None) -> pl.Series:
    """What stood there and, where it was rounded, what it was judged as. (n,) String."""
    found = shown(raw)
    return found if rounded is None else found.zip_with(~rounded, found + ", rounded to " + typed.cast(pl.String))


def _limit(schema: type[dy.Schema], column: str, kind: str) -> str:
    limit = getattr(schema.columns()[column], kind, None)
    return f"{LIMITS[kind]} {limit}" if kind in LIMITS else ""


def _reasons(breaches: list[Breach]) -> pl.DataFrame:
    """`row` UInt32 increasing, `rules` List[String]: every breach of each rejected row, conversion first."""
    parts = [pl.DataFrame(schema={"row": pl.UInt32, "order": pl.Int32, "rules": pl.String})]
    for order, breach in enumerate(breaches):
        text = pl.lit(breach.rule)
        if breach.found is not None:
            text = text + pl.lit(": found ") + pl.lit(breach.found) + pl.lit(f", expected {breach.expected}" if breach.expected else "")
        rows = breach.rows.cast(pl.UInt32)
        parts.append(pl.DataFrame({"row": rows}).select("row", pl.lit(order, pl.Int32).alias("order"), text.alias("rules")))
    return pl.concat(parts).sort("row", "order").group_by("row", maintain_order=True).agg("rules")


def _json(rows: pl.DataFrame) -> pl.Series:
    """Each raw row as a JSON object. (n,) String."""
    if any(dtype.base_type() in NESTED for dtype in rows.dtypes):  # polars cannot write bytes as JSON
        return pl.Series([json.dumps(row, default=str, ensure_ascii=False) for row in rows.iter_rows(named=True)], dtype=pl.String)
    return rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
