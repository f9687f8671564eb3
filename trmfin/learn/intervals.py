"""How sure a metric is: bootstrap over groups, paired differences, means over folds.

Rows of one group (a client, a card, a day) are drawn together, because they are not independent. One draw takes as many
groups as there are, with replacement; a row then counts as often as its group was drawn. Draws depend on the seed, the
number of draws and the groups alone, so metrics or models given the same ones are compared on the same draws. Draws in
which a metric is undefined (one class only) are left out; where that is half of them, DataError.

Intervals are percentiles (Efron 1979) and hold 95 %. A metric that noise pushes one way has its interval pushed that way
too: resampling adds noise, so the ECE's interval lies high and may even leave out its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.learn.metrics import SUMMARY, Array, UndefinedMetric, ranked

DRAWS = 1000
LOW, HIGH = 0.025, 0.975
# 97.5 % quantiles of Student's t for 1 … 30 degrees of freedom; beyond, the series of Abramowitz & Stegun 26.7.5
STUDENT = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314),
    *(2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
Rows = NDArray[np.int64]
Statistic = Callable[[Array], list[float]]  # from row weights (N,) to one number a metric


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and the range that holds the middle 95 % of its draws."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, kw_only=True)
class FoldMean:
    """A metric's mean over K folds with two intervals, which answer different questions."""

    mean: float
    folds: tuple[float, ...]  # (K,) the metric in each fold, by the folds' order
    low: float  # bootstrap: had other clients been tested in these folds by these models
    high: float
    t_low: float | None  # mean ± t(.975, K - 1) * sd / sqrt(K): had other folds been drawn; too short, because folds share
    t_high: float | None  # training rows (Nadeau & Bengio 2003); None with one fold

    def to_json(self) -> dict[str, object]:
        plain: dict[str, object] = {"mean": self.mean, "folds": list(self.folds), "low": self.low, "high": self.high}
        return plain if self.t_low is None else plain | {"t_low": self.t_low, "t_high": self.t_high}


def summary(
    y: ArrayLike,
    p: ArrayLike,
    groups: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    against: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    """Every metric of `metrics.SUMMARY` as {"value", "low", "high"}; with `against`, of the differences p - against.

    y: (N,) 0 or 1; p, against: (N,) probabilities; groups: (N,) numbers or names, None = every row its own group. All
    metrics see the same draws; an interval of a difference that leaves out 0 is a difference. Raises DataError on shapes
    that differ and as the metrics do.
    """
    rows = _rows(y, (p,) if against is None else (p, against), groups)
    intervals = resampled(_summary_of(rows.y, rows.scores), rows.members, draws, seed)
    return {name: interval.to_json() for name, interval in zip(SUMMARY, intervals, strict=True)}


def fold_summary(
    y: ArrayLike,
    p: ArrayLike,
    folds: ArrayLike,
    groups: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    against: ArrayLike | None = None,
) -> dict[str, dict[str, object]]:
    """Every metric of `metrics.SUMMARY` as `FoldMean.to_json`; with `against`, of the differences p - against.

    y, folds: (N,); p, against: (N,) probabilities. All metrics see the same draws.
    """
    rows = _rows(y, (p,) if against is None else (p, against), groups)
    parts = [_on(part, _summary_of(rows.y[part], tuple(s[part] for s in rows.scores))) for part in _parts(folds, rows.y)]
    return {name: mean.to_json() for name, mean in zip(SUMMARY, _fold_means(parts, rows.members, draws, seed), strict=True)}


@dataclass(frozen=True, kw_only=True)
class _Rows:
    y: Array  # (N,)
    scores: tuple[Array, ...]  # each (N,): one model's, or two models' to be compared
    members: Rows  # (N,) group of each row, 0 … G - 1


def _rows(y: ArrayLike, scores: tuple[ArrayLike, ...], groups: ArrayLike | None) -> _Rows:
    labels, arrays = np.asarray(y, dtype=np.float64), tuple(np.asarray(score, dtype=np.float64) for score in scores)
    members = np.arange(labels.size) if groups is None else group_numbers(groups)
    if labels.ndim != 1 or not labels.size or any(array.shape != labels.shape for array in (*arrays, members)):
        shapes = ", ".join(str(array.shape) for array in (*arrays, members))
        raise DataError(f"interval: y has shape {labels.shape}, scores and groups {shapes}; expected the same (N,) for all, N >= 1")
    return _Rows(y=labels, scores=arrays, members=members)


def _parts(folds: ArrayLike, y: Array) -> list[Rows]:
    """The rows of each fold, in the folds' order."""
    numbers = np.asarray(folds)
    if numbers.shape != y.shape:
        raise DataError(f"interval: folds have shape {numbers.shape}, y {y.shape}; expected one fold a row")
    return [np.flatnonzero(numbers == fold) for fold in np.unique(numbers)]


def _summary_of(y: Array, scores: tuple[Array, ...]) -> Statistic:
    """The metrics of SUMMARY of one model, or their differences between two; each model's rows are counted once a draw."""
    models = [ranked("summary", y, score, probability=True) for score in scores]

    def values(weight: Array) -> list[float]:
        tallies = [model.tally(weight) for model in models]
        return [_less(*(metric(tally) for tally in tallies)) for metric in SUMMARY.values()]

    return values


def _less(first: float, second: float = 0.0) -> float:
    return first - second


def _on(part: Rows, statistic: Statistic) -> Statistic:
    return lambda weight: statistic(weight[part])


def group_numbers(groups: ArrayLike) -> Rows:
    """(N,) number of each row's group, 0 … G - 1. groups: (N,) numbers or names."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].ravel().astype(np.int64)


def resampled(statistic: Statistic, members: Rows, draws: int = DRAWS, seed: int = 0) -> list[Interval]:
    """Values and intervals of a statistic, one a number that it gives.

    members: (N,) group of each row, 0 … G - 1. A statistic that is undefined for some weights raises UndefinedMetric.
    """
    if draws < 1:
        raise DataError(f"interval: {draws} draws; expected at least 1")
    values = statistic(np.ones(members.size))
    random, groups = np.random.default_rng(seed), int(members.max()) + 1
    drawn: list[list[float]] = []
    for _ in range(draws):
        times = np.bincount(random.integers(groups, size=groups), minlength=groups).astype(np.float64)
        try:
            drawn.append(statistic(times[members]))
        except UndefinedMetric:
            continue
    if 2 * len(drawn) <= draws:
        lost = draws - len(drawn)
        raise DataError(f"interval: a metric is undefined in {lost} of {draws} draws of {groups} groups; give more groups of both classes")
    low, high = np.quantile(np.array(drawn), (LOW, HIGH), axis=0)
    return [Interval(value=value, low=float(a), high=float(b)) for value, a, b in zip(values, low, high, strict=True)]


def _fold_means(parts: Sequence[Statistic], members: Rows, draws: int, seed: int) -> list[FoldMean]:
    intervals = resampled(lambda weight: [float(v) for v in np.mean([part(weight) for part in parts], axis=0)], members, draws, seed)
    once = np.ones(members.size)
    folds = zip(*(part(once) for part in parts), strict=True)
    return [_fold_mean(interval, values) for interval, values in zip(intervals, folds, strict=True)]


def _fold_mean(interval: Interval, values: tuple[float, ...]) -> FoldMean:
    mean, count = interval.value, len(values)
    half = None if count < 2 else student(count - 1) * float(np.std(values, ddof=1)) / count**0.5
    t_low, t_high = (None, None) if half is None else (mean - half, mean + half)
    return FoldMean(mean=mean, folds=values, low=interval.low, high=interval.high, t_low=t_low, t_high=t_high)


def student(freedom: int) -> float:
    """97.5 % quantile of Student's t, to 4 digits. freedom: degrees of freedom, >= 1."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
