"""Bands and cut-offs of scores. Higher is riskier."""

import numpy as np
import pytest

from trmfin.learn.policy import Costs, Policy
from trmfin.scoring.thresholds import band_counts, band_table, bands, cutoff_from_capacity, flagged

POLICY = Policy(bands=(("low", 0.1), ("medium", 0.3), ("high", 1.0)), cutoff=0.3)


def test_a_score_belongs_to_the_first_band_whose_end_it_does_not_exceed() -> None:
    scores = np.array([0.0, 0.1, 0.100001, 0.3, 0.31, 1.0, np.nan])
    assert bands(scores, POLICY).tolist() == ["low", "low", "medium", "medium", "high", "high", None]


def test_bands_are_counted_and_shared_out() -> None:
    counts = band_counts(np.array([0.05, 0.2, 0.9, 0.95, np.nan]), POLICY)
    table = band_table(counts, 5, POLICY)
    assert counts == (1, 1, 2)
    assert [(line.name, line.rows, line.share) for line in table] == [("low", 1, 0.2), ("medium", 1, 0.2), ("high", 2, 0.4)]


def test_no_scores_fill_no_band() -> None:
    assert [line.share for line in band_table(band_counts(np.zeros(0), POLICY), 0, POLICY)] == [0, 0, 0]


def test_a_score_at_the_cutoff_is_flagged_and_no_score_never_is() -> None:
    assert flagged(np.array([0.29, 0.3, 0.31, np.nan]), POLICY).tolist() == [False, True, True, False]


def test_the_cutoff_that_costs_least_is_where_both_errors_cost_the_same() -> None:
    cutoff = Costs(false_negative=9, false_positive=1).cutoff
    assert cutoff == pytest.approx(0.1)
    assert cutoff * 9 == pytest.approx((1 - cutoff) * 1)


@pytest.mark.parametrize(
    ("scores", "capacity", "flags"),
    [([0.1, 0.5, 0.9], 2, 2), ([0.1, 0.5, 0.5, 0.9], 2, 1), ([0.5, 0.5], 1, 0), ([0.1, np.nan], 5, 1), ([], 3, 0), ([1.0, 1.0], 1, 0)],
)
def test_a_capacity_is_never_exceeded_and_ties_are_not_torn(scores: list[float], capacity: int, flags: int) -> None:
    values = np.array(scores, dtype=float)
    assert (values >= cutoff_from_capacity(values, capacity)).sum() == flags <= capacity
