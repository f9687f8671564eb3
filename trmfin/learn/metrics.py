"""Metrics of a risk score against what happened. Pure NumPy: nothing here knows a model.

Everywhere y is (N,) 0 or 1 (1 = the event the score warns of), p is (N,) higher = riskier, and `weight` is (N,) >= 0:
how often each row counts, by default once. Equal scores are one run and are never ordered among themselves, so no
metric depends on the order of rows. Every metric raises DataError on shapes that differ, on NaN or infinity, on labels
other than 0 and 1, and where it is undefined because only one class is present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError

Array = NDArray[np.float64]
BINS = 15  # equal-mass bins of the calibration error (Roelofs et al. 2022, arXiv:2012.08668, use 15)
NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal
TINIEST = float(np.finfo(np.float64).eps)  # probabilities are held so far from 0 and 1 where a logarithm is taken


class UndefinedMetric(DataError):
    """The metric has no value on these rows: a class it needs is absent."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Rows put in order once, highest score first, so that any weights give every metric in time linear in N."""

    order: NDArray[np.int64]  # (N,) the caller's rows, highest score first
    y: Array  # (N,) in that order
    p: Array  # (N,) in that order
    first: NDArray[np.int64]  # (M,) where each run of equal scores starts

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """(M,) where each run of equal scores ends."""
        return np.append(self.first[1:], self.y.size) - 1

    @cached_property
    def squares(self) -> Array:
        """(N,) squared distance of the probability from the outcome."""
        return (self.p - self.y) ** 2

    @cached_property
    def surprise(self) -> Array:
        """(N,) -ln(probability given to what happened)."""
        return surprise(self.y, self.p)

    def tally(self, weight: Array) -> Tally:
        """What the metrics need, with the caller's row i counting weight[i] >= 0 times. weight: (N,)."""
        ordered = weight[self.order]
        if not ordered.any():
            raise UndefinedMetric(f"metric: undefined, all {ordered.size} weights are 0; give at least one row a weight")
        mass, events = np.cumsum(ordered), np.cumsum(ordered * self.y)
        return Tally(ranked=self, weight=ordered, mass=mass[self.last], events=events[self.last])


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Weighted counts over M runs of equal scores, highest score first."""

    ranked: Ranked
    weight: Array  # (N,) of rows, highest score first
    mass: Array  # (M,) weight of rows in this run and all higher ones
    events: Array  # (M,) weight of rows with y = 1 in this run and all higher ones

    @property
    def total(self) -> float:
        return float(self.mass[-1])

    def classes(self, metric: str) -> tuple[float, float]:
        """Weight of events and of non-events. Raises UndefinedMetric where one of them is 0."""
        events, others = float(self.events[-1]), self.total - float(self.events[-1])
        for label, count in ((1, events), (0, others)):
            if not count > 0:
                raise UndefinedMetric(
                    f"metric {metric}: undefined, no row has y = {label} (others: {self.total:g}); "
                    "it compares events with non-events, so give rows of both"
                )
        return events, others


def ranked(metric: str, y: ArrayLike, p: ArrayLike, *, probability: bool = False) -> Ranked:
    """Check labels and scores, (N,) each, and put them in order; `metric` names them in errors. Raises DataError."""
    labels, scores = _numbers(metric, "y", y), _numbers(metric, "p", p)
    if labels.ndim != 1 or labels.shape != scores.shape or not labels.size:
        raise DataError(f"metric {metric}: shapes y {labels.shape}, p {scores.shape}; expected one axis of the same length, at least 1 row")
    if (bad := (labels != 0) & (labels != 1)).any():
        raise DataError(f"metric {metric}, y: {bad.sum()} of {bad.size} labels are not 0 or 1 (first: row {np.argmax(bad)})")
    if probability and (scores.min() < 0 or scores.max() > 1):
        raise DataError(f"metric {metric}, p: from {scores.min():g} to {scores.max():g}; expected probabilities in [0, 1], not log-odds")
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    first = np.flatnonzero(np.concatenate(([True], scores[1:] != scores[:-1])))
    return Ranked(order=order, y=labels, p=scores, first=first)


def surprise(y: Array, p: Array) -> Array:
    """-ln(probability given to what happened), in nats, of each row; its mean is the log-loss. y, p: (N,) → (N,)."""
    return -np.log(np.clip(np.where(y == 1, p, 1 - p), TINIEST, 1 - TINIEST))


def auc(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve: the chance that an event scores above a non-event, a tie counting one half.

    In [0, 1], higher is better, .5 is no ranking. Equals the Mann-Whitney statistic with mid-ranks. Source: Hanley & McNeil 1982.
    """
    return _auc(_tally("auc", y, p, weight))


def _auc(tally: Tally) -> float:
    events, others = tally.classes("auc")
    missed = np.concatenate(([0.0], tally.mass - tally.events))  # (M + 1,) non-events scored at least as high
    found = np.concatenate(([0.0], tally.events))
    return float((np.diff(missed) @ (found[1:] + found[:-1])) / (2 * events * others))


def gini(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Accuracy ratio 2 AUC - 1. In [-1, 1], higher is better, 0 is no ranking. Source: Engelmann, Hayden & Tasche 2003."""
    return _gini(_tally("gini", y, p, weight))


def _gini(tally: Tally) -> float:
    return 2 * _auc(tally) - 1


def ks(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Kolmogorov-Smirnov distance: the widest gap between the score distributions of events and of non-events.

    In [0, 1], higher is better. Two-sided: a reversed score has the same KS, so read it beside the AUC.
    """
    return _ks(_tally("ks", y, p, weight))


def _ks(tally: Tally) -> float:
    events, others = tally.classes("ks")
    return float(np.abs(tally.events / events - (tally.mass - tally.events) / others).max())


def average_precision(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Precision averaged over the events found, walking down the score; a run of equal scores is found at once.

    In [0, 1], higher is better; the share of events is what no ranking gets. Equals scikit-learn's `average_precision_score`.
    """
    return _average_precision(_tally("average precision", y, p, weight))


def _average_precision(tally: Tally) -> float:
    events, _ = tally.classes("average precision")
    precision = tally.events / np.maximum(tally.mass, np.finfo(np.float64).tiny)  # a run above which nothing weighs finds nothing
    return float(np.diff(tally.events, prepend=0.0) @ precision / events)


def lift(y: ArrayLike, p: ArrayLike, share: float = 0.1, *, weight: ArrayLike | None = None) -> float:
    """How many times as many events the riskiest `share` of rows holds as an equal share drawn at random.

    share: in (0, 1]. In [0, 1 / share], higher is better, 1 is no ranking. A run of equal scores, or a row, that the
    border cuts counts in proportion. Raises DataError on a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise DataError(f"metric lift: share is {share}; expected a number above 0 and at most 1")
    return _lift(_tally("lift", y, p, weight), share)


def _lift(tally: Tally, share: float = 0.1) -> float:
    events, _ = tally.classes("lift")
    border = share * tally.total
    run = int(np.searchsorted(tally.mass, border))  # the run that the border cuts
    mass, found = (0.0, 0.0) if run == 0 else (tally.mass[run - 1], tally.events[run - 1])
    part = (border - mass) / (tally.mass[run] - mass)
    return float((found + part * (tally.events[run] - found)) / events / share)


def brier(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Mean squared distance of the probability from the outcome. In [0, 1], lower is better. Source: Brier 1950."""
    return _brier(_tally("brier", y, p, weight, probability=True))


def _brier(tally: Tally) -> float:
    return float(tally.weight @ tally.ranked.squares / tally.total)


def log_loss(y: ArrayLike, p: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Mean of -ln(probability given to what happened), in nats. At least 0, lower is better.

    Probabilities are held within machine precision of 0 and 1, as scikit-learn does, so a certain and wrong row costs 36.
    """
    return _log_loss(_tally("log-loss", y, p, weight, probability=True))


def _log_loss(tally: Tally) -> float:
    return float(tally.weight @ tally.ranked.surprise / tally.total)


def expected_calibration_error(y: ArrayLike, p: ArrayLike, bins: int = BINS, *, weight: ArrayLike | None = None) -> float:
    """Mean distance between forecast and observed share over equal-mass bins (ECE).

    In [0, 1], lower is better. A run of equal scores goes whole into the bin that holds its middle row. Never 0 on
    finite data: a perfect forecast has about sqrt(2 p (1 - p) bins / (pi N)) by chance alone, .008 at p = .22 and
    N = 24,000. Source: Naeini et al. 2015.
    """
    return _ece(_tally("ece", y, p, weight, probability=True), _counted("ece", bins))


def _ece(tally: Tally, bins: int = BINS) -> float:
    mass, forecast, events = _binned(tally, bins)
    return float(np.abs(forecast - events).sum() / mass.sum())


def decision_costs(y: ArrayLike, p: ArrayLike, cutoff: float, costs: tuple[float, float]) -> Array:
    """(N,) what each row costs when scores at or above `cutoff` are flagged; the mean is the expected cost.

    costs: (false_negative, false_positive) >= 0: an event let through, a non-event flagged, in the caller's money.
    At least 0, lower is better. Source: Elkan 2001. Raises DataError on a negative cost or a cut-off that is NaN.
    """
    if not (min(costs) >= 0 and np.isfinite(costs).all()) or np.isnan(cutoff):
        raise DataError(f"metric expected cost: costs {costs} at cut-off {cutoff}; expected two finite costs >= 0 and a number")
    rows, out = ranked("expected cost", y, p), np.empty(np.shape(y))
    flagged, event = rows.p >= cutoff, rows.y == 1
    out[rows.order] = costs[0] * (event & ~flagged) + costs[1] * (~event & flagged)
    return out


@dataclass(frozen=True, kw_only=True)
class CalibrationCurve:
    """Forecast against outcome in equal-mass bins, lowest forecast first; every array is (bins,), empty bins left out."""

    rows: Array  # weight of rows in the bin
    predicted: Array  # mean probability
    observed: Array  # share of events
    low: Array  # 95 % Wilson interval of `observed`
    high: Array


def calibration_curve(y: ArrayLike, p: ArrayLike, bins: int = BINS, *, weight: ArrayLike | None = None) -> CalibrationCurve:
    """The table behind a calibration picture, on the bins of `expected_calibration_error`.

    Intervals are Wilson's (1927) and take rows as independent, which several rows of one client are not.
    """
    mass, forecast, events = _binned(_tally("calibration curve", y, p, weight, probability=True), _counted("calibration curve", bins))
    observed, spread = events / mass, NORMAL_95**2 / mass
    middle = (observed + spread / 2) / (1 + spread)
    half = np.sqrt(spread * observed * (1 - observed) + spread**2 / 4) / (1 + spread)
    return CalibrationCurve(rows=mass, predicted=forecast / mass, observed=observed, low=middle - half, high=middle + half)


SUMMARY: Mapping[str, Callable[[Tally], float]] = {  # what a report says of a model; p are probabilities
    "auc": _auc,
    "gini": _gini,
    "ks": _ks,
    "ap": _average_precision,
    "brier": _brier,
    "log_loss": _log_loss,
    "ece": _ece,
    "lift_10": _lift,
}


def _binned(tally: Tally, bins: int) -> tuple[Array, Array, Array]:
    """Per bin that holds rows, lowest score first: weight, sum of probabilities, sum of events."""
    run = np.diff(tally.mass, prepend=0.0)
    below = tally.total - tally.mass + run / 2  # (M,) weight below the middle of each run
    bin_of = np.minimum((bins * below / tally.total).astype(np.int64), bins - 1)
    parts = (run, run * tally.ranked.p[tally.ranked.first], np.diff(tally.events, prepend=0.0))
    mass, forecast, events = (np.bincount(bin_of, part, bins).astype(np.float64) for part in parts)
    return mass[mass > 0], forecast[mass > 0], events[mass > 0]


def _counted(metric: str, bins: int) -> int:
    if bins < 1:
        raise DataError(f"metric {metric}: {bins} bins; expected at least 1")
    return bins


def _tally(metric: str, y: ArrayLike, p: ArrayLike, weight: ArrayLike | None, probability: bool = False) -> Tally:
    rows = ranked(metric, y, p, probability=probability)
    weights = np.ones(rows.y.shape) if weight is None else _numbers(metric, "weight", weight)
    if weights.shape != rows.y.shape:
        raise DataError(f"metric {metric}: weight has shape {weights.shape}, y {rows.y.shape}; expected one weight a row")
    if weights.min() < 0:
        raise DataError(f"metric {metric}, weight: smallest is {weights.min():g}; expected weights >= 0")
    return rows.tally(weights)


def _numbers(metric: str, name: str, values: Any) -> Array:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"metric {metric}, {name}: {error}; expected numbers") from error
    if not np.isfinite(numbers).all():
        bad = ~np.isfinite(numbers).ravel()
        raise DataError(f"metric {metric}, {name}: {bad.sum()} of {bad.size} values are NaN or infinite, first at row {np.argmax(bad)}")
    return numbers
