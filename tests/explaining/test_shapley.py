"""Shapley values: the formula's axioms on any game, and on a network against shap's own exact explainer."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.explaining.models import panel_world
from tests.scoring.models import World
from trmfin.errors import ConfigError
from trmfin.explaining.comparison import FORMS, Form, comparison
from trmfin.explaining.players import NOBODY, VIEWS, Players, View, coalitions, players_of
from trmfin.explaining.shapley import Game, exact, noisy, shapley_interactions, shapley_values
from trmfin.learn.bundle import Bundle
from trmfin.model.refine import answers
from trmfin.scoring.engine import log_odds, score_rows, undisturbed
from trmfin.sequences.batch import Batch

games = st.integers(1, 5).flatmap(
    lambda players: st.lists(st.floats(-5, 5), min_size=2**players, max_size=2**players).map(lambda worth: np.array(worth)[None, :, None])
)


def by_hand(worth: np.ndarray) -> np.ndarray:
    """(M,) the mean over all orders of what each player adds when it comes. worth: (2^M,)."""
    players = int(np.log2(len(worth)))
    out, orders = np.zeros(players), list(permutations(range(players)))
    for order in orders:
        here = 0
        for player in order:
            out[player] += worth[here | 1 << player] - worth[here]
            here |= 1 << player
    return out / len(orders)


@given(games)
@settings(max_examples=50, deadline=None)
def test_values_are_the_mean_over_all_orders_and_add_up(worth: np.ndarray) -> None:
    values = shapley_values(worth)[0, 0]
    np.testing.assert_allclose(values, by_hand(worth[0, :, 0]), atol=1e-12)
    assert abs(values.sum() - (worth[0, -1, 0] - worth[0, 0, 0])) < 1e-9, "efficiency"


@given(games, games.filter(lambda game: game.shape[1] > 1), st.floats(-3, 3))
@settings(max_examples=50, deadline=None)
def test_values_of_a_sum_of_games_are_the_sum_of_values(first: np.ndarray, second: np.ndarray, times: float) -> None:
    size = min(first.shape[1], second.shape[1])
    first, second = first[:, :size], second[:, :size]
    np.testing.assert_allclose(shapley_values(first + times * second), shapley_values(first) + times * shapley_values(second), atol=1e-9)


@given(games)
@settings(max_examples=50, deadline=None)
def test_a_player_that_changes_nothing_has_nothing(worth: np.ndarray) -> None:
    more = np.concatenate((worth, worth), axis=1)  # the last player's bit is the highest
    values = shapley_values(more)[0, 0]
    assert abs(values[-1]) < 1e-12
    np.testing.assert_allclose(values[:-1], shapley_values(worth)[0, 0], atol=1e-12)


@given(st.integers(2, 5), st.data())
@settings(max_examples=50, deadline=None)
def test_players_that_do_the_same_have_the_same(players: int, data: st.DataObject) -> None:
    sizes = coalitions(players).sum(1)
    by_size = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=players + 1, max_size=players + 1)))
    values = shapley_values(by_size[sizes][None, :, None])[0, 0]
    np.testing.assert_allclose(values, values[0], atol=1e-12)


@given(games)
@settings(max_examples=50, deadline=None)
def test_interactions_are_symmetric_and_sum_to_values(worth: np.ndarray) -> None:
    pairs = shapley_interactions(worth)
    np.testing.assert_allclose(pairs, pairs.swapaxes(-1, -2), atol=1e-12)
    np.testing.assert_allclose(pairs.sum(-1), shapley_values(worth), atol=1e-9)


def test_only_what_two_do_together_is_an_interaction() -> None:
    sets = coalitions(3)
    worth = (sets[:, 0] * 2.0 + sets[:, 1] * sets[:, 2] * 3.0)[None, :, None]
    np.testing.assert_allclose(shapley_interactions(worth)[0, 0], [[2, 0, 0], [0, 0, 1.5], [0, 1.5, 0]], atol=1e-12)


@pytest.fixture(scope="module")
def world() -> World:
    return panel_world(24, members=2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
def test_base_and_values_sum_to_the_scores_log_odds_at_every_step(world: World, view: View, form: Form) -> None:
    bundle = world.bundle
    game = Game.of(bundle, players_of(bundle.task, view), comparison(bundle.task, bundle.reference, "all_applicants", form))
    found = exact(game, world.sequences, world.rows)
    scores = score_rows(bundle, world.sequences, world.rows)
    np.testing.assert_allclose(found.base + found.values.sum(-1), found.logits, atol=1e-9)
    np.testing.assert_allclose(found.logits, scores.logits, atol=1e-4)  # what is released at most; another order of sums
    assert found.evaluations == 2 ** len(game.players) * (1 if form == "average" else len(game.comparison))


def test_a_case_has_the_same_values_alone_and_among_others(world: World) -> None:
    bundle = world.bundle
    game = Game.of(bundle, players_of(bundle.task), comparison(bundle.task, bundle.reference, "all_applicants", "rows", 3))
    together = exact(game, world.sequences, world.rows)
    alone = exact(game, world.sequences, world.rows[5:6])
    np.testing.assert_allclose(alone.values[0], together.values[5], atol=1e-5)


def test_rows_are_the_mean_of_each_row_by_itself(world: World) -> None:
    bundle, players = world.bundle, players_of(world.bundle.task)
    ids = bundle.reference["sample_id"].to_list()[:3]

    def values(names: list[str]) -> np.ndarray:
        group = bundle.reference.filter(pl.col("sample_id").is_in(names))
        return exact(Game.of(bundle, players, comparison(bundle.task, group, "all_applicants", "rows")), world.sequences, world.rows).values

    np.testing.assert_allclose(values(ids), np.mean([values([name]) for name in ids], 0), atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("events", ["most", "fewest"])
def test_a_case_compared_with_itself_has_no_reasons(world: World, events: str, view: View, form: Form) -> None:
    bundle, held = world.bundle, world.sequences.batch(world.rows).mask.sum(1)
    row = int(np.argmax(held) if events == "most" else np.argmin(held))
    assert held.min() < held.max()
    group = bundle.reference.filter(bundle.reference["sample_id"] == world.sequences.sample_ids[row])
    game = Game.of(bundle, players_of(bundle.task, view), comparison(bundle.task, group, "all_applicants", form))
    assert abs(exact(game, world.sequences, np.array([row])).values).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
def test_all_cases_begin_at_the_same_base_however_many_events_they_have(world: World, view: View, form: Form) -> None:
    bundle = world.bundle
    game = Game.of(bundle, players_of(bundle.task, view), comparison(bundle.task, bundle.reference, "all_applicants", form))
    assert len(np.unique(world.sequences.batch(world.rows).mask.sum(1))) > 1
    base = exact(game, world.sequences, world.rows).base
    np.testing.assert_allclose(base, np.broadcast_to(base[0], base.shape), atol=1e-5)


def test_what_a_case_lacks_in_events_is_its_historys_length(world: World) -> None:
    """The base is what the network says of the comparison's row itself, one with fewer events than the case included."""
    bundle, held = world.bundle, world.sequences.batch(world.rows).mask.sum(1)
    fewest, most = int(np.argmin(held)), int(np.argmax(held))
    group = bundle.reference.filter(bundle.reference["sample_id"] == world.sequences.sample_ids[fewest])
    players = players_of(bundle.task)
    game = Game.of(bundle, players, comparison(bundle.task, group, "all_applicants", "rows"))
    found = exact(game, world.sequences, np.array([most]))
    np.testing.assert_allclose(found.base[0], score_rows(bundle, world.sequences, np.array([fewest])).logits[0], atol=1e-4)
    (length,) = [place for place, name in enumerate(players.names) if name.startswith("length of")]
    assert abs(found.values[0, -1, length]) > 1e-3


def test_the_network_is_left_as_it_was(world: World) -> None:
    bundle = world.bundle
    game = Game.of(bundle, players_of(bundle.task), comparison(bundle.task, bundle.reference, "all_applicants"))
    bundle.network.train()
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in bundle.network.state_dict().items()}
    exact(game, world.sequences, world.rows[:2])
    assert all(module.training for module in bundle.network.modules())
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, weights[name]) for name, value in bundle.network.state_dict().items())
    bundle.network.eval()


def test_what_is_lost_at_a_token_is_what_the_network_says_without_it(world: World) -> None:
    """`pulls` against the batch itself, its cells at one token exchanged by hand for a comparison row's and scored again."""
    bundle, task = world.bundle, world.bundle.task
    row = int(np.argmax(world.sequences.batch(world.rows).mask.sum(1)))
    batch = world.sequences.batch(np.array([row]))
    other = comparison(task, bundle.reference, "all_applicants", "rows", 1)
    players = players_of(task)
    game = Game.of(bundle, players, other)
    for name, step in (("billed", -1), ("status", 0)):
        player = players.names.index(name)
        (pulls,) = game.pulls(batch, [[player]], np.array([step]))
        assert pulls.shape == (1, task.length) and pulls[0, 0] == 0, "no cell of the leading token"
        assert abs(pulls).max() > 1e-3
        for token in range(1, task.length):
            expected = log_odds_of(bundle, batch, step) - log_odds_of(bundle, exchanged(batch, other.rows, players, player, token), step)
            assert abs(pulls[0, token] - (expected if batch.mask[0, token] else 0)) < 1e-5


def exchanged(batch: Batch, other: Batch, players: Players, player: int, token: int) -> Batch:
    """The batch with one player's cells at one token as the other's first row has them."""
    numbers, codes = batch.numbers.copy(), batch.codes.copy()
    whose = players.cells[token] == player
    F = numbers.shape[2]
    numbers[0, token, whose[:F]] = other.numbers[0, token, whose[:F]]
    codes[0, token, whose[F:]] = other.codes[0, token, whose[F:]]
    return replace(batch, numbers=numbers, codes=codes)


def log_odds_of(bundle: Bundle, batch: Batch, step: int) -> float:
    """Calibrated, after one step, by the network's own forward pass."""
    with undisturbed(bundle.network, None):
        raw = np.array([[log_odds(bundle.network, answer)[0] for answer in answers(bundle.network, batch)]])
    return float(bundle.calibration.apply(raw)[0, step])


def test_noise_is_a_samples_own(world: World) -> None:
    batch, ids = world.sequences.batch(world.rows[:4]), world.sequences.sample_ids[world.rows[:4]]
    shaken = noisy(batch, ids, 0.01)
    again = noisy(world.sequences.batch(world.rows[2:3]), ids[2:3], 0.01)
    np.testing.assert_array_equal(shaken.numbers[2], again.numbers[0])
    np.testing.assert_allclose(shaken.numbers, batch.numbers, rtol=0.08)
    assert not np.array_equal(shaken.numbers, batch.numbers, equal_nan=True)


def test_more_players_than_exact_values_allow_are_refused(world: World) -> None:
    players = players_of(world.bundle.task, "events")
    many = type(players)(view="events", names=tuple(map(str, range(13))), cells=players.cells, tokens=np.full(len(players.tokens), NOBODY))
    game = Game.of(world.bundle, many, comparison(world.bundle.task, world.bundle.reference, "all_applicants"))
    with pytest.raises(ConfigError, match="13 players are 8,192 coalitions a case; choose at most 12"):
        exact(game, world.sequences, world.rows[:1])
