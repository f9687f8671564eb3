"""Random numbers that are a function of what they are for."""

import numpy as np
import pytest

from trmfin.puzzles.chance import uniform


def test_a_rows_numbers_depend_on_seed_and_row_alone() -> None:
    together = uniform(3, [5, 0, 2**40], 4)
    assert np.array_equal(uniform(3, [2**40], 4), together[2:]) and np.array_equal(uniform(3, [0, 5], 2), together[[1, 0], :2])
    assert not np.array_equal(uniform(4, [5], 4), together[:1])


def test_numbers_are_those_of_splitmix64_in_plain_arithmetic() -> None:
    def mixed(bits: int) -> int:
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    for seed, row in ((0, 0), (7, 12_345), (2**63 - 1, 2**63)):
        start = mixed((row * 0x9E3779B97F4A7C15 + mixed(seed)) % 2**64)
        plain = [(mixed((start + place * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53 for place in (1, 2, 3)]
        assert uniform(seed, [row], 3)[0].tolist() == plain


@pytest.mark.parametrize("seed", [0, 1, 10**6])
def test_numbers_are_spread_evenly_over_rows_and_places(seed: int) -> None:
    found = uniform(seed, np.arange(4000), 5)
    assert found.min() >= 0 and found.max() < 1
    for place in range(5):
        counts = np.histogram(found[:, place], bins=10, range=(0, 1))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 28  # chi-squared with 9 degrees: one in a thousand
    assert np.abs(np.corrcoef(found.T) - np.eye(5)).max() < 0.07
