"""Whether a run's scores still look like another's: the population stability index, missing scores, steps used.

PSI = Σ (a - e) ln(a / e) over bins, a and e the shares of this run and of the reference in each; below .10 little moved, from .25 on
a lot did (Siddiqi 2006, Credit Risk Scorecards: a rule of thumb). It grows by chance too, about (B - 1)(1 / n + 1 / m) of B
bins and n and m samples (Yurdakul 2018), which is told beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.scoring.views import Run, collected

BINS = 10  # of equal size in the reference
SOME, MUCH = 0.10, 0.25
LEAST = 0.5  # samples: what an empty bin counts as, so that no logarithm is infinite


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """A run beside its reference."""

    psi: float
    by_chance: float  # expected where nothing has moved
    bins: pl.DataFrame  # lower, upper, reference, now: shares of samples; psi: the bin's part
    missing: tuple[float, float]  # share without a score: reference, now
    steps: pl.DataFrame  # step, reference, now: shares of samples that used so many

    @property
    def verdict(self) -> Literal["stable", "some drift", "much drift"]:
        return "stable" if self.psi < SOME else "some drift" if self.psi < MUCH else "much drift"


def psi(reference: ArrayLike, now: ArrayLike) -> NDArray[np.float64]:
    """Each bin's part of the index. reference, now: (B,) samples in each bin. Raises DataError where either has none at all."""
    expected, actual = (np.asarray(counts, np.float64) for counts in (reference, now))
    if expected.shape != actual.shape or not expected.sum() or not actual.sum():
        raise DataError(f"psi: {expected.sum():g} and {actual.sum():g} samples in {expected.size} and {actual.size} bins; both need some")
    e, a = (np.maximum(counts, LEAST) / counts.sum() for counts in (expected, actual))
    return np.asarray((a - e) * np.log(a / e))


def drift(run: Run, reference: Run) -> Drift:
    """A run's scores against those of another. Raises DataError where either has no score."""
    then, now = (_columns(one) for one in (reference, run))
    known = [table["score"].drop_nulls().to_numpy() for table in (then, now)]
    if not (len(known[0]) and len(known[1])):
        raise DataError("drift: one of the two runs has no score; choose another")
    inner = np.unique(np.quantile(known[0], np.linspace(0, 1, BINS + 1)[1:-1]))
    edges = np.concatenate(([0.0], inner[(inner > 0) & (inner < 1)], [1.0]))
    counts = [np.histogram(scores, edges)[0] for scores in known]
    parts = psi(*counts)
    steps = sorted(set(then["step"].to_list()) | set(now["step"].to_list()))
    return Drift(
        psi=float(parts.sum()),
        by_chance=(len(parts) - 1) * (1 / len(known[0]) + 1 / len(known[1])),
        bins=pl.DataFrame(
            {
                "lower": edges[:-1],
                "upper": edges[1:],
                "reference": counts[0] / counts[0].sum(),
                "now": counts[1] / counts[1].sum(),
                "psi": parts,
            }
        ),
        missing=tuple(table["score"].null_count() / max(len(table), 1) for table in (then, now)),  # type: ignore[arg-type]
        steps=pl.DataFrame(
            {"step": steps}
            | {name: [(table["step"] == step).mean() for step in steps] for name, table in (("reference", then), ("now", now))}
        ),
    )


def _columns(run: Run) -> pl.DataFrame:
    """score (null where there is none) and step."""
    return collected(run.scores.select(pl.col("score").fill_nan(None), "step"), run.folder)
