"""What prepared tables must look like. Each check raises DataError, in one line, naming the table and the column."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from trmfin.data.delimited import REJECTS
from trmfin.errors import DataError

TIME = pl.Datetime("us", "UTC")
LATE = "_known_at"  # NAME_known_at says when NAME became known
TARGET = "target_"
EVENTS = {"event_id": pl.String(), "event_time": TIME, "known_at": TIME, "event_type": pl.String()}
SAMPLES = {"sample_id": pl.String(), "as_of": TIME}
LINKS = {"from_event": pl.String(), "to_event": pl.String(), "kind": pl.String(), "known_at": TIME}
TRUTH = {"sample_id": pl.String(), "target": pl.String(), "probability": pl.Float64()}
ADVICE = "correct the pipeline's prepare"


def check_events(events: pl.DataFrame) -> None:
    """event_id (unique), event_time, known_at, event_type, none of them null; then any typed columns."""
    _required(events, "events", EVENTS)
    _unique(events, "events", ["event_id"])
    _typed(events, "events")


def check_samples(samples: pl.DataFrame, events: pl.DataFrame) -> None:
    """sample_id (unique) and as_of; a `trigger` is an event that is known only at as_of or later, so never in its own history."""
    _required(samples, "samples", SAMPLES)
    _unique(samples, "samples", ["sample_id"])
    _typed(samples, "samples")
    if bare := [c for c in samples.columns if c.startswith(TARGET) and not c.endswith(LATE) and c + LATE not in samples.columns]:
        raise DataError(f"samples, column {bare[0]}: has no {bare[0]}{LATE} beside it, which says when the answer became known; {ADVICE}")
    if "trigger" in samples.columns:
        _trigger(samples, events)


def check_links(links: pl.DataFrame, events: pl.DataFrame) -> None:
    """from_event and to_event (both among the events), kind, amount (Int64 minor units, null where there is none), known_at."""
    _required(links, "links", LINKS)
    if links.schema.get("amount") != pl.Int64:
        raise DataError(f"links, column amount: found {links.schema.get('amount', 'nothing')}, expected Int64 minor units; {ADVICE}")
    _typed(links, "links")
    for end in ("from_event", "to_event"):
        _among_events(links, "links", end, events)


def check_truth(truth: pl.DataFrame, samples: pl.DataFrame) -> None:
    """sample_id (among the samples), target, probability in [0, 1]; one row a sample and target."""
    _required(truth, "truth", TRUTH)
    _unique(truth, "truth", ["sample_id", "target"])
    _refuse(truth, "truth", "probability", ~pl.col("probability").is_between(0, 1), "are not in [0, 1]")
    if (strange := truth.join(samples, on="sample_id", how="anti")).height:
        raise DataError(
            f"truth, column sample_id: {strange.height} of {truth.height} rows name no sample (first: {strange['sample_id'][0]!r})"
        )


def check_rejects(rejects: pl.DataFrame) -> None:
    """The REJECTS layout."""
    if rejects.schema != REJECTS:
        raise DataError(f"rejects: found columns {_columns(rejects)}, expected {', '.join(f'{c} {t}' for c, t in REJECTS.items())}")


def check_money(table: pl.DataFrame, where: str, money: Iterable[str]) -> None:
    """Every column that is money is Int64: minor units, exact."""
    for column in money:
        if column in table.columns and table.schema[column] != pl.Int64:
            raise DataError(f"{where}, column {column}: is {table.schema[column]}, expected money as Int64 minor units; {ADVICE}")


def _required(table: pl.DataFrame, where: str, layout: dict[str, pl.DataType]) -> None:
    for column, dtype in layout.items():
        if column not in table.columns:
            raise DataError(f"{where}: has no column {column}; it has {_columns(table)}; {ADVICE}")
        if table.schema[column] != dtype:
            raise DataError(f"{where}, column {column}: is {table.schema[column]}, expected {dtype}; {ADVICE}")
        _refuse(table, where, column, pl.col(column).is_null(), "are null")


def _unique(table: pl.DataFrame, where: str, key: list[str]) -> None:
    if table.n_unique(key) < table.height:
        twice = table.filter(pl.struct(key).is_duplicated()).select(key)
        what = f"{where}, column {' and '.join(key)}"
        raise DataError(f"{what}: {twice.height} of {table.height} rows share a value (first: {twice.row(0)[0]!r}); {ADVICE}")


def _typed(table: pl.DataFrame, where: str) -> None:
    """Times are UTC, numbers are finite or null, a late value comes with its time."""
    for column, dtype in table.schema.items():
        if isinstance(dtype, pl.Datetime) and dtype != TIME:
            raise DataError(f"{where}, column {column}: is {dtype}, expected times as {TIME}; {ADVICE}")
        if dtype in (pl.Null, pl.Object, pl.Binary, pl.Decimal, pl.Struct):
            raise DataError(f"{where}, column {column}: is {dtype}, expected numbers, text or times (money as Int64 minor units); {ADVICE}")
        if dtype.is_float():
            _refuse(table, where, column, ~pl.col(column).is_finite(), "are NaN or infinite; use null for what is absent")
        if column.endswith(LATE) and column != LATE:
            _late(table, where, column.removesuffix(LATE), column)


def _late(table: pl.DataFrame, where: str, column: str, known_at: str) -> None:
    if column not in table.columns:
        raise DataError(f"{where}, column {known_at}: says when {column} became known, but there is no column {column}; {ADVICE}")
    if table.schema[known_at] != TIME:
        raise DataError(f"{where}, column {known_at}: is {table.schema[known_at]}, expected {TIME}; {ADVICE}")
    _refuse(table, where, column, pl.col(column).is_not_null() & pl.col(known_at).is_null(), f"have a value but no {known_at}")


def _trigger(samples: pl.DataFrame, events: pl.DataFrame) -> None:
    if samples.schema["trigger"] != pl.String:
        raise DataError(f"samples, column trigger: is {samples.schema['trigger']}, expected String, an event_id or null; {ADVICE}")
    _among_events(samples, "samples", "trigger", events)
    joined = samples.select("as_of", "trigger").join(events.select("event_id", "known_at"), left_on="trigger", right_on="event_id")
    _refuse(
        joined,
        "samples",
        "trigger",
        pl.col("known_at") < pl.col("as_of"),
        "name an event known before as_of, which would stand in its own history",
    )


def _among_events(table: pl.DataFrame, where: str, column: str, events: pl.DataFrame) -> None:
    strange = table.select(column).drop_nulls().join(events.select("event_id"), left_on=column, right_on="event_id", how="anti")
    if strange.height:
        raise DataError(
            f"{where}, column {column}: {strange.height} of {table.height} rows name no event (first: {strange[column][0]!r}); {ADVICE}"
        )


def _refuse(table: pl.DataFrame, where: str, column: str, bad: pl.Expr, problem: str) -> None:
    rows = table.select(bad.fill_null(False)).to_series().arg_true()
    if rows.len():
        raise DataError(f"{where}, column {column}: {rows.len()} of {table.height} rows {problem} (first: row {rows[0] + 1}); {ADVICE}")


def _columns(table: pl.DataFrame) -> str:
    return ", ".join(table.columns) or "none"
