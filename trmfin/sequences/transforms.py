"""The named ways in which a column becomes what the network sees. Names, never lambdas: a bundle needs no code.

Nothing here is fitted; bin edges and vocabularies are `Fitted`. Money, times and identities are int64 (ABSENT = absent)
and are compared as such; only the result becomes float32. Plain numbers are float64 (NaN = absent).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["money", "number", "time", "text"]
Exact = NDArray[Any]  # int64 or float64

ABSENT = int(np.iinfo(np.int64).min)  # an int64 value that is not there
NEVER = int(np.iinfo(np.int64).max)  # a time that does not come
LARGEST_MONEY = 2**62  # minor units; a difference of two such amounts still fits int64
LARGEST_NUMBER = float(np.finfo(np.float32).max)
MINOR_UNITS = 100  # of one major unit
SECOND = 1_000_000  # times are int64 microseconds since 1970 UTC
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What a transform reads, what it gives and what it may be compared with."""

    gives: Literal["number", "code"]
    meaning: str
    reads: tuple[Kind, ...]  # kinds of column it is defined for; both sides of a comparison are of one kind
    against: tuple[str, ...] = ("",)  # allowed forms of Field.against; a trailing dot stands for any column
    values: tuple[str, ...] = ()  # a code's values where they do not depend on the data


VALUED: tuple[Kind, ...] = ("money", "number")
COMPARED = ("sample.", "previous.")
TRANSFORMS: Mapping[str, Transform] = {
    "number": Transform(gives="number", reads=VALUED, meaning="the value itself; money in major units"),
    "signed_log": Transform(gives="number", reads=VALUED, meaning="sign(v) * log(1 + |v|); money in major units"),
    "ratio": Transform(gives="number", reads=VALUED, against=COMPARED, meaning="the value over another; absent where that is 0 or absent"),
    "difference": Transform(gives="number", reads=VALUED, against=COMPARED, meaning="the value less another; money in major units"),
    "gap_seconds": Transform(
        gives="number",
        reads=("time",),
        against=("as_of", "previous"),
        meaning="sign(s) * log(1 + |s|), s = seconds from this time to as_of, or from the previous event's to this one",
    ),
    "category": Transform(
        gives="code", reads=("text", "number", "money"), meaning="one of the values seen in training; any other is 'unknown'"
    ),
    "hour_of_day": Transform(gives="code", reads=("time",), values=tuple(map(str, range(24))), meaning="hour of a time column, 0-23 UTC"),
    "day_of_week": Transform(gives="code", reads=("time",), values=tuple(map(str, range(7))), meaning="day of a time column, 0 = Monday"),
    "month_of_year": Transform(gives="code", reads=("time",), values=tuple(map(str, range(1, 13))), meaning="month of a time column, 1-12"),
    "same": Transform(
        gives="code",
        reads=("text", "number", "money", "time"),
        against=COMPARED,
        values=("different", "same"),
        meaning="whether the value equals another: 'different' or 'same'",
    ),
}


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sign(v) * log(1 + |v|), any shape; NaN stays NaN."""
    return np.copysign(np.log1p(np.abs(values)), values)


def absent_of(values: Exact) -> float | int:
    """What stands for an absent one among such values."""
    return ABSENT if values.dtype == np.int64 else np.nan


def major_units(values: Exact) -> NDArray[np.float64]:
    """float64 values, NaN = absent; int64 money becomes major units."""
    return _float(values) / MINOR_UNITS if values.dtype == np.int64 else _float(values)


def number(transform: str, values: Exact) -> NDArray[np.float32]:
    """`number` or `signed_log` of a column, any shape; int64 is money."""
    plain = major_units(values)
    return (signed_log(plain) if transform == "signed_log" else plain).astype(np.float32)


def calendar(transform: str, time: Exact) -> NDArray[np.int64]:
    """Position of each time among the transform's `values`; -1 where the time is absent."""
    if transform == "hour_of_day":
        position = time // HOUR % 24
    elif transform == "day_of_week":
        position = (time // DAY + 3) % 7  # 1970-01-01 was a Thursday
    else:
        position = time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12
    return np.where(time == ABSENT, -1, position)


def ratio(value: Exact, other: Exact) -> NDArray[np.float32]:
    """value / other; NaN where either is absent or other is 0. Both of one kind and of shapes that broadcast."""
    below = _float(other)
    with np.errstate(over="ignore"):
        share: NDArray[np.float64] = _float(value) / np.where(below == 0, np.nan, below)
    return np.clip(share, -LARGEST_NUMBER, LARGEST_NUMBER).astype(np.float32)


def difference(value: Exact, other: Exact) -> NDArray[np.float32]:
    """value - other, exactly in minor units for money, then in major units; NaN where either is absent."""
    money = value.dtype == np.int64
    less: NDArray[np.float64] = _exact_difference(value, other) / MINOR_UNITS if money else value - other
    return np.clip(less, -LARGEST_NUMBER, LARGEST_NUMBER).astype(np.float32)


def gap_seconds(earlier: Exact, later: Exact) -> NDArray[np.float32]:
    """signed_log of the seconds from `earlier` to `later`; below 0 where the clock ran backwards, NaN where either is absent."""
    return signed_log(_exact_difference(later, earlier) / SECOND).astype(np.float32)


def same(value: Exact, other: Exact) -> NDArray[np.int64]:
    """0 where either is absent, 1 where they differ, 2 where they are equal."""
    if value.dtype == np.int64:
        known = (value != ABSENT) & (other != ABSENT)
    else:
        known = ~(np.isnan(value) | np.isnan(other))
    return np.where(known, 1 + (value == other), 0)


def _float(values: Exact) -> NDArray[np.float64]:
    if values.dtype == np.float64:
        return values
    plain = values.astype(np.float64)
    plain[values == ABSENT] = np.nan
    return plain


def _exact_difference(value: Exact, other: Exact) -> NDArray[np.float64]:
    plain = np.subtract(value, other).astype(np.float64)
    plain[(value == ABSENT) | (other == ABSENT)] = np.nan
    return plain
