"""Shapley values of more players than can be worked out exactly: shap's permutations over the same game, seeded, with standard errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError, MissingExtra
from trmfin.explaining.players import Players
from trmfin.explaining.shapley import MOST_EXACT, Attribution, Game, exact, noisy
from trmfin.sequences.sequences import Sequences

ROUNDS = 8  # independent permutations, each walked forwards and backwards


def attributed(
    game: Game,
    sequences: Sequences,
    rows: NDArray[np.int64],
    *,
    noise: float = 0.0,
    tell: Callable[[int], None] = lambda cases_done: None,
) -> Attribution:
    """Exact values of up to MOST_EXACT players, sampled ones of more; as `exact` and `sampled` say."""
    return (exact if len(game.players) <= MOST_EXACT else sampled)(game, sequences, rows, noise=noise, tell=tell)


def sampled(
    game: Game,
    sequences: Sequences,
    rows: NDArray[np.int64],
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    noise: float = 0.0,
    tell: Callable[[int], None] = lambda cases_done: None,
) -> Attribution:
    """Estimates of samples `rows`: means over `rounds` of shap's PermutationExplainer, each of one permutation there and back.

    Every round sums to the score's log-odds, so their mean does; `standard_error` says how far a player's value may be off.
    noise, tell: as in `exact`. Raises ConfigError below two rounds, MissingExtra without shap.
    """
    if rounds < 2:
        raise ConfigError(f"sampled Shapley values: {rounds} rounds; at least 2 are needed to say how far they may be off")
    check_sampler(game.players)
    from shap import PermutationExplainer

    M, S = len(game.players), game.steps
    found, ends = np.empty((len(rows), rounds, S, M)), np.empty((2, len(rows), S))
    everybody, nobody = np.ones((1, M)), np.zeros((1, M))
    for case, row in enumerate(rows):
        batch = sequences.batch(np.array([row]))
        if noise:
            batch = noisy(batch, sequences.sample_ids[batch.rows], noise)

        def worth(sets: NDArray[np.float64]) -> NDArray[np.float64]:
            said: NDArray[np.float64] = game.worth(batch, sets > 0.5)[0]  # noqa: B023 - called before the next case
            return said

        ends[:, case] = worth(np.concatenate((nobody, everybody)))
        for turn in range(rounds):
            with _numpys_own_random():
                explainer = PermutationExplainer(worth, nobody, seed=seed + turn)
                found[case, turn] = explainer(everybody, max_evals=2 * M + 1, silent=True).values[0].reshape(M, S).T
        tell(case + 1)
    return Attribution(
        sample_ids=sequences.sample_ids[rows],
        players=game.players.names,
        base=ends[0],
        values=found.mean(1),
        logits=ends[1],
        standard_error=found.std(1, ddof=1) / rounds**0.5,
        evaluations=rounds * (2 * M + 1) * len(game.other),
        seed=seed,
    )


def check_sampler(players: Players) -> None:
    """Raises MissingExtra where these players are too many for exact values and shap is not installed."""
    if len(players) > MOST_EXACT and find_spec("shap") is None:
        raise MissingExtra("more than twelve players are sampled by shap; pip install 'trmfin[explain]'")


@contextmanager
def _numpys_own_random() -> Iterator[None]:
    """shap seeds numpy's global generator: it is put back."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
