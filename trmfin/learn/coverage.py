"""Risk against coverage: what is left of the mistakes when the cases a model is least sure of are handed to people.

Cases are put in order by a signal of doubt; at coverage c the surest share c is kept, and its risk is the share of it that is wrong.
AURC, the area under that curve, is the mean risk over all coverages: lower is better, and a signal that knows nothing has the
overall risk. Source: Geifman, Uziel & El-Yaniv 2019, arXiv:1805.08206.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.learn.intervals import Interval, group_numbers, resampled
from trmfin.learn.metrics import Array


def aurc(wrong: ArrayLike, doubt: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the risk–coverage curve, in [0, 1]. wrong: (N,) 0 or 1; doubt: (N,) higher = less sure; weight: (N,) >= 0.

    Cases of equal doubt are kept or handed over together. Raises DataError on shapes that differ and on doubts that are no numbers.
    """
    mistakes, doubts = np.asarray(wrong, np.float64), np.asarray(doubt, np.float64)
    weights = np.ones(mistakes.shape) if weight is None else np.asarray(weight, np.float64)
    if not (mistakes.shape == doubts.shape == weights.shape and mistakes.ndim == 1 and mistakes.size):
        raise DataError(f"aurc: shapes {mistakes.shape}, {doubts.shape}, {weights.shape}; expected the same (N,) for all, N >= 1")
    if not np.isfinite(doubts).all():
        raise DataError(f"aurc: {int((~np.isfinite(doubts)).sum())} of {doubts.size} doubts are no finite number; give each case one")
    order = np.argsort(doubts, kind="stable")
    return _area(mistakes[order], weights[order], np.append(np.diff(doubts[order]) != 0, True))


def _area(wrong: Array, weight: Array, last: NDArray[np.bool_]) -> float:
    """Of cases in order. last: (N,) True at the end of each run of equal doubts."""
    kept, mistakes = np.cumsum(weight)[last], np.cumsum(weight * wrong)[last]
    risk = np.divide(mistakes, kept, out=np.zeros_like(mistakes), where=kept > 0)
    return float(np.diff(kept, prepend=0.0) @ risk / kept[-1])


def compared(wrong: ArrayLike, doubts: Mapping[str, ArrayLike], groups: ArrayLike, against: str) -> dict[str, tuple[Interval, Interval]]:
    """AURC of each signal, and of it less that of `against`, with 95 % bootstrap intervals over groups; all see the same draws."""
    mistakes = np.asarray(wrong, np.float64)
    runs = {}
    for name, doubt in doubts.items():
        aurc(mistakes, doubt)  # raises where it cannot be used
        values = np.asarray(doubt, np.float64)
        order = np.argsort(values, kind="stable")
        runs[name] = order, np.append(np.diff(values[order]) != 0, True)

    def areas(weight: Array) -> list[float]:
        each = {name: _area(mistakes[order], weight[order], last) for name, (order, last) in runs.items()}
        return [*each.values(), *(value - each[against] for value in each.values())]

    found = resampled(areas, group_numbers(groups))
    return {name: (found[place], found[place + len(runs)]) for place, name in enumerate(runs)}
