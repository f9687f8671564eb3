"""Amounts: exact in minor units however they are written, rounded half-even where they have more decimals, and never in silence."""

import time
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trmfin.data.numbers import decimals

CENTS = pl.Decimal(18, 2)


def read(values: list[Any] | pl.Series, dtype: pl.Decimal = CENTS) -> list[tuple[str | None, bool]]:
    """(amount as text, whether it was rounded) of each value."""
    made = decimals(pl.Series("x", values), dtype)
    rounded = [False] * len(made.values) if made.rounded is None else made.rounded.to_list()
    return list(zip(made.values.cast(pl.String), rounded, strict=True))


@pytest.mark.parametrize(
    ("text", "amount", "rounded"),
    [
        ("3961.12987", "3961.13", True),
        ("1.005", "1.00", True),
        ("1.015", "1.02", True),
        ("-1.025", "-1.02", True),
        ("1.005" + "0" * 50, "1.00", True),
        ("1.005" + "0" * 50 + "1", "1.01", True),
        ("0.995", "1.00", True),
        ("-0.001", "0.00", True),
        ("1.500000", "1.50", False),
        ("1e5", "100000.00", False),
        ("1E+05", "100000.00", False),
        ("1.5e3", "1500.00", False),
        ("12340e-3", "12.34", False),
        ("12345e-3", "12.34", True),
        ("1e-3", "0.00", True),
        ("0e-3", "0.00", False),
        ("9999999999999999.99", "9999999999999999.99", False),
    ],
)
def test_text_is_rounded_half_even_on_its_own_digits_and_only_lost_digits_count(text: str, amount: str, rounded: bool) -> None:
    assert read([text]) == [(amount, rounded)]


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "1e-400", "0." + "0" * 400 + "1", "9999999999999999.995", "1e16", "nan", "inf", "1e", "1e2e3"]
)
def test_what_no_float_or_no_column_holds_is_no_amount(text: str) -> None:
    assert read([text, "1.005"]) == [(None, False), ("1.00", True)]


@pytest.mark.parametrize(
    ("number", "amount", "rounded"),
    [
        (0.1 + 0.2, "0.30", True),
        (3961.1299999, "3961.13", True),
        (1.005, "1.00", True),  # the float lies below, what was written lies between
        (1.015, "1.02", True),
        (1.1, "1.10", False),
        (-0.0, "0.00", False),
        (5e-324, "0.00", True),
        (999_999_999_999.99, "999999999999.99", False),
        (1e16, None, False),
        (1e300, None, False),
        (float("nan"), None, False),
        (float("-inf"), None, False),
    ],
)
def test_a_float_stands_for_its_shortest_decimal_form(number: float, amount: str | None, rounded: bool) -> None:
    assert read([number]) == [(amount, rounded)]
    assert read([1.25, None, number, 0.125]) == [("1.25", False), (None, False), (amount, rounded), ("0.12", True)]


def test_a_float32_stands_for_its_own_shortest_form_not_for_that_of_the_double() -> None:
    assert read(pl.Series([1.1, 0.3, 3961.13, 2.675, None], dtype=pl.Float32)) == [
        *(("1.10", False), ("0.30", False), ("3961.13", False), ("2.68", True), (None, False))
    ]


def test_a_finer_decimal_is_rounded_and_a_coarser_one_is_not() -> None:
    assert read([Decimal("1.550"), Decimal("1.555"), Decimal("1.565")]) == [("1.55", False), ("1.56", True), ("1.56", True)]
    assert read([Decimal("1.5")]) == [("1.50", False)] and read([2]) == [("2.00", False)] and read([2**62]) == [(None, False)]


def test_a_scale_of_none_rounds_to_whole_units() -> None:
    assert read(["5", "5.0", "4.5", "5.5"], pl.Decimal(18, 0)) == [("5", False), ("5", False), ("4", True), ("6", True)]


def test_absurd_exponents_cost_no_time() -> None:
    absurd = ["1e999999999", "1e-999999999", "1e" + "9" * 1000, "0e-" + "9" * 40, "1" * 100_000 + "e9", "0." + "0" * 100_000 + "1"]
    started = time.perf_counter()
    assert {amount for amount, _ in read(absurd * 10)} == {None}
    assert time.perf_counter() - started < 5


@settings(max_examples=50, deadline=None)
@given(st.integers(-(10**14), 10**14))
def test_an_amount_gives_the_same_minor_units_however_it_is_written(cents: int) -> None:
    exact = Decimal(cents).scaleb(-2)
    written: list[pl.Series] = [pl.Series([f"{exact:f}"]), pl.Series([f"{exact:e}"]), pl.Series([f"{cents}E-2"]), pl.Series([float(exact)])]
    if cents % 100 == 0:
        written += [pl.Series([cents // 100]), pl.Series([str(cents // 100)])]
    if Decimal(str(np.float32(cents / 100))) == exact:
        written.append(pl.Series([cents / 100], dtype=pl.Float32))
    for series in written:
        made = decimals(series, CENTS)
        assert made.rounded is None and (made.values * 100).cast(pl.Int64).to_list() == [cents], series


@settings(max_examples=50, deadline=None)
@given(st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,30})?(e[+-]?[0-9]{1,2})?", fullmatch=True, alphabet="-.e+0123456789"))
def test_text_is_read_as_the_decimal_module_reads_it(text: str) -> None:
    number = Decimal(text)
    assume(abs(number) < Decimal(10) ** 15)
    cents = Context(prec=200, rounding=ROUND_HALF_EVEN).quantize(number, Decimal("0.01"))
    made = decimals(pl.Series([text]), CENTS)
    assert (made.values[0], made.rounded is not None) == (cents, cents != number)
