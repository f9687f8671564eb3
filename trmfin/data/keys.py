"""Rows that share a primary key: which of them counts, which only repeat it, and where that cannot be told."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

POSITION, BROKEN, MISSING = "position of the row", "breaks another rule", "late columns without a value"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What becomes of rows that share a key, as positions in the file; rows that count are in neither."""

    repeats: pl.Series  # (n,) UInt32, ascending
    counted: pl.Series  # (n,) UInt32: of each repeat, the row that counts in its place
    unclear: pl.Series  # (m,) UInt32, ascending: rows that contradict one another


def shared(rows: pl.DataFrame, keys: list[str], first: str | None, late: list[str], positions: pl.Series, broken: pl.Series) -> Shared:
    """rows: those whose `keys` stand in another row too. positions, broken: (n,) UInt32 and Boolean, of the same rows.

    Where a column says which is the `first`, the row with its least value counts, and of equal ones the first in the file, so that
    no later row can take an earlier one's place. Without such a column only rows that are identical in every column are repeats.
    Columns that are `late` do not make rows differ: of rows that are alike but for these, the first that has the most of them counts.
    A row that breaks another rule counts only where all do.
    """
    missing = pl.sum_horizontal(pl.lit(0), *(pl.col(name).is_null() for name in late)).alias(MISSING)
    placed = rows.with_columns(positions.alias(POSITION), broken.alias(BROKEN), missing)
    ordered = placed.sort([BROKEN, *([first] if first else []), POSITION], nulls_last=True)
    told_at_once = [name for name in rows.columns if name not in late]
    fullest = pl.col(POSITION).sort_by(BROKEN, MISSING, POSITION).first().over(told_at_once)
    same = pl.lit(True) if first else pl.len().over(keys) == pl.len().over(told_at_once)
    told = ordered.select(POSITION, counted=fullest.first().over(keys), same=same).sort(POSITION)
    repeats = told.filter("same", pl.col(POSITION) != pl.col("counted"))
    return Shared(repeats=repeats[POSITION], counted=repeats["counted"], unclear=told.filter(~pl.col("same"))[POSITION])
