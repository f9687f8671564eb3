"""The comparison groups that a bundle keeps: training samples, as the network saw them, that explanations compare a case with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.sequences.sequences import Sequences

ROWS = 100  # of each group, at most
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Scores of rows whose answers the scoring members had not seen."""

    rows: Rows  # (n,)
    score: NDArray[np.float64]  # (n,)


def reference(sequences: Sequences, rows: Rows, judged: Judged | None, cutoff: float) -> pl.DataFrame:
    """The groups, one row a sample. sequences: aligned. rows: what was trained on. judged: None where the task has no score.

    all_applicants         evenly spaced ones of `rows`
    portfolio              of the judged below the cut-off each group's latest, evenly spaced
    near_cutoff_approved   of the judged below the cut-off those with the highest scores

    Columns numbers, codes and mask hold a sample's (L, F), (L, C) and (L,) in one row; one with nothing in it is left out, and so
    is a group that nobody belongs to.
    """
    groups = {"all_applicants": _spaced(rows)}
    if judged is not None:
        passed = np.flatnonzero(judged.score < cutoff)
        latest = _latest(sequences, judged.rows[passed])
        nearest = judged.rows[passed[np.argsort(-judged.score[passed], kind="stable")[:ROWS]]]
        groups |= {"portfolio": _spaced(latest), "near_cutoff_approved": nearest}
    return pl.concat([_frame(sequences, name, chosen) for name, chosen in groups.items() if len(chosen)])


def _spaced(rows: Rows) -> Rows:
    """ROWS of them, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, ROWS).round().astype(np.int64))] if len(rows) else rows


def _latest(sequences: Sequences, rows: Rows) -> Rows:
    """The last of each group by as_of, in the order of rows."""
    order = np.lexsort((rows, sequences.as_of[rows], sequences.group[rows]))
    last = np.append(np.diff(sequences.group[rows[order]]) != 0, True) if len(rows) else np.zeros(0, bool)
    return np.sort(rows[order[last]])


def _frame(sequences: Sequences, name: str, rows: Rows) -> pl.DataFrame:
    batch = sequences.batch(rows)
    seen: dict[str, NDArray[Any]] = {"numbers": batch.numbers, "codes": batch.codes, "mask": batch.mask}
    return pl.DataFrame(
        {
            "group": [name] * len(rows),
            "sample_id": sequences.sample_ids[rows].astype(str),
            **{part: values.reshape(len(rows), values[0].size) for part, values in seen.items() if values.size},
        }
    )
