"""Named transforms: exact types first, float32 last."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from trmfin.sequences import transforms
from trmfin.sequences.transforms import ABSENT, SECOND, TRANSFORMS


def cents(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_money_becomes_major_units_and_absent_money_nan() -> None:
    np.testing.assert_array_equal(transforms.number("number", cents(12345, ABSENT)), np.array([123.45, np.nan], np.float32))


def test_signed_log_keeps_the_sign() -> None:
    values = transforms.number("signed_log", np.array([-(math.e - 1), 0.0, math.e - 1, np.nan]))
    np.testing.assert_allclose(values, [-1, 0, 1, np.nan], rtol=1e-6)


def test_a_difference_of_one_cent_survives_where_float32_loses_it() -> None:
    large = 10**12
    assert np.float32(large / 100) == np.float32((large + 1) / 100)
    assert transforms.difference(cents(large + 1), cents(large)).tolist() == [np.float32(0.01)]


def test_equality_of_money_is_exact() -> None:
    assert transforms.same(cents(2**60, 2**60, ABSENT), cents(2**60, 2**60 + 1, 5)).tolist() == [2, 1, 0]


def test_equality_of_plain_numbers_knows_absence() -> None:
    assert transforms.same(np.array([1.0, 1.0, np.nan]), np.array([1.0, 2.0, np.nan])).tolist() == [2, 1, 0]


def test_a_ratio_is_absent_where_the_other_is_zero_or_absent() -> None:
    value = transforms.ratio(cents(5, 5, ABSENT, 0, 5), cents(0, ABSENT, 5, 0, -10))
    np.testing.assert_array_equal(value, np.array([np.nan, np.nan, np.nan, np.nan, -0.5], np.float32))


def test_a_ratio_never_becomes_infinite() -> None:
    assert np.isfinite(transforms.ratio(np.array([1e300]), np.array([1e-300]))).all()


def test_differences_of_plain_numbers_stay_finite() -> None:
    assert transforms.difference(np.array([3e38, 2.5]), np.array([-3e38, 1.0])).tolist() == [float(np.finfo(np.float32).max), 1.5]


def test_a_gap_is_the_signed_log_of_seconds() -> None:
    gap = transforms.gap_seconds(cents(0, 10 * SECOND, ABSENT, 0), cents(9 * SECOND, 0, 5, ABSENT))
    np.testing.assert_allclose(gap, [math.log(10), -math.log(11), np.nan, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("transform", "when", "value"),
    [
        ("hour_of_day", datetime(1969, 12, 31, 23, 59, tzinfo=UTC), "23"),
        ("hour_of_day", datetime(2024, 2, 29, 0, 0, tzinfo=UTC), "0"),
        ("day_of_week", datetime(2024, 1, 1, tzinfo=UTC), "0"),
        ("day_of_week", datetime(1969, 12, 28, 12, tzinfo=UTC), "6"),
        ("month_of_year", datetime(1969, 12, 31, tzinfo=UTC), "12"),
        ("month_of_year", datetime(2024, 1, 1, tzinfo=UTC), "1"),
    ],
)
def test_calendar_codes_name_the_utc_hour_weekday_and_month(transform: str, when: datetime, value: str) -> None:
    position = transforms.calendar(transform, cents(int(when.timestamp()) * SECOND, ABSENT))
    assert TRANSFORMS[transform].values[position[0]] == value and position[1] == -1
