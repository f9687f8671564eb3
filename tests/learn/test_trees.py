"""The network's windows as one row, and trees on them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.learn.tiny import MODEL, TASK, TRAINING, notes, world
from trmfin.learn.baselines import lightgbm
from trmfin.learn.holdout import holdouts
from trmfin.learn.metrics import auc
from trmfin.learn.recipe import Recipe
from trmfin.learn.trees import Rows, flattened, trees, window_features
from trmfin.sequences.sequences import build

ROWS = np.array([7, 2, 3, 0])


def test_every_field_of_every_token_stands_in_the_row_newest_event_first() -> None:
    sequences = world().sequences
    frame, batch = flattened(sequences, ROWS), sequences.batch(ROWS)
    assert frame.columns == ["sample_id", "limit", *(f"notes.{place}.{name}" for place in (3, 2, 1) for name in ("late", "kind"))]
    assert frame["sample_id"].to_list() == sequences.sample_ids[ROWS].tolist()
    late, kind, limit = (
        [field.name for field in fields].index(name)
        for fields, name in ((TASK.numbers, "late"), (TASK.codes, "kind"), (TASK.numbers, "limit"))
    )
    assert np.array_equal(frame["limit"].to_numpy(), batch.numbers[:, 0, limit])
    for place in (1, 2, 3):
        there = batch.mask[:, -place]
        assert np.array_equal(
            frame[f"notes.{place}.late"].to_numpy(), np.where(there, batch.numbers[:, -place, late], np.nan), equal_nan=True
        )
        assert frame[f"notes.{place}.kind"].is_null().to_list() == (~there).tolist()
        assert np.array_equal(frame[f"notes.{place}.kind"].to_numpy()[there], batch.codes[there, -place, kind])
    assert frame["notes.3.late"].null_count() == 2 and frame["notes.1.late"].null_count() == 1  # clients with 3, 2, 3 and 0 notes


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_trees_on_windows_learn_and_answer_on_the_scale_of_all_samples(share: float) -> None:
    pytest.importorskip("lightgbm")
    sequences = build(notes(600), TASK)
    rows = np.random.default_rng(0).permutation(600)
    recipe = Recipe(model=MODEL, training=replace(TRAINING, negative_share=share))
    p = trees(sequences, np.sort(rows[:400]), np.sort(rows[400:]), recipe, 0, 1, window_features(sequences, recipe))
    y = sequences.targets.values["bad"][np.sort(rows[400:])]
    assert auc(y, p) > 0.8 and abs(p.mean() - y.mean()) < 0.06


def test_trees_are_given_the_share_of_the_negatives_that_the_network_is_and_may_learn_from_no_other_row() -> None:
    pytest.importorskip("lightgbm")
    sequences, asked = build(notes(600), TASK), []
    y = sequences.targets.values["bad"]

    def features(learnt: Rows, rows: Rows) -> pl.DataFrame:
        asked.append((learnt, rows))
        return pl.DataFrame({"sample_id": sequences.sample_ids[rows].astype(str), "x": rows * 1.0})

    for share in (1.0, 0.5):
        recipe = Recipe(model=MODEL, training=replace(TRAINING, negative_share=share))
        trees(sequences, np.arange(400), np.arange(400, 600), recipe, 0, 1, features)
    (whole, all_rows), (part, some_rows) = asked
    assert sorted(all_rows) == list(range(600)) and set(part) < set(whole) < set(range(400))
    kept = some_rows[:-200]
    assert (some_rows[-200:] == np.arange(400, 600)).all() and (y[kept] == 1).sum() == (y[:400] == 1).sum()
    assert 0.4 < (y[kept] == 0).sum() / (y[:400] == 0).sum() < 0.6


def test_trees_that_are_given_all_negatives_answer_as_the_plain_challenger_does() -> None:
    pytest.importorskip("lightgbm")
    sequences, recipe = build(notes(600), TASK), Recipe(model=MODEL, training=TRAINING)
    x = np.random.default_rng(0).standard_normal(600) + sequences.targets.values["bad"]
    frame = pl.DataFrame({"sample_id": sequences.sample_ids.astype(str), "x": x, "kind": np.where(x > 0.7, "a", "b")})
    train, test = np.arange(400), np.arange(400, 600)
    held = holdouts(sequences, train, 1, 0)[0]
    plain = lightgbm(frame, sequences.targets.values["bad"], held.train, held.test, test, 0)
    assert np.array_equal(trees(sequences, train, test, recipe, 0, 1, lambda _, rows: frame[rows]), plain.p)
