"""Targets: what is to be answered, read from the samples. Only training and evaluation look at them, never a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.sequences.columns import as_codes, microseconds
from trmfin.sequences.task import TOKEN_HEADS, Target, Task
from trmfin.sequences.transforms import LARGEST_NUMBER, NEVER

Float = NDArray[np.float32]
Int = NDArray[np.int64]
IGNORE = -100  # a per-token target that is not asked for
SUM_TOLERANCE = 1e-3  # of a soft distribution's sum about 1


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is to be answered, one entry a target of the task."""

    values: Mapping[str, Float]  # (N,), soft classes (N, K), per token (N, L); NaN (per token: IGNORE) = unknown
    known_at: Mapping[str, Int]  # (N,) when the answer became known; NEVER = unknown


def read_targets(samples: pl.DataFrame, task: Task, tokens: Int, event_ids: pl.Series) -> Targets:
    """Columns `target_NAME` and `target_NAME_known_at` as numbers. A missing column or a null means unknown.

    binary: 0, 1 or a share between. classes, ordinal: a class's name (an integer counts as its decimal name), or for
    classes a list of K shares. quantiles: the value itself. tokens: a list with one class name for each event of the
    sample, in token order; null = not asked. choice: such a list of event_ids of the same sample, "" = none of them,
    which is the leading token. tokens: (N, L) event rows, len(event_ids) on leading and padding; needed per token only.
    Raises DataError on an answer of another form.
    """
    values: dict[str, Float] = {}
    known_at: dict[str, Int] = {}
    for target in task.targets:
        column = f"target_{target.name}"
        per_token = target.head in TOKEN_HEADS
        given = samples[column] if column in samples.columns else pl.Series(column, [None] * len(samples))
        if given.null_count() == len(given):
            values[target.name] = np.full(tokens.shape if per_token else len(samples), IGNORE if per_token else np.nan, np.float32)
        else:
            values[target.name] = _per_token(target, given, tokens, event_ids) if per_token else _single(target, given)
        known_at[target.name] = _known_at(samples, given)
    return Targets(values=values, known_at=known_at)


def _known_at(samples: pl.DataFrame, given: pl.Series) -> Int:
    """(N,) `Prepared` has seen to it that a known answer has the time at which it became known."""
    if given.null_count() == len(given):
        return np.full(len(given), NEVER)
    times = microseconds(samples[f"{given.name}_known_at"]).fill_null(NEVER)
    return np.where(given.is_not_null().to_numpy(), times.to_numpy(), NEVER)


def _single(target: Target, given: pl.Series) -> Float:
    if isinstance(given.dtype, pl.List | pl.Array) and target.head == "classes":
        return _soft(target, given)
    if target.head in ("classes", "ordinal"):
        return _class_places(target, given).cast(pl.Float32).fill_null(np.nan).to_numpy()
    if not (given.dtype.is_numeric() or given.dtype == pl.Boolean):
        raise DataError(f"samples, column {given.name}: {given.dtype}; a {target.head} target is a number")
    value = given.cast(pl.Float64).fill_null(np.nan).to_numpy()
    low, high = (0.0, 1.0) if target.head == "binary" else (-LARGEST_NUMBER, LARGEST_NUMBER)
    if (wrong := np.flatnonzero((value < low) | (value > high))).size:
        raise DataError(
            f"samples, column {given.name}: {wrong.size} answers lie outside [{low:g}, {high:g}] "
            f"(first: row {wrong[0]}, {value[wrong[0]]:g}), where a {target.head} target must lie"
        )
    return value.astype(np.float32)


def _class_places(target: Target, given: pl.Series) -> pl.Series:
    """Position of each name among the target's classes, null where it is null."""
    if not (given.dtype.is_integer() or given.dtype in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(f"samples, column {given.name}: {given.dtype}; expected names among {', '.join(target.classes)}")
    places = as_codes(given, target.classes)
    if (wrong := (places.is_null() & given.is_not_null()).arg_true()).len():
        raise DataError(
            f"samples, column {given.name}: {len(wrong)} answers are no class of target {target.name!r} "
            f"(first: {given[wrong[0]]!r}); expected {', '.join(target.classes)}"
        )
    return places


def _soft(target: Target, given: pl.Series) -> Float:
    K = len(target.classes)
    rows = pl.DataFrame({"shares": given.cast(pl.List(pl.Float64))}).with_row_index("row").drop_nulls("shares")
    lengths = rows["shares"].list.len()
    shares = rows["shares"].explode().to_numpy().reshape(-1, K) if lengths.eq(K).all() else np.full((1, K), np.nan)
    if not (shares >= 0).all() or (np.abs(shares.sum(1) - 1) > SUM_TOLERANCE).any():
        raise DataError(
            f"samples, column {given.name}: a list is not {K} shares that sum to 1; give one for each of {', '.join(target.classes)}"
        )
    out = np.full((len(given), K), np.nan, np.float32)
    out[rows["row"].to_numpy()] = shares
    return out


def _per_token(target: Target, given: pl.Series, tokens: Int, event_ids: pl.Series) -> Float:
    """(N, L) class position, or for choice the token's position in the sample; IGNORE = not asked."""
    if not isinstance(given.dtype, pl.List | pl.Array):
        raise DataError(f"samples, column {given.name}: {given.dtype}; a {target.head} target is a list with one answer for each event")
    answered = given.is_not_null().to_numpy()
    asked = (tokens != len(event_ids)) & answered[:, None]  # (N, L)
    lengths = given.cast(pl.List(given.dtype.inner)).list.len().fill_null(0).to_numpy()
    if (wrong := np.flatnonzero(lengths != asked.sum(1))).size:
        raise DataError(
            f"samples, column {given.name}: {wrong.size} lists do not have one answer for each event of their sample "
            f"(first: row {wrong[0]}, {lengths[wrong[0]]} answers for {asked[wrong[0]].sum()} events); answers go in token order"
        )
    flat = given.filter(pl.Series(answered & (lengths > 0))).explode()
    out = np.full(tokens.shape, IGNORE, np.float32)
    places = _chosen(given.name, flat, tokens, asked, event_ids) if target.head == "choice" else _class_places(target, flat)
    out[asked] = places.cast(pl.Float32).fill_null(IGNORE).to_numpy()
    return out


def _chosen(name: str, flat: pl.Series, tokens: Int, asked: NDArray[np.bool_], event_ids: pl.Series) -> pl.Series:
    """Position of each chosen event among the tokens of its own sample; 0 for "", null for null."""
    sample, position = np.nonzero(asked)
    offered = pl.DataFrame({"sample": sample, "id": event_ids[tokens[asked]], "position": position})
    offered = offered.unique(["sample", "id"], keep="first", maintain_order=True)
    wanted = pl.DataFrame({"sample": sample, "id": flat.cast(pl.String)})
    found = wanted.join(offered, on=["sample", "id"], how="left", maintain_order="left")["position"]
    found = pl.select(pl.when(wanted["id"] == "").then(0).otherwise(found).alias("position")).to_series()
    if (wrong := (found.is_null() & wanted["id"].is_not_null()).arg_true()).len():
        raise DataError(
            f"samples, column {name}: {len(wrong)} chosen events are not in their sample (first: {flat[wrong[0]]!r}); "
            "choose among its tokens, or '' for none"
        )
    return found
