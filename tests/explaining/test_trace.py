"""Signals of doubt: what they are made of, and that they leave the network as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.explaining.models import panel_world
from tests.scoring.models import World
from trmfin.explaining.trace import NOISE, RESTARTS, from_scores, of_dropout, of_networks, of_runs
from trmfin.model.refine import Thinking
from trmfin.scoring.engine import score_rows


@pytest.fixture(scope="module")
def world() -> World:
    return panel_world(40, members=2)


def test_signals_of_a_table_are_what_its_columns_say(world: World) -> None:
    scores = score_rows(world.bundle, world.sequences, world.rows)
    found = from_scores(scores)
    np.testing.assert_allclose(found["max probability"], 1 - np.maximum(scores.score, 1 - scores.score), atol=1e-6)
    np.testing.assert_allclose(found["late drift"], np.abs(scores.logits[:, -1] - scores.logits[:, -2]), atol=1e-6)
    np.testing.assert_allclose(found["steps disagree"], scores.logits.std(1), atol=1e-5)
    np.testing.assert_allclose(found["halt head"], 1 - scores.halts[:, -1], atol=1e-6)


def test_signals_of_a_case_that_halted_are_of_the_steps_it_had(world: World) -> None:
    scores = score_rows(world.bundle, world.sequences, world.rows, epsilon=1.5)
    assert 1 < len(set(scores.step.tolist()))
    early = int(np.argmin(scores.step))
    found, step = from_scores(scores), int(scores.step[early])
    assert found["steps disagree"][early] == pytest.approx(scores.logits[early, :step].std(), abs=1e-5)
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("thinking", [NOISE, RESTARTS], ids=["noise", "restarts"])
def test_rollouts_differ_and_are_the_same_each_time_and_in_any_batch(thinking: Thinking, world: World) -> None:
    state = torch.get_rng_state()
    found = of_runs(world.bundle, world.sequences, world.rows, thinking)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found > 0).all()
    np.testing.assert_allclose(of_runs(world.bundle, world.sequences, world.rows[7:9], thinking), found[7:9], atol=1e-3)


def test_dropout_differs_by_pass_and_none_dropped_is_no_doubt(world: World) -> None:
    assert (of_dropout(world.bundle, world.sequences, world.rows) > 0).all()
    assert of_dropout(world.bundle, world.sequences, world.rows, share=0.0).max() < 1e-6


def test_networks_that_are_the_same_do_not_disagree(world: World) -> None:
    fresh = panel_world(40, members=2)
    twice = [fresh.bundle, fresh.bundle]
    found = of_networks(twice, fresh.sequences, fresh.rows)
    assert found.shape == (2, 40) and found.std(0).max() == 0.0
