"""Random numbers that are a function of what they are for."""

import numpy as np
import pytest

from trmfin.puzzles.chance import uniform


def test_a_rows_numbers_depend_on_seed_and_row_alone() -> None:
    together = uniform(3, [5, 0, 2**40], 4)
    assert np.array_equal(uniform(3, [2**40], 4), together[2:]) and np.array_equal(uniform(3, [0, 5], 2), together[[1, 0], :2])
    assert not np.array_equal(uniform(4, [5], 4), together[:1])


@pytest.mark.parametrize("seed", [0, 1, 10**6])
def test_numbers_are_spread_evenly_over_rows_and_places(seed: int) -> None:
    found = uniform(seed, np.arange(4000), 5)
    assert found.min() >= 0 and found.max() < 1
    for place in range(5):
        counts = np.histogram(found[:, place], bins=10, range=(0, 1))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 28  # chi-squared with 9 degrees: one in a thousand
    assert np.abs(np.corrcoef(found.T) - np.eye(5)).max() < 0.07
