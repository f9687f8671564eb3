"""A raw column as the type its schema asks for: exactly, or not at all. A value that cannot be read exactly becomes null.

Text is stripped first and blank text is null. No value is cut or guessed: "3.0" and "3e0" are the integer 3, "3.5" is none;
"02.01.2024" is no date. Only a decimal column rounds, half-even to its scale, and says where: "1.555" is the amount 1.56.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from trmfin.data.numbers import EXACT_FLOAT, Converted, decimals, whole_numbers

TRUE = ("true", "yes", "1")
FALSE = ("false", "no", "0")
TIMES = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
EPOCH = date(1970, 1, 1)
FIRST, LAST = date(2, 1, 1), date(9998, 12, 31)  # beyond them Python has no dates, in any time zone
SHOWN = 40  # characters of a value or a name that a message repeats


def stripped(raw: pl.Series) -> pl.Series:
    """Text without blanks around it, null where nothing is left; any other column as it is."""
    if raw.dtype != pl.String:
        return raw.cast(pl.String) if raw.dtype in (pl.Categorical, pl.Enum) else raw
    text = raw.str.strip_chars()
    return text.set(text == "", None)


def legible(column: pl.Series) -> pl.Series:
    """A column of dates or times as text where one of them lies beyond any calendar; any other column as it is."""
    if column.dtype not in (pl.Date, pl.Datetime) or (safe := _in_calendar(column)).null_count() == column.null_count():
        return column
    return _texts(safe).zip_with(safe.is_not_null() | column.is_null(), "beyond the calendar: " + column.to_physical().cast(pl.String))


def converted(raw: pl.Series, dtype: pl.DataType) -> Converted:
    """`raw` (already `stripped`) as `dtype`, null where its value is none of that type. (N,) → (N,).

    More decimals than a decimal column's scale are rounded, see `decimals`; any other value is read exactly or is null.
    NaN and infinities stay in a float column, for its schema to judge; in any other they are null.
    """
    if isinstance(dtype, pl.Decimal) and raw.dtype != dtype and (raw.dtype.is_numeric() or raw.dtype == pl.String):
        return decimals(raw, dtype)
    return Converted(values=_exactly(raw, dtype))


def _exactly(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    if raw.dtype == dtype:
        return _in_calendar(raw) if raw.dtype in (pl.Date, pl.Datetime) else raw
    if raw.dtype == pl.Null:
        return raw.cast(dtype)
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        return _nothing(raw, dtype)
    for kind, read in (
        (dtype.is_integer(), _integers),
        (dtype.is_float(), _floats),
        (dtype == pl.Date, _dates),
        (dtype == pl.Datetime, _times),
        (dtype == pl.Boolean, _booleans),
        (dtype == pl.String, lambda raw, _: _texts(raw)),
        (dtype in (pl.Categorical, pl.Enum), lambda raw, dtype: _texts(raw).cast(dtype, strict=False)),
    ):
        if kind:
            return read(raw, dtype)
    return _nothing(raw, dtype)


def expectation(dtype: pl.DataType) -> str:
    """What a value of `dtype` looks like, in words for a message."""
    if isinstance(dtype, pl.Decimal):
        return f"a number like {1234.5:.{dtype.scale}f}, within ±1e{dtype.precision - dtype.scale}"
    if isinstance(dtype, pl.Enum):
        return "one of " + ", ".join(dtype.categories.head(8)) + (", …" if len(dtype.categories) > 8 else "")
    if dtype.is_integer():
        return "an integer"
    if dtype.is_float():
        return "a number"
    words = {"Date": "a date like 2024-01-31", "Datetime": "a time like 2024-01-31T23:59:59Z", "Boolean": "true or false", "String": "text"}
    return words.get(str(dtype.base_type()), str(dtype))


def shown(raw: pl.Series) -> pl.Series:
    """Values as a message may repeat them: quoted, at most `SHOWN` characters, no control characters. Null stays null."""
    text = stripped(raw)
    if text.dtype.is_nested() or text.dtype in (pl.Binary, pl.Object):
        return pl.Series(raw.name, [None if absent else f"a {raw.dtype}" for absent in raw.is_null()], pl.String)
    plain = _texts(text).str.replace_all(r"\p{C}", "?")
    cut = plain.str.slice(0, SHOWN)
    return pl.select("'" + cut + pl.when(plain.str.len_chars() > SHOWN).then(pl.lit("…")).otherwise(pl.lit("")) + "'").to_series()


def quoted(name: str) -> str:
    """A column's name as a message may repeat it: quoted, at most `SHOWN` characters."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def is_number(text: pl.Series) -> pl.Series:
    """Whether a text reads as a number. (N,) Boolean; null where the text is."""
    return text.cast(pl.Float64, strict=False).is_not_null()


def _integers(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    if raw.dtype == pl.String:
        return whole_numbers(raw, dtype)
    if raw.dtype.is_float():
        exact = raw.is_finite() & (raw == raw.floor()) & (raw.abs() <= EXACT_FLOAT)
        return _where(exact, raw).cast(dtype, strict=False)
    if raw.dtype.is_decimal():
        whole = raw.cast(dtype, strict=False)
        return _where(whole.cast(raw.dtype, strict=False) == raw, whole)
    return raw.cast(dtype, strict=False) if raw.dtype.is_integer() or raw.dtype == pl.Boolean else _nothing(raw, dtype)


def _floats(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    return _nothing(raw, dtype) if raw.dtype.is_temporal() else raw.cast(dtype, strict=False)


def _dates(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    if raw.dtype == pl.String:
        dates = raw.str.to_date("%Y-%m-%d", strict=False)
        if dates.null_count() > raw.null_count():  # a month stands for its first day
            dates = dates.zip_with(dates.is_not_null(), (raw + "-01").str.to_date("%Y-%m-%d", strict=False))
        if dates.null_count() > raw.null_count():
            dates = dates.zip_with(dates.is_not_null(), _midnights(_times(raw, pl.Datetime("us", "UTC"))))
        return _in_calendar(dates)
    return _in_calendar(_midnights(raw)) if raw.dtype == pl.Datetime else _nothing(raw, dtype)


def _midnights(times: pl.Series) -> pl.Series:
    dates = times.dt.date()
    return _where(times.dt.time() == pl.select(pl.time()).item(), dates)


def _times(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    """A time without a zone is UTC."""
    unit, zone = (dtype.time_unit, dtype.time_zone) if isinstance(dtype, pl.Datetime) else ("us", None)
    if raw.dtype == pl.String:
        times = _read_times(raw)
    elif raw.dtype == pl.Date or (isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is None):
        times = _in_calendar(raw).cast(pl.Datetime("us"), strict=False).dt.replace_time_zone("UTC")
    elif raw.dtype == pl.Datetime:
        times = raw.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    else:
        return _nothing(raw, dtype)
    times = _in_calendar(times)
    if unit == "ns":
        times = _where(times.dt.year().is_between(1678, 2261), times)  # what 64 bits of nanoseconds hold
    times = times.dt.cast_time_unit(unit)
    return times.dt.convert_time_zone(zone) if zone else times.dt.replace_time_zone(None)


def _read_times(text: pl.Series) -> pl.Series:
    iso = text.str.replace(r"^(\d{4}-\d\d?-\d\d?) ", "${1}T")
    times = _nothing(text, pl.Datetime("us", "UTC"))
    for pattern in TIMES:
        if times.null_count() == text.null_count():
            break
        times = times.zip_with(times.is_not_null(), iso.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False))
    return times


def _in_calendar(times: pl.Series) -> pl.Series:
    """Dates and times within FIRST and LAST, others null; compared as integers, since polars stops on years beyond 262143."""
    per_day = 1 if times.dtype == pl.Date else 86_400 * 10 ** {"ms": 3, "us": 6, "ns": 9}[getattr(times.dtype, "time_unit", "us")]
    low, high = ((day - EPOCH).days * per_day for day in (FIRST, LAST))
    if low < -(2**63):
        return times  # nanoseconds cannot leave the calendar
    return _where(times.to_physical().is_between(low, high), times)


def _booleans(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    if raw.dtype.is_temporal():
        return _nothing(raw, dtype)
    words = _texts(raw).str.to_lowercase()
    return _where(words.is_in([*TRUE, *FALSE]), words.is_in(TRUE))


def _texts(raw: pl.Series) -> pl.Series:
    """Numbers that are whole lose their ".0"; dates and times are written as ISO 8601."""
    if raw.dtype.is_float():
        whole = raw.is_finite() & (raw == raw.floor()) & (raw.abs() <= EXACT_FLOAT)
        return _where(whole, raw).cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole.fill_null(False), raw.cast(pl.String))
    if raw.dtype == pl.Datetime:
        day = raw.dt.strftime("%Y-%m-%d")
        return day.zip_with(raw.dt.time() == pl.select(pl.time()).item(), raw.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
    return raw.dt.to_string("iso") if raw.dtype == pl.Duration else raw.cast(pl.String, strict=False)


def _where(condition: pl.Series, values: pl.Series) -> pl.Series:
    """`values` where the condition holds, else null."""
    return values.set(~condition.fill_null(False), None)


def _nothing(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(raw.name, [None], dtype).new_from_index(0, len(raw))
