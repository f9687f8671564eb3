"""Challengers: what a new model has to be compared with, on the same rows and with the same number of tries.

Both search their named settings in the same way: each setting is fitted on the training rows and judged by log-loss on
the validation rows; the best is fitted again on both together and asked for the test rows. Nothing is learnt from test
rows, neither categories nor bin edges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import ConfigError, DataError, MissingExtra
from trmfin.learn.metrics import Array, log_loss

INSTALL = 'pip install "trmfin[bench]"'
TRIES = 8  # settings a challenger may try
FEW = 24  # a whole-number column of at most so many values is one-hot encoded by the logistic challenger
PIECES = 4  # equal pieces of the ranks of the other numbers
QUANTILES = 200  # from which ranks are read

Rows = NDArray[np.int64]
Predictor = Callable[[Array], Array]  # (n, columns) → (n,) probabilities
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Features as numbers. Text has the code of its value among the known ones; NaN = absent or not known."""

    values: Array  # (N, P)
    text: NDArray[np.bool_]  # (P,) columns that hold codes of text
    whole: NDArray[np.bool_]  # (P,) columns of whole numbers

    def rows(self, rows: Rows) -> Matrix:
        return replace(self, values=self.values[rows])


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a challenger says of the test rows, and how it was chosen."""

    p: Array  # (n_test,) probability of y = 1
    chosen: Settings
    tried: tuple[dict[str, Any], ...]  # each setting with its validation log-loss, in the order tried
    seconds: float  # search and final fit
    predict: Callable[[pl.DataFrame], Array]  # the final model on any frame with the same columns


class Challenger(Protocol):
    """A function from features and rows to predictions; the same seed gives the same answer."""

    def __call__(
        self,
        features: pl.DataFrame,
        y: ArrayLike,
        train_rows: Rows,
        validation_rows: Rows,
        test_rows: Rows,
        seed: int = 0,
        *,
        tries: int = TRIES,
        n_jobs: int = 1,
    ) -> Predictions: ...


LIGHTGBM = {"num_iterations": 250, "learning_rate": 0.03, "num_leaves": 15}
LIGHTGBM_GRID: tuple[Settings, ...] = (  # the base, then from small trees for a few hundred labels to many for all
    LIGHTGBM,
    LIGHTGBM | {"num_leaves": 4, "num_iterations": 100, "feature_fraction": 0.4, "lambda_l2": 10.0},
    LIGHTGBM | {"feature_fraction": 0.6, "lambda_l2": 10.0},
    LIGHTGBM | {"num_leaves": 4, "feature_fraction": 0.6, "lambda_l2": 10.0},
    LIGHTGBM | {"num_leaves": 7, "num_iterations": 150, "feature_fraction": 0.6, "min_data_in_leaf": 60},
    LIGHTGBM | {"num_leaves": 7, "num_iterations": 400},
    LIGHTGBM | {"feature_fraction": 0.6, "bagging_fraction": 0.8, "bagging_freq": 1},
    LIGHTGBM | {"num_leaves": 4, "num_iterations": 50, "feature_fraction": 0.4, "min_data_in_leaf": 10},
)
LOGISTIC_GRID: tuple[Settings, ...] = tuple(
    {"numbers": numbers, "C": strength}
    for strength, numbers in (
        *((strength, numbers) for strength in (0.1, 0.01, 0.03) for numbers in ("pieces", "signed_log")),
        (1.0, "standard"),  # as the Fraud Detection Handbook has it
        (0.001, "pieces"),
    )
)


def logistic(
    features: pl.DataFrame,
    y: ArrayLike,
    train_rows: Rows,
    validation_rows: Rows,
    test_rows: Rows,
    seed: int = 0,
    *,
    tries: int = TRIES,
    n_jobs: int = 1,
) -> Predictions:
    """Logistic regression on one-hot categories and on numbers: pieces of ranks, signed logarithms, or as they are (scikit-learn).

    features: `sample_id` first, then numbers, whole numbers, booleans and text, nulls allowed; y: (N,) 0 or 1, NaN
    allowed in test rows; rows: disjoint row numbers. tries: how many of LOGISTIC_GRID. Raises DataError on unusable
    features, labels or rows and MissingExtra without scikit-learn.
    n_jobs is for trees alone: the linear algebra takes the threads that the environment gives it.
    """
    return _searched(_logistic, LOGISTIC_GRID, features, y, (train_rows, validation_rows, test_rows), tries, seed, n_jobs)


def lightgbm(
    features: pl.DataFrame,
    y: ArrayLike,
    train_rows: Rows,
    validation_rows: Rows,
    test_rows: Rows,
    seed: int = 0,
    *,
    tries: int = TRIES,
    n_jobs: int = 1,
) -> Predictions:
    """Gradient-boosted trees (LightGBM, Ke et al. 2017); text columns are split as categories.

    As `logistic`; tries: how many of LIGHTGBM_GRID. The same seed and n_jobs give the same answer.
    """
    return _searched(_boosted, LIGHTGBM_GRID, features, y, (train_rows, validation_rows, test_rows), tries, seed, n_jobs)


CHALLENGERS: Mapping[str, Challenger] = {"logistic": logistic, "lightgbm": lightgbm}


def challenger(name: str) -> Challenger:
    """The challenger called `name`. Raises ConfigError on an unknown name."""
    if name not in CHALLENGERS:
        raise ConfigError(f"challenger {name!r} is unknown; choose from {', '.join(CHALLENGERS)}")
    return CHALLENGERS[name]


Fit = Callable[[Matrix, Array, Settings, int, int], Predictor]  # features and labels of the rows, settings, seed, n_jobs


def _searched(
    fit: Fit,
    grid: tuple[Settings, ...],
    features: pl.DataFrame,
    y: ArrayLike,
    rows: tuple[Rows, Rows, Rows],
    tries: int,
    seed: int,
    n_jobs: int,
) -> Predictions:
    if not 1 <= tries <= len(grid):
        raise ConfigError(f"challenger: {tries} tries; expected 1 to {len(grid)}, the settings there are")
    labels, (train, validation, test) = _checked(features, y, rows)
    began = time.monotonic()
    matrix = as_matrix(features, known_text(features, train))
    tried: list[dict[str, Any]] = []
    for settings in grid[:tries]:
        predict = fit(matrix.rows(train), labels[train], settings, seed, n_jobs)
        tried.append({**settings, "log_loss": log_loss(labels[validation], predict(matrix.values[validation]))})
    chosen = grid[int(np.argmin([entry["log_loss"] for entry in tried]))]
    both = np.concatenate((train, validation))
    text = known_text(features, both)
    final = fit(as_matrix(features, text).rows(both), labels[both], chosen, seed, n_jobs)
    seconds = time.monotonic() - began

    def answer(frame: pl.DataFrame) -> Array:
        if frame.schema != features.schema:
            raise DataError(f"challenger features: {frame.width} columns; expected the {features.width} of the fit, same names and types")
        return final(as_matrix(frame, text).values)

    return Predictions(p=answer(features[test]), chosen=chosen, tried=tuple(tried), seconds=seconds, predict=answer)


def known_text(features: pl.DataFrame, rows: Rows) -> dict[str, list[str]]:
    """The values of each text column among `rows`, sorted; text column → values."""
    columns = [column for column in features.iter_columns() if column.name != "sample_id" and _is_text(column)]
    return {column.name: column.gather(rows).cast(pl.String).drop_nulls().unique().sort().to_list() for column in columns}


def as_matrix(features: pl.DataFrame, text: Mapping[str, list[str]]) -> Matrix:
    """Features as numbers, text coded by its place in `text`; `sample_id` is left out.

    Raises DataError on a column that holds neither numbers nor text, and on infinite numbers.
    """
    columns = [column for column in features.iter_columns() if column.name != "sample_id"]
    numbers = [_numbers(column, text) for column in columns]
    for column, values in zip(columns, numbers, strict=True):
        if bad := int(np.isinf(values).sum()):
            raise DataError(f"challenger features, column {column.name!r}: {bad} infinite values; make them null")
    whole = np.array([column.dtype.is_integer() or column.dtype == pl.Boolean for column in columns])
    return Matrix(values=np.column_stack(numbers), text=np.array([column.name in text for column in columns]), whole=whole)


def _is_text(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum)


def _numbers(column: pl.Series, text: Mapping[str, list[str]]) -> Array:
    """(N,) float64, NaN = absent or not known."""
    if _is_text(column):
        known = text[column.name]
        column = column.cast(pl.String).replace_strict(known, range(len(known)), default=None, return_dtype=pl.Float64)
    elif not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(f"challenger features, column {column.name!r}: type {column.dtype}; expected numbers, booleans or text")
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _missing(package: str, error: Exception) -> MissingExtra:
    return MissingExtra(f"challengers: {package} cannot be imported ({error}); install it with: {INSTALL}")


def _boosted(known: Matrix, y: Array, settings: Settings, seed: int, n_jobs: int) -> Predictor:
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: its native library does not load
        raise _missing("lightgbm", error) from error
    fixed = {"objective": "binary", "seed": seed, "num_threads": n_jobs, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    data = lightgbm.Dataset(known.values, y, categorical_feature=np.flatnonzero(known.text).tolist(), params={"verbosity": -1})
    booster = lightgbm.train({**settings, **fixed}, data)
    return lambda values: np.asarray(booster.predict(values, num_threads=n_jobs), dtype=np.float64)


def _logistic(known: Matrix, y: Array, settings: Settings, seed: int, n_jobs: int) -> Predictor:
    try:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, QuantileTransformer, StandardScaler
    except ImportError as error:
        raise _missing("scikit-learn", error) from error
    distinct = np.array([np.unique(column).size for column in known.values.T])
    few = known.text | (known.whole & (distinct <= FEW))
    if settings["numbers"] == "pieces":
        ranks = QuantileTransformer(n_quantiles=min(QUANTILES, y.size), subsample=None)
        shape = make_pipeline(ranks, FunctionTransformer(_pieces))
    elif settings["numbers"] == "signed_log":
        shape = make_pipeline(FunctionTransformer(_signed_log), StandardScaler())
    else:
        shape = make_pipeline(StandardScaler())
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), shape)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("few", one_hot, np.flatnonzero(few)), ("numbers", numbers, np.flatnonzero(~few))])
    regression = LogisticRegression(C=settings["C"], solver="newton-cholesky", max_iter=200)
    model = make_pipeline(columns, regression).fit(known.values, y)
    return lambda values: np.asarray(model.predict_proba(values)[:, 1], dtype=np.float64)


def _pieces(ranks: Array) -> Array:
    """Ranks in [0, 1], (n, P), as the share of each of PIECES equal pieces that lies below them: (n, P * PIECES)."""
    return np.clip(ranks[:, :, None] * PIECES - np.arange(PIECES), 0, 1).reshape(len(ranks), -1)


def _signed_log(values: Array) -> Array:
    return np.sign(values) * np.log1p(np.abs(values))


def _checked(features: pl.DataFrame, y: ArrayLike, rows: tuple[Rows, Rows, Rows]) -> tuple[Array, tuple[Rows, Rows, Rows]]:
    """Labels (N,) float64 and row numbers int64; known labels of both classes in training, no row in two parts."""
    labels = np.asarray(y, dtype=np.float64)
    if features.width < 2 or features.columns[0] != "sample_id" or labels.shape != (features.height,):
        raise DataError(
            f"challenger features: {features.height} rows of {', '.join(features.columns[:3]) or 'nothing'} …, labels {labels.shape}; "
            "expected sample_id first, at least one feature, and one label a row"
        )
    train, validation, test = (np.asarray(part, dtype=np.int64) for part in rows)
    every = np.concatenate((train, validation, test))
    if np.unique(every).size != every.size or not (train.size and validation.size and test.size):
        raise DataError(
            f"challenger rows: {train.size} training, {validation.size} validation and {test.size} test rows, "
            f"{every.size - np.unique(every).size} of them twice; expected three parts that share no row, none empty"
        )
    if (outside := every[(every < 0) | (every >= labels.size)]).size:
        raise DataError(f"challenger rows: row {outside[0]} of {labels.size}; expected 0 to {labels.size - 1}")
    known = labels[np.concatenate((train, validation))]
    if not np.isin(known, (0, 1)).all() or np.unique(labels[train]).size < 2:
        raise DataError("challenger labels: training and validation rows need 0 or 1, training rows both; leave unlabelled rows out")
    return labels, (train, validation, test)
