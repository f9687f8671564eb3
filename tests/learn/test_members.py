"""Members of an ensemble: each its own seed and held-out part, the same wherever they are trained."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.learn.test_fit import SHORT
from tests.learn.tiny import MODEL, World, notes, world
from tests.worlds import grid
from trmfin.learn.fit import Progress
from trmfin.learn.holdout import holdouts
from trmfin.learn.members import TrainedEnsemble, fit_members, primary_logits
from trmfin.model.config import ModelConfig
from trmfin.model.ensemble import Ensemble
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import build

TWO = replace(MODEL, members=2)


def fitted(where: World | None = None, model: ModelConfig = TWO, **options: Any) -> TrainedEnsemble:
    where = where or world()
    rows = np.arange(len(where.sequences))
    splits = holdouts(where.sequences, rows, model.members, 0)
    return fit_members(where.sequences, splits, fitted=where.fitted, model=model, settings=options.pop("settings", SHORT), **options)


def weights(trained: TrainedEnsemble) -> list[bytes]:
    return [value.numpy().tobytes() for value in trained.network.state_dict().values()]


@pytest.fixture
def threads() -> Iterator[int]:
    found = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(found)


def test_members_trained_side_by_side_are_those_trained_in_turn(threads: int) -> None:
    told: list[tuple[int, int]] = []
    side_by_side = fitted(workers=2, tell=lambda member, progress: told.append((member, progress.step)))
    in_turn = fitted(workers=1)
    assert weights(side_by_side) == weights(in_turn) and np.array_equal(side_by_side.logits, in_turn.logits)
    assert {member for member, _ in told} == {0, 1} and max(step for _, step in told) == in_turn.members[0].steps
    assert torch.get_num_threads() == threads


def test_one_member_is_the_same_whatever_the_number_of_threads(threads: int) -> None:
    alone = {"model": replace(MODEL, members=1), "settings": replace(SHORT, batch_size=512)}
    two = fitted(**alone)
    torch.set_num_threads(1)
    assert weights(two) == weights(fitted(**alone))


def test_members_differ_and_neighbouring_seeds_share_none() -> None:
    first, second = (fitted(settings=replace(SHORT, seed=seed)) for seed in (0, 1))
    assert len({member.weights["places"].tobytes() for run in (first, second) for member in run.members}) == 4


def test_what_is_said_of_a_held_out_row_is_said_by_the_member_that_did_not_see_it() -> None:
    where = world()
    trained = fitted(where)
    splits = holdouts(where.sequences, np.arange(64), 2, 0)
    assert trained.held_out.tolist() == sorted(np.concatenate([split.test for split in splits]).tolist())
    for member, split in zip(trained.network.networks, splits, strict=True):
        place = np.searchsorted(trained.held_out, split.test)
        np.testing.assert_allclose(trained.logits[place], primary_logits(member, where.sequences, split.test), atol=1e-6)


def test_a_row_that_all_members_held_out_has_their_mean() -> None:
    where = world(notes(14, months=6))  # too few households to deal out, so all members hold out the latest rows
    trained = fitted(where)
    split = holdouts(where.sequences, np.arange(84), 2, 0)[0]
    assert trained.held_out.tolist() == sorted(split.test.tolist())
    np.testing.assert_allclose(trained.logits, primary_logits(trained.network, where.sequences, trained.held_out), atol=1e-5)


def test_the_ensemble_is_made_of_the_kept_weights_and_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    trained = fitted()
    assert torch.equal(before, torch.get_rng_state()) and not trained.network.training
    for member, kept in zip(trained.network.networks, trained.members, strict=True):
        assert all(np.array_equal(member.state_dict()[name], value, equal_nan=True) for name, value in kept.weights.items())


def test_each_member_keeps_its_own_checkpoint_and_a_finished_one_is_not_trained_again(tmp_path: Path) -> None:
    first = fitted(folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["member-0.safetensors", "member-1.safetensors"]
    (tmp_path / "member-1.safetensors").unlink()
    told: set[int] = set()
    again = fitted(folder=tmp_path, tell=lambda member, progress: told.add(member))
    assert told == {1} and weights(first) == weights(again)


def test_time_is_shared_by_members_that_train_in_turn() -> None:
    steps: dict[int, Progress] = {}
    trained = fitted(settings=replace(SHORT, epochs=1e6), max_seconds=0.8, tell=lambda member, progress: steps.update({member: progress}))
    assert all(0 < progress.step == progress.total < 1e6 and progress.seconds < 5 for progress in steps.values())
    assert len(trained.members) == len(steps) == 2 and steps[0].seconds > 0.3


def test_logits_of_answers_per_token_are_left_at_zero() -> None:
    sequences = build(*grid())
    bins = Fitted.fit(sequences, np.arange(2), 4)
    network = Ensemble(sequences.task, bins, MODEL).eval()
    assert np.array_equal(primary_logits(network, sequences.aligned(bins), np.arange(2)), np.zeros((2, 2)))


def test_no_digit_depends_on_how_many_batches_are_asked_side_by_side(threads: int) -> None:
    where, trained = world(), fitted()
    rows = np.arange(len(where.sequences))
    one, three = (primary_logits(trained.network, where.sequences, rows, 7, workers) for workers in (1, 3))
    assert one.tobytes() == three.tobytes() and one.any(axis=1).all() and torch.get_num_threads() == threads
