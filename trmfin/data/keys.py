"""Rows that share a primary key: which of them counts, which only repeat it, and where that cannot be told."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

POSITION, BROKEN, MISSING = "position of the row", "breaks another rule", "has not yet what is late"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What becomes of rows that share a key, as positions in the file; rows that count are in neither."""

    repeats: pl.Series  # (n,) UInt32, ascending
    counted: pl.Series  # (n,) UInt32: of each repeat, the row that counts in its place
    unclear: pl.Series  # (m,) UInt32, ascending: rows that contradict one another


def shared(rows: pl.DataFrame, keys: list[str], first: str | None, late: str | None, positions: pl.Series, broken: pl.Series) -> Shared:
    """rows: those whose `keys` stand in another row too. positions, broken: (n,) UInt32 and Boolean, of the same rows.

    Where a column says which is the `first`, the row with its least value counts, and of equal ones the first in the file, so that
    no later row can take an earlier one's place. Without such a column only rows that do not differ are repeats. Where a column is
    `late`, a row without it does not differ from one with it: of rows that are alike but for it the first that has it counts.
    A row that breaks another rule counts only where all do.
    """
    missing = (pl.col(late).is_null() if late else pl.lit(False)).alias(MISSING)
    placed = rows.with_columns(positions.alias(POSITION), broken.alias(BROKEN), missing)
    ordered = placed.sort([BROKEN, *([first] if first else []), POSITION], nulls_last=True)
    alike = [name for name in rows.columns if name != late]
    kept = pl.col(POSITION).sort_by(BROKEN, MISSING, POSITION).first().over(alike)
    differing = pl.len().over(keys) != pl.len().over(alike)
    if late:
        differing |= pl.col(late).drop_nulls().n_unique().over(keys) > 1
    told = ordered.select(POSITION, counted=kept.first().over(keys), same=pl.lit(True) if first else ~differing).sort(POSITION)
    repeats = told.filter("same", pl.col(POSITION) != pl.col("counted"))
    return Shared(repeats=repeats[POSITION], counted=repeats["counted"], unclear=told.filter(~pl.col("same"))[POSITION])
