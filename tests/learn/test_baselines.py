import sys

import numpy as np
import polars as pl
import pytest

from trmfin.errors import ConfigError, DataError, MissingExtra
from trmfin.learn.baselines import CHALLENGERS, as_matrix, challenger, known_text, lightgbm, logistic
from trmfin.learn.metrics import auc

N = 240
TRAIN, VALIDATION, TEST = np.arange(150), np.arange(150, 190), np.arange(190, N)


def world(seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Features with nulls of every kind, of which `late`, `used` and `segment` tell something about y."""
    random = np.random.default_rng(seed)
    late, used, segment = random.integers(-1, 4, N), random.gamma(2, 1, N), random.choice(["a", "b"], N)
    y = (random.random(N) < 1 / (1 + np.exp(2 - late - used / 2 - (segment == "b")))).astype(float)
    features = pl.DataFrame(
        {
            "sample_id": [str(row) for row in range(N)],
            "late": late,
            "used": np.where(random.random(N) < 0.1, None, used).tolist(),
            "paid": (random.normal(0, 1e6, N) * 100).astype(np.int64),
            "segment": pl.Series([None if row % 9 == 0 else value for row, value in enumerate(segment)], dtype=pl.Categorical),
            "open": random.random(N) < 0.5,
            "never": pl.Series([None] * N, dtype=pl.Float64),
            "always": np.ones(N),
        }
    )
    return features, y


@pytest.mark.parametrize("name", list(CHALLENGERS))
def test_challenger_finds_what_the_features_tell(name):
    features, y = world()
    found = challenger(name)(features, y, TRAIN, VALIDATION, TEST, tries=2)
    assert found.p.shape == TEST.shape and auc(y[TEST], found.p) > 0.65
    assert len(found.tried) == 2 and found.seconds > 0
    best = min(found.tried, key=lambda entry: entry["log_loss"])
    assert found.chosen == {key: value for key, value in best.items() if key != "log_loss"}


@pytest.mark.parametrize("name", list(CHALLENGERS))
def test_same_seed_same_answer(name):
    features, y = world()
    first, again = (challenger(name)(features, y, TRAIN, VALIDATION, TEST, seed=7, tries=3) for _ in range(2))
    assert first.p.tolist() == again.p.tolist() and first.tried == again.tried


@pytest.mark.parametrize("name", list(CHALLENGERS))
def test_nothing_is_learnt_from_test_rows(name):
    features, y = world()
    train_first = challenger(name)(features, y, TRAIN, VALIDATION, TEST, tries=1)
    changed = features.with_columns(
        pl.when(pl.int_range(N) == TEST[-1]).then(1e9).otherwise(pl.col("used")).alias("used"),
        pl.when(pl.int_range(N) == TEST[-1]).then(pl.lit("new")).otherwise(pl.col("segment").cast(pl.String)).alias("segment"),
    )
    unlabelled = np.where(np.isin(np.arange(N), TEST), np.nan, y)
    again = challenger(name)(changed, unlabelled, TRAIN, VALIDATION, TEST, tries=1)
    assert again.p[:-1].tolist() == train_first.p[:-1].tolist() and again.tried == train_first.tried


@pytest.mark.parametrize("name", list(CHALLENGERS))
def test_the_final_model_answers_for_other_frames(name):
    features, y = world()
    found = challenger(name)(features, y, TRAIN, VALIDATION, TEST, tries=1)
    assert found.predict(features[TEST[::-1]])[::-1].tolist() == pytest.approx(found.p.tolist(), abs=1e-12)
    with pytest.raises(DataError, match="7 columns; expected the 8"):
        found.predict(features.drop("late"))


def test_text_never_seen_and_absent_values_are_not_numbers():
    features = pl.DataFrame({"sample_id": ["1", "2", "3", "4"], "kind": ["b", "a", None, "new"], "n": [1, None, 3, 4]})
    text = known_text(features, np.array([0, 1, 2]))
    matrix = as_matrix(features, text)
    assert text == {"kind": ["a", "b"]}
    np.testing.assert_array_equal(matrix.values, [[1, 1], [0, np.nan], [np.nan, 3], [np.nan, 4]])
    assert (matrix.text.tolist(), matrix.whole.tolist()) == ([True, False], [False, True])


@pytest.mark.parametrize(("name", "module"), [("lightgbm", "lightgbm"), ("logistic", "sklearn.compose")])
def test_a_missing_package_says_what_to_install(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match="install it with: pip install"):
        challenger(name)(*world(), TRAIN, VALIDATION, TEST, tries=1)


def test_unknown_challengers_and_tries_are_refused():
    with pytest.raises(ConfigError, match="choose from logistic, lightgbm"):
        challenger("xgboost")
    with pytest.raises(ConfigError, match="0 tries; expected 1 to 8"):
        logistic(*world(), TRAIN, VALIDATION, TEST, tries=0)


def test_unusable_rows_are_named():
    features, y = world()
    for train, test, says in (
        (TRAIN, np.append(TEST, 0), "1 of them twice"),
        (TRAIN, TEST[:0], "0 test rows"),
        (TRAIN, TEST + 100, "row 290 of 240"),
        (TRAIN[y[TRAIN] == 0], TEST, "training rows both"),
    ):
        with pytest.raises(DataError, match=says):
            lightgbm(features, y, train, VALIDATION, test)
    with pytest.raises(DataError, match="need 0 or 1"):
        lightgbm(features, np.where(np.arange(N) == 3, np.nan, y), TRAIN, VALIDATION, TEST)


def test_unusable_features_are_named():
    features, y = world()
    for frame, says in (
        (features.drop("sample_id"), "expected sample_id first"),
        (features.select("sample_id"), "at least one feature"),
        (features.with_columns(when=pl.lit("2020-01-01").str.to_date()), "column 'when': type Date"),
        (features.with_columns(ratio=pl.lit(np.inf)), "column 'ratio': 240 infinite values"),
    ):
        with pytest.raises(DataError, match=says):
            lightgbm(frame, y, TRAIN, VALIDATION, TEST)
