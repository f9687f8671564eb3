"""What early halting costs and saves, on log-odds small enough to read."""

import numpy as np
import pytest

from trmfin.errors import DataError
from trmfin.learn.halting import EPSILONS, cheapest_epsilon, halted, steps_used

ODDS = np.array([[0.0, 0.5, 0.51, 0.9], [1.0, 1.03, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]])  # moved by .5 .01 .39, by .03 .97 1, by 1 1 1


@pytest.mark.parametrize(("epsilon", "steps"), [(0.0, [4, 4, 4]), (0.02, [3, 4, 4]), (0.05, [3, 2, 4]), (0.6, [2, 2, 4]), (2.0, [2, 2, 2])])
def test_a_sample_stops_at_the_first_step_that_moves_it_by_less_than_epsilon(epsilon: float, steps: list[int]) -> None:
    assert steps_used(ODDS, epsilon).tolist() == steps
    assert halted(ODDS, epsilon).tolist() == [row[step - 1] for row, step in zip(ODDS, steps, strict=True)]


def test_where_there_is_one_step_it_is_taken() -> None:
    assert steps_used(ODDS[:, :1], 0.2).tolist() == [1, 1, 1] and halted(ODDS[:, :1], 0.2).tolist() == [0, 1, 0]


def world(last: float) -> tuple[np.ndarray, np.ndarray]:
    """1,000 samples ranked perfectly; step 2 moves the middle two by .03 and step 3 swaps them right, by `last`."""
    odds = np.linspace(-4, 4, 1000)
    early = odds.copy()
    early[[499, 500]] = odds[[500, 499]]
    return np.stack([early - 0.03, early, early + last * np.sign(odds - early)], axis=1), (np.arange(1000) >= 500).astype(float)


def test_the_largest_epsilon_within_the_tolerance_is_the_cheapest() -> None:
    odds, y = world(last=0.5)
    assert cheapest_epsilon(odds, y) == EPSILONS[-1]  # a swapped pair of 250,000 costs nothing to speak of
    assert cheapest_epsilon(odds, y, tolerance=0.0) == 0.02  # .05 stops at step 2, before the swap
    assert cheapest_epsilon(-odds, y, tolerance=0.0) == EPSILONS[-1]  # where further steps make it worse, halting costs nothing


def test_the_cost_is_that_of_the_mean_over_folds() -> None:
    odds, y = world(last=0.5)
    middle = (np.abs(np.arange(1000) - 499.5) < 5).astype(int)  # a fold of ten rows, where the pair is one of 25
    assert cheapest_epsilon(odds, y, folds=middle) == 0.02
    assert cheapest_epsilon(odds, y, tolerance=0.05, folds=middle) == EPSILONS[-1]


@pytest.mark.parametrize(
    ("odds", "y", "said"),
    [
        (np.zeros(3), np.zeros(3), "shape \\(3,\\); expected \\(samples, steps\\)"),
        (np.zeros((0, 2)), np.zeros(0), "at least one of each"),
        (np.array([[0, np.nan], [1, 1]]), np.array([0, 1]), "1 of 2 rows have NaN"),
        (ODDS, np.zeros(2), "expected one y and fold a row"),
        (ODDS, np.zeros(3), "no row has y = 1"),
    ],
)
def test_unusable_log_odds_are_named(odds: np.ndarray, y: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        cheapest_epsilon(odds, y)
