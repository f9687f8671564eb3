"""Whether a run's scores still look like those its bundle was judged by, or another run's: stability index, missing scores, steps.

PSI = Σ (a - e) ln(a / e) over bins, a and e the shares of this run and of the reference in each; below .10 little moved, from .25 on
a lot did (Siddiqi 2006, Credit Risk Scorecards: a rule of thumb). It grows by chance too, about (B - 1)(1 / n + 1 / m) of B
bins and n and m samples (Yurdakul 2018), which is told beside. Of one field it is called CSI, the characteristic stability index.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.learn import profile
from trmfin.learn.profile import equal_shares
from trmfin.scoring.views import KEPT, Run, collected

SOME, MUCH = 0.10, profile.MUCH
OLDER = "the run is older than profiles of its data; score again into another folder, or compare its scores with another run's"
LEAST = 0.5  # samples: what an empty bin counts as, so that no logarithm is infinite
Verdict = Literal["stable", "some drift", "much drift", "too few to tell"]


class NotComparable(DataError):
    """There is nothing to compare with; the message says what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """The scores of a run beside its reference."""

    psi: float
    by_chance: float  # expected where nothing has moved
    bins: pl.DataFrame  # bin (in words), lower, upper, reference, now: shares of samples; psi: the bin's part
    missing: tuple[float, float]  # share without a score: reference, now
    steps: pl.DataFrame  # step, reference, now: shares of samples that used so many
    steps_psi: float  # the index of steps used

    @property
    def verdict(self) -> Verdict:
        return verdict(self.psi, self.by_chance)


def verdict(index: float, chance: float) -> Verdict:
    """What the rule of thumb says of an index; nothing, where chance alone is expected to give as much as some drift."""
    if chance >= SOME:
        return "too few to tell"
    return "stable" if index < SOME else "some drift" if index < MUCH else "much drift"


def psi(reference: ArrayLike, now: ArrayLike) -> NDArray[np.float64]:
    """Each bin's part of the index; nothing, where both are empty. reference, now: (B,) samples in each bin.

    Raises DataError where either has none at all.
    """
    expected, actual = (np.asarray(counts, np.float64) for counts in (reference, now))
    if expected.shape != actual.shape or not expected.sum() or not actual.sum():
        raise DataError(f"psi: {expected.sum():g} and {actual.sum():g} samples in {expected.size} and {actual.size} bins; both need some")
    e, a = (np.maximum(counts, LEAST) / counts.sum() for counts in (expected, actual))
    return np.where(expected + actual > 0, (a - e) * np.log(a / e), 0.0)


def by_chance(reference: ArrayLike, now: ArrayLike) -> float:
    """The index that chance alone is expected to give, of independent samples; bins that are empty in both do not count."""
    expected, actual = np.asarray(reference), np.asarray(now)
    bins = int(np.count_nonzero(expected + actual))
    return float((bins - 1) * (1 / expected.sum() + 1 / actual.sum()))


def told(edges: NDArray[np.float64]) -> list[str]:
    """Edges as text, with digits enough to tell them apart."""
    for digits in range(4, 17):
        words = [np.format_float_positional(edge, digits, fractional=False, trim="-") for edge in edges]
        if len(set(words)) == len(words):
            break
    return words


@lru_cache(maxsize=KEPT)
def drift(run: Run, reference: Run | None = None) -> Drift:
    """A run's scores against those of another, or, without one, against the held-out ones that its bundle was judged by.

    Raises NotComparable where either has no score, where the bundle kept none, and where the run is older than such profiles.
    """
    now = _columns(run)
    then = _kept(run) if reference is None else _counted(_columns(reference))
    scores = now["score"].drop_nulls().to_numpy()
    if not (sum(then.counts) and len(scores)):
        raise NotComparable("drift: one of the two runs has no score; choose another")
    counts = np.histogram(scores, then.edges)[0]
    parts, steps = psi(then.counts, counts), _steps_of(now)
    taken = [(step, then.steps.get(step, 0), steps.get(step, 0)) for step in sorted(then.steps | steps)]
    return Drift(
        psi=float(parts.sum()),
        by_chance=by_chance(then.counts, counts),
        bins=pl.DataFrame(
            {
                "bin": [f"{lower} to {upper}" for lower, upper in pairwise(told(np.array(then.edges)))],
                "lower": then.edges[:-1],
                "upper": then.edges[1:],
                "reference": np.array(then.counts) / sum(then.counts),
                "now": counts / counts.sum(),
                "psi": parts,
            }
        ),
        missing=(then.missing, now["score"].null_count() / len(now)),
        steps=pl.DataFrame(taken, schema=["step", "reference", "now"], orient="row").with_columns(
            pl.col(name) / pl.col(name).sum() for name in ("reference", "now")
        ),
        steps_psi=float(psi(*np.array(taken).T[1:]).sum()),
    )


@dataclass(frozen=True, kw_only=True)
class _Then:
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: float  # share of samples without a score
    steps: dict[int, int]  # step → samples that used so many


def _kept(run: Run) -> _Then:
    """The scores that the bundle kept."""
    if run.profiles is None:
        raise NotComparable(f"{run.name}: {OLDER}")
    if (held := run.profiles.reference.scores) is None:
        raise NotComparable(
            f"{run.name}: its bundle kept no scores to compare with, as only a target of yes or no is calibrated on held-out samples; "
            "compare with another run"
        )
    return _Then(
        edges=held.edges, counts=held.counts, missing=0.0, steps={step: count for step, count in enumerate(held.steps, 1) if count}
    )


def _counted(table: pl.DataFrame) -> _Then:
    scores = table["score"].drop_nulls().to_numpy()
    edges = equal_shares(scores) if len(scores) else np.array([0.0, 1.0])
    return _Then(
        edges=tuple(edges.tolist()),
        counts=tuple(np.histogram(scores, edges)[0].tolist()),
        missing=table["score"].null_count() / max(len(table), 1),
        steps=_steps_of(table),
    )


def _steps_of(table: pl.DataFrame) -> dict[int, int]:
    return dict(table["step"].value_counts().iter_rows())


def _columns(run: Run) -> pl.DataFrame:
    """score (null where there is none) and step."""
    return collected(run.scores.select(pl.col("score").fill_nan(None), "step"), run.folder)
