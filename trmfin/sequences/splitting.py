"""Where along one number the answer changes: the splits that a decision tree of that number alone would make.

Quantiles have few edges where values are rare, and a rule such as "above 220" acts exactly there. Source of the idea, bins
from a tree on the target: Gorishniy et al. 2022, arXiv:2203.05556 (PLE-T). Here each split is kept as the two observed values
that it lies between, so that the piecewise-linear encoding can rise between them as steeply as the data allow.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def split_edges(values: NDArray[np.float32], y: Float, most: int, least: int) -> NDArray[np.float32]:
    """Both neighbours of each of at most `most` splits, ascending. values, y: (n,), y 0 or 1, neither with NaN.

    Greedy: of all intervals the one is split next whose best split lowers log-loss most, as long as it lowers it; both sides of a
    split hold at least `least` rows. A function of the pairs (value, y), not of their order.
    """
    if not len(values):
        return np.zeros(0, np.float32)
    found, place = np.unique(values, return_inverse=True)
    rows, positives = np.bincount(place).cumsum(), np.bincount(place, y).cumsum()  # up to and with each value
    waiting: list[tuple[float, int, int, int]] = []  # (-gain, first value, split, last value) of each interval

    def add(first: int, last: int) -> None:
        if (best := _split(rows, positives, first, last, least)) is not None:
            heapq.heappush(waiting, (-best[0], first, best[1], last))

    add(0, len(found) - 1)
    kept: list[int] = []
    while waiting and len(kept) < most:
        _, first, split, last = heapq.heappop(waiting)
        kept.append(split)
        add(first, split)
        add(split + 1, last)
    at = np.array(kept, np.int64)
    return np.unique(np.concatenate((found[at], found[at + 1])))


def _split(rows: NDArray[np.int64], positives: Float, first: int, last: int, least: int) -> tuple[float, int] | None:
    """How much log-loss the best split of the values first … last saves, and the last value on its left; None where none saves any."""
    before_rows, before_positives = (0, 0.0) if first == 0 else (rows[first - 1], positives[first - 1])
    n, k = rows[first : last + 1] - before_rows, positives[first : last + 1] - before_positives
    allowed = np.flatnonzero((n[:-1] >= least) & (n[-1] - n[:-1] >= least))
    if not len(allowed):
        return None
    left, left_positives = n[allowed].astype(np.float64), k[allowed]
    gain = _loss(n[-1], k[-1]) - _loss(left, left_positives) - _loss(n[-1] - left, k[-1] - left_positives)
    best = int(gain.argmax())
    return (float(gain[best]), first + int(allowed[best])) if gain[best] > 1e-9 * n[-1] else None


def _loss(n: Float | np.int64, k: Float | np.float64) -> Float:
    """Log-loss of n rows of which k are positive, all told their share."""
    share = np.asarray(k / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(share > 0, share * np.log(share), 0.0) + np.where(share < 1, (1 - share) * np.log1p(-share), 0.0)
    return np.asarray(-n * each)
