"""Trees that are given what the network is: as many of the negatives, and as one of two challengers its own windows, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.learn.baselines import lightgbm
from trmfin.learn.fit import thinned
from trmfin.learn.holdout import holdouts
from trmfin.learn.recipe import Recipe
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences

Rows = NDArray[np.int64]
Features = Callable[[Rows, Rows], pl.DataFrame]  # rows that may be learnt from, rows asked for (n,) → `sample_id`, then columns (n,)
CHUNK = 4096  # rows gathered at once


def trees(sequences: Sequences, train: Rows, test: Rows, recipe: Recipe, seed: int, n_jobs: int, features: Features) -> NDArray[np.float64]:
    """(n_test,) what LightGBM says that is given as large a share of the negatives as the network is.

    sequences: not yet aligned. Thinning has raised the odds as much as it left out; the answer is without that (King & Zeng 2001).
    """
    settings = replace(recipe.training, seed=seed).for_samples(len(train))
    held = holdouts(sequences, train, 1, seed)[0]
    parts = [thinned(sequences, part, settings) for part in (held.train, held.test)] + [test]
    rows = np.concatenate(parts)
    y = sequences.targets.values[sequences.task.primary][rows]
    known, validation, asked = np.split(np.arange(len(rows)), np.cumsum([len(part) for part in parts])[:-1])
    p = lightgbm(features(parts[0], rows), y, known, validation, asked, seed, n_jobs=n_jobs).p
    share = settings.negative_share
    return p if share == 1 else np.asarray(p * share / (p * share + 1 - p))


def window_features(sequences: Sequences, recipe: Recipe) -> Features:
    """The network's windows, flattened, codes aligned to what the rows hold that may be learnt from."""
    return lambda learnt, rows: flattened(sequences.aligned(Fitted.fit(sequences, learnt, recipe.model.bins)), rows)


def flattened(sequences: Sequences, rows: Rows) -> pl.DataFrame:
    """`sample_id`, then each field of each token that has it, as float32: (n, 1 + columns), in the order of `rows`.

    A column is called FIELD of the leading token and HISTORY.PLACE.FIELD of an event, PLACE 1 the newest. Numbers are as the
    network gets them, codes as numbers; null = absent, on padding too. sequences: aligned, so that codes are the bundle's.
    """
    task = sequences.task
    fields = (*task.numbers, *task.codes)
    tokens = [""] + [f"{history.name}.{place}." for history in task.histories for place in range(history.tokens, 0, -1)]
    kept = [(token, axis) for token in range(task.length) for axis, field in enumerate(fields) if field.leading == (token == 0)]
    values = np.empty((len(kept), len(rows)), np.float32)
    token_of, axis_of = np.array(kept, np.int64).reshape(-1, 2).T
    for first in range(0, len(rows), CHUNK):
        batch = sequences.batch(rows[first : first + CHUNK])
        codes = np.where(batch.codes == 0, np.nan, batch.codes)  # (B, L, C)
        both = np.where(batch.mask[..., None], np.concatenate([batch.numbers, codes], 2), np.nan)
        values[:, first : first + CHUNK] = both[:, token_of, axis_of].T
    names = [f"{tokens[token]}{fields[axis].name}" for token, axis in kept]
    columns = {name: pl.Series(column).fill_nan(None) for name, column in zip(names, values, strict=True)}
    return pl.DataFrame({"sample_id": sequences.sample_ids[rows].astype(str), **columns})
