"""Whether what the network read still looks as in training, or as in another run: the stability index of each field, missing cells.

A field's index (CSI, the characteristic stability index) is the PSI of its bins; missing cells are a bin too. Cells of events count
as often as the network saw them, so those of one client are not independent, and chance moves their index further than `by_chance` says.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from trmfin.errors import DataError
from trmfin.scoring.drift import OLDER, NotComparable, by_chance, psi, told, verdict
from trmfin.scoring.views import Profiles, Run
from trmfin.sequences.profile import Cells, Profile

FIELDS = pl.Schema(
    {
        "field": pl.String(),
        "at": pl.String(),  # "sample", or the history whose events have it
        "verdict": pl.String(),  # or that there are no cells to compare
        "psi": pl.Float64(),  # null where either has no cells
        "by_chance": pl.Float64(),  # expected where nothing has moved
        "missing_then": pl.Float64(),  # share of cells
        "missing_now": pl.Float64(),
        "cells_then": pl.Float64(),  # a sample
        "cells_now": pl.Float64(),
    }
)
LOGARITHMIC = ("signed_log", "gap_seconds")  # transforms that are told as plain values


def field_drift(run: Run, reference: Run | None = None) -> pl.DataFrame:
    """Every field in each place, the worst first, as FIELDS has it. reference: None = what the bundle was trained on.

    Raises NotComparable where either run is older than profiles, holds no sample, or has other fields and bins.
    """
    then, now = _both(run, reference)
    rows = [_row(before, after, then.samples, now.samples) for before, after in zip(then.cells, now.cells, strict=True)]
    found = pl.DataFrame(rows, schema=FIELDS)
    one_side = (pl.col("cells_then") > 0) != (pl.col("cells_now") > 0)
    return found.sort(pl.col("psi").fill_null(pl.when(one_side).then(np.inf).otherwise(-1.0)), descending=True, maintain_order=True)


def field_bins(run: Run, reference: Run | None, field: str, at: str) -> pl.DataFrame:
    """Of one field in one place: bin (in words), reference, now: shares of cells, and psi: the bin's part; last, the missing.

    Numbers are told as they are in the column, money in major units. Raises DataError where there is no such field, and NotComparable
    as `field_drift` does and where either has no cells of it.
    """
    then, now = _both(run, reference)
    place = [(cells.field, cells.at) for cells in then.cells].index((field, at)) if (field, at) in _named(then) else None
    if place is None:
        raise DataError(f"drift: no field {field!r} at {at!r}; it has {', '.join(f'{name} at {where}' for name, where in _named(then))}")
    counts = then.table[place], now.table[place]
    if not all(one.sum() for one in counts):
        raise NotComparable(f"drift: field {field!r} at {at!r} has no cells in one of the two, so no shares to compare; choose another")
    parts = psi(*counts)
    shares = {name: one / one.sum() for name, one in zip(("reference", "now"), counts, strict=True)}
    return pl.DataFrame({"bin": [*labels(then.cells[place]), "(missing)"], **shares, "psi": parts})


def labels(cells: Cells) -> list[str]:
    """What each bin holds, in words."""
    if cells.is_code:
        return [*cells.words, "(another)", "(unknown in training)"]
    edges = np.array(cells.edges)
    plain = np.copysign(np.expm1(np.abs(edges)), edges) if cells.transform in LOGARITHMIC else edges
    words = told(plain[:-1]) + told(plain[-1:])  # apart: the last lies just above the highest value of training, mostly that before it
    return [f"below {words[0]}", *(low if low == high else f"{low} to {high}" for low, high in pairwise(words)), f"above {words[-1]}"]


def _both(run: Run, reference: Run | None) -> tuple[Profile, Profile]:
    """Then and now."""
    mine = _profiles(run)
    then = mine.reference.features if reference is None else _profiles(reference).now
    if not then.fits(mine.now):
        raise NotComparable(
            "drift: the other run is of another bundle, whose fields have other bins; compare fields with a run of this bundle"
        )
    if not (then.samples and mine.now.samples):
        raise NotComparable("drift: one of the two runs has no samples; choose another")
    return then, mine.now


def _profiles(run: Run) -> Profiles:
    if run.profiles is None:
        raise NotComparable(f"{run.name}: {OLDER}")
    return run.profiles


def _named(profile: Profile) -> list[tuple[str, str]]:
    return [(cells.field, cells.at) for cells in profile.cells]


def _row(then: Cells, now: Cells, samples_then: int, samples_now: int) -> dict[str, Any]:
    row: dict[str, Any] = {"field": now.field, "at": now.at, "cells_then": then.total / samples_then, "cells_now": now.total / samples_now}
    row |= {"missing_then": then.missing / then.total if then.total else None}
    row |= {"missing_now": now.missing / now.total if now.total else None}
    if not (then.total and now.total):
        return row | {"verdict": "no cells now" if then.total else "no cells then" if now.total else "no cells"}
    counts = (*then.counts, then.missing), (*now.counts, now.missing)
    index = float(psi(*counts).sum())
    chance = by_chance(*counts)
    return row | {"psi": index, "by_chance": chance, "verdict": verdict(index, chance)}
