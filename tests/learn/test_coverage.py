"""The area under the risk–coverage curve, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trmfin.errors import DataError
from trmfin.learn.coverage import aurc, compared


def by_definition(wrong: np.ndarray, doubt: np.ndarray) -> float:
    """The mean, over all cases, of the share of mistakes among those that are no less sure."""
    return float(np.mean([wrong[doubt <= here].mean() for here in doubt]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_area_is_the_mean_risk_over_all_coverages(cases: list[tuple[bool, int]]) -> None:
    wrong, doubt = np.array([c[0] for c in cases], float), np.array([c[1] for c in cases], float)
    assert aurc(wrong, doubt) == pytest.approx(by_definition(wrong, doubt))


def test_a_signal_that_knows_puts_mistakes_last_and_one_that_knows_nothing_has_the_overall_risk() -> None:
    wrong = np.repeat([0.0, 1.0], [900, 100])
    assert aurc(wrong, wrong) == pytest.approx(0.1 * 0.1), "all 100 mistakes come in one run, at full coverage"
    assert aurc(wrong, np.zeros(1000)) == pytest.approx(0.1)
    assert aurc(wrong, -wrong) > 0.1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_weight_is_how_often_a_case_counts(cases: list[tuple[bool, int, int]]) -> None:
    wrong, doubt, times = (np.array([c[part] for c in cases], float) for part in range(3))
    if times.sum():
        again = times.astype(int)
        assert aurc(wrong, doubt, times) == pytest.approx(aurc(np.repeat(wrong, again), np.repeat(doubt, again)))


def test_signals_are_compared_on_the_same_draws() -> None:
    random = np.random.default_rng(0)
    wrong = (random.random(600) < 0.2).astype(float)
    good, bad = wrong + random.random(600), random.random(600)
    found = compared(wrong, {"good": good, "bad": bad, "again": bad}, np.arange(600) // 2, against="bad")
    assert found["good"][1].high < 0, "better than the other beyond chance"
    assert found["bad"][1].value == found["bad"][1].low == found["bad"][1].high == 0
    assert found["again"] == found["bad"]
    assert found["good"][0].low < found["good"][0].value < found["good"][0].high


@pytest.mark.parametrize(
    ("wrong", "doubt", "said"), [([1, 0], [0.1], "shapes"), ([], [], "shapes"), ([1, 0], [np.nan, 0.1], "1 of 2 doubts are no finite")]
)
def test_what_cannot_be_put_in_order_is_refused(wrong: list[float], doubt: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        aurc(wrong, doubt)
