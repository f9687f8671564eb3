"""Random numbers that are a function of what they are for, so that a sample's look never depends on its batch or on a resume."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniform(seed: int, rows: ArrayLike, count: int) -> NDArray[np.float64]:
    """(B, count) numbers in [0, 1); each row's are a function of (seed, rows[i]) alone. Source: Steele et al. 2014, SplitMix64.

    seed: >= 0; rows: (B,) whole numbers >= 0.
    """
    start = _mixed(np.asarray(rows, np.uint64) * GOLDEN + _mixed(np.array([seed], np.uint64)))  # (B,)
    bits = _mixed(start[:, None] + GOLDEN * np.arange(1, count + 1, dtype=np.uint64))
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * SECOND
    return np.asarray(bits ^ (bits >> np.uint64(31)))
