"""Early halting: a sample takes no further step once a step has moved it little. What that costs and what it saves.

The rule is that of scoring under a policy's `halt_epsilon`. Pure NumPy: nothing here knows a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.learn.metrics import auc

Array = NDArray[np.float64]
EPSILONS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # log-odds by which a step must move a sample for it to go on
TOLERANCE = 0.001  # AUC that halting may cost; another seed of one network moves it by .0015 (docs/log.md)


def steps_used(log_odds: ArrayLike, epsilon: float) -> NDArray[np.int64]:
    """How many supervision steps each sample takes: up to the first that moves it by less than epsilon, else all S.

    log_odds: (n, S) calibrated, after each step; epsilon: in log-odds, 0 = all steps. Returns (n,) in 1 … S; where S > 1
    at least 2, because it takes two answers to see a move. Raises DataError on another shape and on NaN.
    """
    odds = _checked(log_odds)
    n, steps = odds.shape
    settled = np.abs(np.diff(odds, axis=1)) < epsilon  # (n, S - 1)
    first = np.append(settled, np.ones((n, 1), bool), axis=1).argmax(1)  # the last step ends it anyway
    return np.asarray(np.minimum(first + 2, steps), np.int64)


def halted(log_odds: ArrayLike, epsilon: float) -> Array:
    """(n,) log-odds of each sample after the steps that it takes; otherwise as `steps_used`."""
    odds = _checked(log_odds)
    return odds[np.arange(len(odds)), steps_used(odds, epsilon) - 1]


def cheapest_epsilon(log_odds: ArrayLike, y: ArrayLike, tolerance: float = TOLERANCE, *, folds: ArrayLike | None = None) -> float:
    """The largest of EPSILONS that costs at most `tolerance` of AUC against all steps; 0 where every other costs more.

    log_odds: (n, S) calibrated, of rows that the network was not trained on; y: (n,) 0 or 1; folds: (n,) where given, AUC
    is the mean over them. Raises DataError as `auc` does, and on shapes that differ.
    """
    odds, labels = _checked(log_odds), np.asarray(y, np.float64)
    parts = np.zeros(len(odds), np.int64) if folds is None else np.asarray(folds)
    if labels.shape != (len(odds),) or parts.shape != labels.shape:
        raise DataError(f"halting: log-odds of {len(odds)} rows, y {labels.shape}, folds {parts.shape}; expected one y and fold a row")
    each = [np.flatnonzero(parts == part) for part in np.unique(parts)]

    def mean_auc(epsilon: float) -> float:
        answer = halted(odds, epsilon)
        return float(np.mean([auc(labels[rows], answer[rows]) for rows in each]))

    least = mean_auc(0.0) - tolerance
    return max(epsilon for epsilon in EPSILONS if epsilon == 0 or mean_auc(epsilon) >= least)


def _checked(log_odds: ArrayLike) -> Array:
    odds = np.asarray(log_odds, np.float64)
    if odds.ndim != 2 or not odds.size:
        raise DataError(f"halting: log-odds have shape {odds.shape}; expected (samples, steps), at least one of each")
    if np.isnan(odds).any():
        raise DataError(f"halting: {np.isnan(odds).any(axis=1).sum()} of {len(odds)} rows have NaN log-odds; expected those of every step")
    return odds
