"""Scores: what they are, what they do not depend on, when refinement stops, and what scoring leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.scoring.models import CONFIG, PANEL, World, panel, world
from trmfin.errors import BundleError, ConfigError
from trmfin.learn.policy import Policy
from trmfin.model.config import ModelConfig, preset
from trmfin.scoring.engine import allowed_steps, cached_batch, score_rows
from trmfin.scoring.scores import output_names
from trmfin.sequences.task import Target


@pytest.fixture(scope="module")
def small() -> World:
    return world(panel(50))


@pytest.fixture(scope="module")
def middle_gain(small: World) -> float:
    """A step's gain that about half of the samples stay below."""
    full = score_rows(small.bundle, small.sequences, small.rows)
    return float(np.median(np.abs(np.diff(full.logits, axis=1))))


def test_a_score_is_the_sigmoid_of_the_calibrated_log_odds_of_the_step_used(small: World) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    raw = np.zeros((50, 4))
    with torch.inference_mode():
        batch = small.sequences.batch(small.rows)
        network = small.bundle.network
        x, setting = network.encode(batch), network.setting(batch)
        state = network.core.start(x)
        for step in range(4):
            state = network.core(x, state, setting)
            raw[:, step] = network.read(state, setting).logits["default"][:, 0].numpy()
    calibrated = raw * np.array([0.9, 1.0, 1.1, 1.2]) - 0.5
    np.testing.assert_allclose(full.logits, calibrated, atol=1e-5)
    np.testing.assert_allclose(full.score, 1 / (1 + np.exp(-calibrated[:, -1])), atol=1e-6)
    assert full.score.std() > 0.05
    assert full.sample_ids.tolist() == [f"s{c}" for c in range(50)]


@pytest.mark.parametrize("batch_size", [1, 3, 16, 64])
def test_scores_do_not_depend_on_batch_size(small: World, middle_gain: float, batch_size: int) -> None:
    for epsilon in (0.0, middle_gain):
        expected = score_rows(small.bundle, small.sequences, small.rows, epsilon=epsilon)
        found = score_rows(small.bundle, small.sequences, small.rows, batch_size=batch_size, epsilon=epsilon)
        np.testing.assert_allclose(found.score, expected.score, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.step, expected.step)


def test_scores_do_not_depend_on_order(small: World, middle_gain: float) -> None:
    order = np.random.default_rng(0).permutation(50)
    expected = score_rows(small.bundle, small.sequences, small.rows, epsilon=middle_gain)
    found = score_rows(small.bundle, small.sequences, order, batch_size=7, epsilon=middle_gain)
    np.testing.assert_allclose(found.score, expected.score[order], rtol=0, atol=1e-5)
    assert found.sample_ids.tolist() == expected.sample_ids[order].tolist()


def test_scores_do_not_depend_on_threads(small: World) -> None:
    one, two = (score_rows(small.bundle, small.sequences, small.rows, threads=threads) for threads in (1, 2))
    np.testing.assert_allclose(one.score, two.score, rtol=0, atol=1e-5)


def test_a_gain_equal_to_epsilon_halts_alike_in_every_batch(small: World) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    for sample in (5, 11, 23):
        tie = float(abs(full.logits[sample, 1] - full.logits[sample, 0]))
        steps = {
            int(score_rows(small.bundle, small.sequences, rows, batch_size=size, epsilon=tie).step[rows.tolist().index(sample)])
            for rows, size in ((small.rows, 64), (small.rows, 5), (np.array([sample]), 1), (small.rows[::-1], 17))
        }
        assert len(steps) == 1


def test_halting_saves_steps_and_changes_nothing_before_the_halt(small: World, middle_gain: float) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    halted = score_rows(small.bundle, small.sequences, small.rows, epsilon=middle_gain)
    ran = np.arange(4) < halted.step[:, None]
    assert halted.effort.sample_steps == halted.step.sum() < full.effort.sample_steps == halted.effort.sample_steps_in_full == 200
    assert 0 < halted.effort.sample_steps_saved < 1
    np.testing.assert_allclose(halted.logits[ran], full.logits[ran], rtol=0, atol=1e-5)
    assert np.isnan(halted.logits[~ran]).all() and np.isnan(halted.halts[~ran]).all()


def test_a_call_is_saved_only_where_a_whole_batch_is_settled(small: World, middle_gain: float) -> None:
    for size in (1, 7, 64):
        halted = score_rows(small.bundle, small.sequences, small.rows, batch_size=size, epsilon=middle_gain)
        deepest = [int(halted.step[first : first + size].max()) for first in range(0, 50, size)]
        assert halted.effort.calls == sum(deepest) and halted.effort.calls_in_full == 4 * len(deepest)
        assert halted.effort.calls_saved == 1 - sum(deepest) / (4 * len(deepest))
        assert 0 <= halted.effort.calls_saved <= halted.effort.sample_steps_saved == 1 - halted.step.mean() / 4
    assert halted.effort.calls_saved == 0 < halted.effort.sample_steps_saved  # one batch of all, of which some go on to the end


def test_a_near_tie_that_is_run_again_is_counted(small: World) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    tie = float(abs(full.logits[11, 1] - full.logits[11, 0]))
    halted = score_rows(small.bundle, small.sequences, small.rows, batch_size=64, epsilon=tie)
    assert halted.effort.sample_steps == halted.step.sum() + 2
    assert halted.effort.calls == halted.step.max() + 2
    assert score_rows(small.bundle, small.sequences, small.rows[:0]).effort.calls_saved == 0


def test_a_sample_halts_after_the_first_step_that_moves_it_by_less_than_epsilon(small: World, middle_gain: float) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    halted = score_rows(small.bundle, small.sequences, small.rows, epsilon=middle_gain)
    gains = np.abs(np.diff(full.logits, axis=1))
    expected = [next((s + 2 for s in range(3) if row[s] < middle_gain), 4) for row in gains]
    assert halted.step.tolist() == expected
    assert set(expected) > {2, 4}


def test_without_epsilon_every_sample_has_every_step(small: World) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows, epsilon=0.0)
    assert full.step.tolist() == [4] * 50 and full.effort.sample_steps_saved == 0


def test_the_policy_says_when_to_halt_unless_the_caller_does(small: World, middle_gain: float) -> None:
    bundle = replace(small.bundle, policy=Policy(halt_epsilon=middle_gain))
    by_policy = score_rows(bundle, small.sequences, small.rows)
    by_caller = score_rows(small.bundle, small.sequences, small.rows, epsilon=middle_gain)
    np.testing.assert_array_equal(by_policy.step, by_caller.step)
    assert by_policy.effort.sample_steps_saved > 0


def test_under_the_exact_rule_a_sample_halts_when_the_halt_head_says_so() -> None:
    exact = world(panel(50), replace(PANEL, halt="exact"))
    with torch.no_grad():  # so that the halt head says yes to some samples and no to others
        halt = exact.bundle.network.members[0].halt
        said = score_rows(exact.bundle, exact.sequences, exact.rows).halts[:, 0]
        halt.bias -= float(np.median(np.log(said / (1 - said))))
    full = score_rows(exact.bundle, exact.sequences, exact.rows)
    halted = score_rows(exact.bundle, exact.sequences, exact.rows, epsilon=1e-9)
    expected = [next((s + 1 for s in range(3) if row[s] > 0.5), 4) for row in full.halts]
    assert halted.step.tolist() == expected and {1, 4} <= set(expected)


def test_fewer_steps_are_the_first_steps_of_more(small: World) -> None:
    full = score_rows(small.bundle, small.sequences, small.rows)
    two = score_rows(small.bundle, small.sequences, small.rows, steps=2)
    assert two.logits.shape == (50, 2)
    np.testing.assert_allclose(two.logits, full.logits[:, :2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 5])
def test_steps_beyond_the_trained_ones_are_refused_with_their_number(steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"steps: found {steps}; the model was trained for 4"):
        allowed_steps(CONFIG, steps)


def test_a_batch_of_no_sample_is_refused(small: World) -> None:
    with pytest.raises(ConfigError, match="batch size: found 0"):
        score_rows(small.bundle, small.sequences, small.rows, batch_size=0)


def test_larger_networks_get_smaller_batches() -> None:
    narrow, wide = (ModelConfig(width=width) for width in (32, 64))
    assert cached_batch(narrow, 7) > cached_batch(wide, 7) > cached_batch(wide, 64) > cached_batch(preset("paper"), 97) >= 8


def test_no_rows_give_no_scores(small: World) -> None:
    assert len(score_rows(small.bundle, small.sequences, small.rows[:0])) == 0


def test_scoring_leaves_mode_random_numbers_and_threads_as_found(small: World) -> None:
    network = small.bundle.network
    network.members[0].core.train()
    try:
        modes = [module.training for module in network.modules()]
        random, threads = torch.get_rng_state(), torch.get_num_threads()
        score_rows(small.bundle, small.sequences, small.rows, threads=threads + 1)
        assert [module.training for module in network.modules()] == modes and True in modes
        assert torch.equal(torch.get_rng_state(), random) and torch.get_num_threads() == threads
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    finally:
        network.eval()


def test_a_network_that_answers_nan_is_an_error_not_a_score(small: World) -> None:
    broken = world(panel(50)).bundle
    with torch.no_grad():
        broken.network.members[0].heads["default"].bias.fill_(float("nan"))
    with pytest.raises(BundleError, match=r"50 of 50 samples have no finite log-odds \(first: s0, nan\)"):
        score_rows(broken, small.sequences, small.rows)


def test_progress_is_told_in_rows(small: World) -> None:
    told: list[int] = []
    score_rows(small.bundle, small.sequences, small.rows, batch_size=20, tell=told.append)
    assert told == [20, 40, 50]


def test_an_ensemble_scores_like_one_network(small: World) -> None:
    pair = world(panel(50), config=replace(CONFIG, members=2))
    one, both = (score_rows(pair.bundle, pair.sequences, pair.rows, batch_size=size, epsilon=0.3) for size in (3, 64))
    np.testing.assert_allclose(one.score, both.score, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(one.step, both.step)


OTHER_HEADS = {
    "ordinal": Target(name="stage", head="ordinal", classes=("none", "late", "lost"), meaning="stage"),
    "classes": Target(name="stage", head="classes", classes=("none", "late", "lost"), meaning="stage"),
    "quantiles": Target(name="stage", head="quantiles", levels=(0.1, 0.5, 0.9), meaning="days late"),
}


@pytest.mark.parametrize("head", OTHER_HEADS)
def test_further_targets_come_as_outputs(head: str) -> None:
    target = OTHER_HEADS[head]
    found = world(panel(20), replace(PANEL, targets=(*PANEL.targets, target)))
    scores = score_rows(found.bundle, found.sequences, found.rows, epsilon=0.3)
    table = scores.outputs["stage"]
    assert list(scores.outputs) == ["stage"] and table.shape == (20, len(output_names(target)))
    if head == "classes":
        np.testing.assert_allclose(table.sum(1), 1, atol=1e-6)
    else:
        assert (np.diff(table, axis=1) * (1 if head == "quantiles" else -1) >= 0).all()


@pytest.mark.parametrize(("head", "column"), [("classes", 2), ("ordinal", 1)])
def test_a_primary_target_with_ranks_is_scored_by_its_last_one(head: str, column: int) -> None:
    found = world(panel(20), replace(PANEL, targets=(OTHER_HEADS[head],), primary="stage"))
    plain = replace(found.bundle, calibration=replace(found.bundle.calibration, kind="identity", parameters=((),)))
    scores = score_rows(plain, found.sequences, found.rows)
    np.testing.assert_allclose(scores.score, scores.outputs["stage"][:, column], atol=1e-6)


def test_quantiles_have_no_score_and_take_every_step() -> None:
    found = world(panel(20), replace(PANEL, targets=(OTHER_HEADS["quantiles"],), primary="stage"))
    scores = score_rows(found.bundle, found.sequences, found.rows, epsilon=10.0)
    assert np.isnan(scores.score).all() and scores.step.tolist() == [4] * 20


def test_names_of_outputs_say_what_they_are() -> None:
    assert output_names(PANEL.targets[0]) == ("probability",)
    assert output_names(OTHER_HEADS["ordinal"]) == ("at_least_late", "at_least_lost")
    assert output_names(OTHER_HEADS["classes"]) == ("none", "late", "lost")
    assert output_names(OTHER_HEADS["quantiles"]) == ("quantile_0.1", "quantile_0.5", "quantile_0.9")


def test_the_mlp_mixer_scores_padding_and_batches_alike() -> None:
    found = world(panel(30), config=replace(CONFIG, mixer="mlp"))
    one, all_together = (score_rows(found.bundle, found.sequences, found.rows, batch_size=size, epsilon=0.2) for size in (1, 64))
    np.testing.assert_allclose(one.score, all_together.score, rtol=0, atol=1e-5)


def test_a_config_is_what_decides_the_steps() -> None:
    assert allowed_steps(ModelConfig(supervision_steps=7), None) == 7
