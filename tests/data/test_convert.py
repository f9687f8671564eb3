"""A raw value is read exactly or not at all; an amount may be rounded, and is then counted (test_numbers.py)."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from trmfin.data.convert import converted, expectation, shown, stripped

UTC_TIME = pl.Datetime("us", "UTC")


def read(values: list[Any], dtype: pl.DataType) -> list[Any]:
    return converted(stripped(pl.Series("x", values, strict=False)), dtype).values.to_list()


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (pl.Int64(), ["1", " 2 ", "+7", "-3", "3.0", "3.5", "1_0", "", "9" * 30], [1, 2, 7, -3, 3, None, None, None, None]),
        (pl.Int64(), ["1e3", "1E+03", "1.5e1", "20e-1", "1.55e1", "1e400", "1e-400"], [1000, 1000, 15, 2, None, None, None]),
        (pl.Int64(), [1.0, 2.5, float("nan"), float("inf"), 1e300], [1, None, None, None, None]),
        (pl.Int64(), [Decimal("1.00"), Decimal("1.50")], [1, None]),
        (pl.Int8(), [300, 1], [None, 1]),
        (pl.Int64(), [date(2024, 1, 1)], [None]),
        (pl.Float64(), ["1", ".5", "1e3", "1,5", "x"], [1.0, 0.5, 1000.0, None, None]),
        (pl.Float64(), [True, False], [1.0, 0.0]),
        (pl.Float64(), [timedelta(1)], [None]),
        (
            pl.Decimal(38, 2),
            ["1", "1.5", "1.550", "-.5", ".", "1,5"],
            [1, Decimal("1.5"), Decimal("1.55"), Decimal("-.5"), None, None],
        ),
        (pl.Decimal(38, 2), [1.1, float("nan")], [Decimal("1.1"), None]),
        (pl.Decimal(38, 2), [True], [None]),
        (
            pl.Date(),
            ["2024-01-02", "2024-02", "2024-02-30", "02.01.2024", "20240102"],
            [date(2024, 1, 2), date(2024, 2, 1), None, None, None],
        ),
        (pl.Date(), ["2024-01-02T00:00:00", "2024-01-02 01:00"], [date(2024, 1, 2), None]),
        (pl.Date(), [datetime(2024, 1, 2), datetime(2024, 1, 2, 3)], [date(2024, 1, 2), None]),
        (pl.Date(), [20240102], [None]),
        (
            UTC_TIME,
            ["2024-01-02T03:04:05Z", "2024-01-02 03:04", "2024-01-02"],
            [datetime(2024, 1, 2, *t, tzinfo=UTC) for t in ((3, 4, 5), (3, 4), ())],
        ),
        (UTC_TIME, ["2024-01-02T03:04:05+02:00", "2024-01-02T25:00:00", "x"], [datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC), None, None]),
        (UTC_TIME, [datetime(2024, 1, 2)], [datetime(2024, 1, 2, tzinfo=UTC)]),
        (pl.Datetime("us"), ["2024-01-02T03:04:05+02:00"], [datetime(2024, 1, 2, 1, 4, 5)]),
        (pl.Datetime("ns", "UTC"), ["9000-01-01T00:00:00Z"], [None]),
        (pl.Boolean(), ["true", "No", "1", "x"], [True, False, True, None]),
        (pl.Boolean(), [1, 0, 2], [True, False, None]),
        (pl.String(), [1.0, 2.5, 3e20], ["1", "2.5", "3e+20"]),
        (pl.String(), [datetime(2024, 1, 2), datetime(2024, 1, 2, 3)], ["2024-01-02", "2024-01-02T03:00:00.000000"]),
        (pl.Enum(["a", "b"]), ["a", "c"], ["a", None]),
        (pl.Int64(), [[1], [2]], [None, None]),
        (pl.String(), [b"x"], [None]),
        (pl.Duration("us"), ["1"], [None]),
        (pl.Int64(), [None], [None]),
    ],
)
def test_a_value_is_read_exactly_or_becomes_null(dtype: pl.DataType, values: list[Any], expected: list[Any]) -> None:
    assert read(values, dtype) == expected


def test_not_a_number_stays_in_a_float_column_for_the_schema_to_judge() -> None:
    assert [str(value) for value in read(["nan", "inf", "1e400"], pl.Float64())] == ["nan", "inf", "inf"]


def test_a_year_that_python_cannot_hold_becomes_null() -> None:
    days = pl.Series("x", [0, 10_000_000, -10_000_000]).cast(pl.Date)
    assert converted(days, pl.Date()).values.to_list() == [date(1970, 1, 1), None, None]
    assert converted(days, UTC_TIME).values.to_list() == [datetime(1970, 1, 1, tzinfo=UTC), None, None]
    assert read(["-001-01-01", "9999-12-31"], pl.Date()) == [None, None]


def test_shown_values_are_short_quoted_and_free_of_control_characters() -> None:
    assert shown(pl.Series(["a\x1b[1m\n b", "x" * 50, None])).to_list() == ["'a?[1m? b'", "'" + "x" * 40 + "…'", None]
    assert shown(pl.Series([[1], None])).to_list() == ["a List(Int64)", None]


def test_an_expectation_is_in_words() -> None:
    assert expectation(pl.Int8()) == "an integer"
    assert expectation(pl.Decimal(18, 2)) == "a number like 1234.50, within ±1e16"
    assert expectation(pl.Decimal(38, 0)) == "a number like 1234, within ±1e38"
    assert expectation(pl.Enum(["a", "b"])) == "one of a, b"
    assert expectation(UTC_TIME).startswith("a time like")
