"""Exact amounts: text, floats and other decimals as a Decimal of the schema's scale, rounded half-even and never in silence."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

EXACT_FLOAT = 2.0**53  # every integer up to here is a float of its own
SCIENTIFIC = "[eE]"
NOT_ZERO = "^[^eE]*[1-9]"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A column as its type. `rounded`: (N,) Boolean, which cells lost decimals that were not zero; None where none did."""

    values: pl.Series  # (N,), null where a value is not one of the type
    rounded: pl.Series | None = None


def decimals(raw: pl.Series, dtype: pl.Decimal) -> Converted:
    """Numbers or stripped text as decimals, null where they are none or beyond the precision. (N,) → (N,).

    A float stands for its shortest decimal form (of a float32, the float32's own): what its writer meant, not what binary made
    of it. Text may be written as `1.5e3`; a number so small that no float holds it (1e-400) is none.
    """
    if raw.dtype.is_float():
        return _of_floats(raw, dtype)
    if isinstance(raw.dtype, pl.Decimal) and raw.dtype.scale > dtype.scale:
        return _of_text(raw.cast(pl.String), dtype)
    return _of_text(raw, dtype) if raw.dtype == pl.String else Converted(values=raw.cast(dtype, strict=False))


def whole_numbers(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Text as integers, null where it is not wholly one: "3", "3.0" and "3e2" are, "3.5" is not."""
    whole = text.cast(dtype, strict=False)
    if whole.null_count() == text.null_count():
        return whole
    near = decimals(text, pl.Decimal(38, 0))
    exact = near.values if near.rounded is None else near.values.set(near.rounded, None)
    return whole.zip_with(whole.is_not_null(), exact.cast(dtype, strict=False))


def _of_floats(raw: pl.Series, dtype: pl.Decimal) -> Converted:
    """Float64 by arithmetic where that is exact for the whole column, which it is for clean files; by their text otherwise."""
    plain = min(EXACT_FLOAT, 10.0**dtype.precision - 1) / 10**dtype.scale  # below it a float64 is at most one such decimal
    finite = raw.set(~raw.is_finite().fill_null(False), None)
    if raw.dtype == pl.Float64 and (finite.abs() < plain).all():
        amounts = finite.cast(dtype, strict=False)
        if (amounts.cast(pl.Float64) == finite).all():
            return Converted(values=amounts)
    return _of_text(finite.cast(pl.String), dtype)


def _of_text(text: pl.Series, dtype: pl.Decimal) -> Converted:
    amounts = text.cast(dtype, strict=False)  # polars reads text exactly and rounds half-even
    plain = text.str.contains(rf"^[+-]?\d*\.?\d{{0,{dtype.scale}}}0*$")
    if plain.all():
        return Converted(values=amounts)
    vanished = (text.cast(pl.Float64, strict=False) == 0) & text.str.contains(NOT_ZERO)
    amounts = amounts.set(vanished.fill_null(False), None)
    rounded = ~plain & amounts.is_not_null()
    if (scientific := (rounded & text.str.contains(SCIENTIFIC)).arg_true()).len():
        pairs = zip(text[scientific], amounts[scientific], strict=True)
        rounded = rounded.scatter(scientific, [Decimal(written) != amount for written, amount in pairs])
    return Converted(values=amounts, rounded=rounded.fill_null(False) if rounded.any() else None)
