"""From scores to decisions: bands and cut-offs. Scores lie in [0, 1], higher = riskier; NaN = no score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trmfin.learn.policy import Policy

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BandCount:
    """One line of the bands table."""

    name: str
    upper: float  # highest score of the band
    rows: int
    share: float  # of all rows


def bands(score: Float, policy: Policy) -> NDArray[np.object_]:
    """Name of each score's band: the first whose upper end the score does not exceed; None where the score is NaN. (N,) → (N,)."""
    names = np.array([name for name, _ in policy.bands] + [None], dtype=object)
    return names[_band_index(score, policy)]


def band_counts(score: Float, policy: Policy) -> tuple[int, ...]:
    """How many scores fall in each band, in the policy's order; scores that are NaN fall in none."""
    return tuple(int(n) for n in np.bincount(_band_index(score, policy), minlength=len(policy.bands) + 1)[:-1])


def band_table(counts: tuple[int, ...], rows: int, policy: Policy) -> tuple[BandCount, ...]:
    """The bands with their counts and shares of `rows`, from `band_counts` (which add up over shards)."""
    return tuple(
        BandCount(name=name, upper=upper, rows=count, share=count / max(rows, 1))
        for (name, upper), count in zip(policy.bands, counts, strict=True)
    )


def flagged(score: Float, policy: Policy) -> NDArray[np.bool_]:
    """Which scores reach the policy's cut-off. A NaN never does. (N,) → (N,)."""
    return score >= policy.cutoff


def cutoff_from_capacity(score: Float, capacity: int) -> float:
    """The lowest cut-off that flags at most `capacity` of these scores; above 1 where ties leave no such cut-off in [0, 1]."""
    ranked = np.sort(score[~np.isnan(score)])[::-1]
    if len(ranked) <= capacity:
        return 0.0
    taken = ranked[:capacity]
    distinct = taken[taken > ranked[capacity]]
    return float(distinct[-1]) if len(distinct) else float(np.nextafter(ranked[0], 2.0))


def _band_index(score: Float, policy: Policy) -> NDArray[np.int64]:
    """(N,) position of each score's band; len(bands) where there is no score."""
    index = np.searchsorted([upper for _, upper in policy.bands], score, side="left")
    return np.where(np.isnan(score), len(policy.bands), index).astype(np.int64)
