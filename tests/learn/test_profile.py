"""The reference profile: features of what was trained on, scores of what was held out, and never the other way round."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.learn.test_training import bundle, data, learnt
from tests.learn.tiny import TASK, notes, world
from trmfin.errors import BundleError
from trmfin.learn.calibrate import probability
from trmfin.learn.halting import halted, steps_used
from trmfin.learn.profile import EVENLY, ReferenceProfile, equal_shares, reference_profile
from trmfin.sequences.profile import profile
from trmfin.sequences.sequences import build


def log_odds(rows: int = 500, steps: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, steps)).cumsum(1)


def test_features_are_those_of_the_training_rows_and_scores_those_of_held_out_rows() -> None:
    kept = bundle(learnt(), data()).profile
    aligned = data().aligned(learnt().fitted)
    assert kept.features == profile(aligned, np.arange(120)) and kept.features.samples == 120
    scores = probability(learnt().log_odds(learnt().ensemble.logits)[:, -1])
    assert kept.scores is not None and sum(kept.scores.counts) == len(learnt().ensemble.held_out) == len(scores) < 120
    assert kept.scores.counts == tuple(np.histogram(scores, kept.scores.edges)[0])
    assert kept.scores.evenly == tuple(np.histogram(scores, EVENLY, (0, 1))[0]) and kept.scores.steps == (0, len(scores))


def test_rows_without_a_label_are_not_in_it() -> None:
    prepared = notes(120)
    told = np.union1d(np.arange(0, 120, 2), learnt().ensemble.held_out)
    known = pl.int_range(120).is_in(told.tolist())
    hidden = prepared.samples.with_columns(pl.when(known).then(name).alias(name) for name in ("target_bad", "target_bad_known_at"))
    sequences = build(replace(prepared, samples=hidden), TASK)
    kept = bundle(learnt(), sequences).profile
    assert kept.features == profile(data().aligned(learnt().fitted), told) and 60 < kept.features.samples == len(told) < 120


def test_scores_lie_in_ten_equal_shares_and_steps_are_those_of_the_policy() -> None:
    odds, here = log_odds(), world()
    kept = reference_profile(here.sequences, here.train, odds, 0.4).scores
    assert kept is not None and kept.counts == (50,) * 10 and kept.edges[0] == 0 and kept.edges[-1] == 1
    assert kept.edges == tuple(equal_shares(probability(halted(odds, 0.4))))
    taken = steps_used(odds, 0.4)
    assert kept.steps == tuple(int((taken == step).sum()) for step in (1, 2, 3)) and 0 < kept.steps[1] < 500


def test_equal_scores_have_fewer_bins() -> None:
    assert equal_shares(np.full(50, 0.25)).tolist() == [0, 0.25, 1] and equal_shares(np.array([0.0, 1.0])).tolist()[0] == 0


def test_a_target_that_is_no_yes_or_no_has_no_scores() -> None:
    here = world()
    kept = reference_profile(here.sequences, here.train, None, 0.0)
    assert kept.scores is None and ReferenceProfile.from_json(json.loads(json.dumps(kept.to_json()))) == kept


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"format": "1"}, {"more": 1}, {"scores": {"edges": [0, 1]}}, {"scores": 3}, {"features": {}}]
)
def test_what_is_none_is_one_clear_error(change: dict[str, Any]) -> None:
    here = world()
    good = json.loads(json.dumps(reference_profile(here.sequences, here.train, log_odds(), 0.0).to_json()))
    with pytest.raises(BundleError, match="profile"):
        ReferenceProfile.from_json(good | change)
    with pytest.raises(BundleError, match="scores have"):
        ReferenceProfile.from_json(good | {"scores": good["scores"] | {"edges": [0, 1]}})
