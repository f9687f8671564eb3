"""Exact Shapley values of a score's log-odds over named players, at every supervision step.

All 2^M coalitions of a case's M players are run through the network in batches, each with the cells of absent players taken from
a comparison group, and what they answer after each step is weighed by Shapley's formula (1953). Values and base sum to the case's
own log-odds by construction; that these are the ones in a run's table is for a release check to find out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trmfin.errors import ConfigError
from trmfin.explaining.comparison import Comparison, completed
from trmfin.explaining.players import NOBODY, Players, coalitions
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import allowed_steps, cached_batch, log_odds, undisturbed
from trmfin.sequences.sequences import Batch, Sequences

if TYPE_CHECKING:
    import shap

MOST_EXACT = 12  # players: 4,096 coalitions a case
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """What each of M players adds to the calibrated log-odds of N cases, after each of S supervision steps."""

    sample_ids: NDArray[np.object_]  # (N,)
    players: tuple[str, ...]  # (M,)
    base: Float  # (N, S) log-odds with every player turned off
    values: Float  # (N, S, M)
    logits: Float  # (N, S) log-odds with every player turned on, from the same passes
    interactions: Float | None = None  # (N, S, M, M) symmetric; each row sums to the player's value
    standard_error: Float | None = None  # (N, S, M) of sampled values; None: they are exact
    evaluations: int = 0  # passes a case
    seed: int | None = None  # of sampled values

    def explanation(self, step: int = -1) -> shap.Explanation:
        """One step's values as shap's own object, for its plots."""
        from shap import Explanation

        return Explanation(values=self.values[:, step], base_values=self.base[:, step], feature_names=list(self.players))


@dataclass(frozen=True, kw_only=True, eq=False)
class Game:
    """A bundle's log-odds as a function of which players take part."""

    bundle: Bundle
    players: Players
    comparison: Comparison
    steps: int
    other: Tensor  # (K, E, M, L, D) what absent players' cells add to each token; K = 1 for an average
    other_mask: NDArray[np.bool_]  # (K, L) tokens that are there where their player is absent; of an average, those that most rows have
    places: Tensor  # (E, L, D)

    @classmethod
    def of(cls, bundle: Bundle, players: Players, comparison: Comparison, steps: int | None = None) -> Game:
        """steps: supervision steps; None = all that were trained. The bundle's network is left as found."""
        network, task = bundle.network, bundle.task
        with undisturbed(network, None):
            places = network.places
            other = _by_player(network.cells(completed(task, comparison.rows)), players)
        mask = comparison.rows.mask
        if comparison.form == "average":
            there = torch.from_numpy(mask).to(other.dtype)
            other = other.mean(0, keepdim=True) if players.view == "features" else _mean_where(other, there)
            mask = mask.mean(0, keepdims=True) >= 0.5
        return cls(
            bundle=bundle,
            players=players,
            comparison=comparison,
            steps=allowed_steps(network.config, steps),
            other=other,
            other_mask=mask,
            places=places,
        )

    def worth(self, batch: Batch, sets: NDArray[np.bool_]) -> Float:
        """Calibrated log-odds of B cases with each of c sets of players, means over the comparison's rows. sets: (c, M) → (B, c, S)."""
        with undisturbed(self.bundle.network, None):
            return self._worth(batch, sets)

    def _worth(self, batch: Batch, sets: NDArray[np.bool_]) -> Float:
        network, K = self.bundle.network, len(self.other)
        own = _by_player(network.cells(completed(network.task, batch)), self.players)  # (B, E, M, L, D)
        chosen = torch.from_numpy(sets).to(own.dtype)
        out = np.zeros((len(batch.rows), len(sets), self.steps))
        size = cached_batch(network.config, network.task.length)
        pairs = [(case, k) for case in range(len(own)) for k in range(K)]
        together = max(size // len(sets), 1)
        for first in range(0, len(pairs), together):
            cases, ks = np.array(pairs[first : first + together]).T
            absent = self.other[ks]
            base = absent.sum(2) + self.places  # (P, E, L, D)
            more = (own[cases] - absent).transpose(1, 2).flatten(2)  # (P, M, E L D)
            for at in range(0, len(sets), size):
                part = sets[at : at + size]
                x = (base.flatten(1)[:, None] + chosen[at : at + size] @ more).view(-1, *base.shape[1:])  # (P c, E, L, D)
                said = self._answers(x, self._shown(batch, cases, ks, part)).reshape(len(cases), len(part), self.steps)
                np.add.at(out[:, at : at + size], cases, said / K)
        return out

    def pulls(self, batch: Batch, chosen: Sequence[Sequence[int]], steps: NDArray[np.int64]) -> list[Float]:
        """What is lost of each case's log-odds where one of its chosen players loses its cells at one token: (players, L) each.

        The cells are replaced by the comparison's, on average over its rows. 0 where a token is not there, or the player has no
        cells. steps: (B,) after which step, from 0, each case is looked at.
        """
        with undisturbed(self.bundle.network, None):
            return self._pulls(batch, chosen, steps)

    def _pulls(self, batch: Batch, chosen: Sequence[Sequence[int]], steps: NDArray[np.int64]) -> list[Float]:
        network = self.bundle.network
        own, absent = _by_player(network.cells(batch), self.players), self.other.mean(0)
        owns = [(self.players.cells == player).any(1) for player in range(len(self.players))]  # (L,) each
        at = [
            (case, place, player, token)
            for case, mine in enumerate(chosen)
            for place, player in enumerate(mine)
            for token in np.flatnonzero(batch.mask[case] & owns[player])
        ]
        out = [np.zeros((len(mine), network.task.length)) for mine in chosen]
        whole = own.sum(2) + self.places  # (B, E, L, D)
        full = self._answers(whole, replace(batch, targets={})) if at else np.zeros((0, self.steps))
        size = cached_batch(network.config, network.task.length)
        for first in range(0, len(at), size):
            cases, places, players, tokens = np.array(at[first : first + size]).T
            x, n = whole[cases].clone(), np.arange(len(cases))
            x[n, :, tokens] += absent[:, players, tokens].transpose(0, 1) - own[cases, :, players, tokens]
            shown = replace(batch, mask=batch.mask[cases], rows=batch.rows[cases], targets={}, relation=None)
            if batch.relation is not None:
                shown = replace(shown, relation=batch.relation[cases])
            lost = (full[cases] - self._answers(x, shown))[n, steps[cases]]
            for case, place, token, value in zip(cases, places, tokens, lost, strict=True):
                out[case][place, token] = value
        return out

    def _shown(self, batch: Batch, cases: NDArray[np.int64], ks: NDArray[np.int64], sets: NDArray[np.bool_]) -> Batch:
        """Which tokens are there, and how they are related, for every pair of case and comparison row, and every set, (P c, …)."""
        owner = self.players.tokens
        mine = np.where(owner == NOBODY, True, sets[:, owner])  # (c, L)
        mask = np.where(mine, batch.mask[cases][:, None], self.other_mask[ks][:, None]).reshape(-1, len(owner))
        relation = None
        if batch.relation is not None:
            both = mine[:, :, None] & mine[:, None, :]
            relation = np.where(both, batch.relation[cases][:, None], 0).reshape(-1, len(owner), len(owner))
        return replace(batch, mask=mask, relation=relation, rows=np.repeat(batch.rows[cases], len(sets)), targets={})

    def _answers(self, x: Tensor, shown: Batch) -> Float:
        """(n, S) calibrated log-odds of embedded questions. x: (n, E, L, D)."""
        network = self.bundle.network
        x = x * torch.from_numpy(shown.mask).to(x.dtype)[:, None, :, None]
        setting, state = network.setting(shown), network.core.start(x)
        raw = np.empty((len(x), self.steps))
        for step in range(self.steps):
            state = network.core(x, state, setting)
            raw[:, step] = log_odds(network, network.read(state, setting))
        return self.bundle.calibration.apply(raw)


def exact(
    game: Game,
    sequences: Sequences,
    rows: NDArray[np.int64],
    *,
    interactions: bool = False,
    noise: float = 0.0,
    tell: Callable[[int], None] = lambda cases_done: None,
) -> Attribution:
    """Shapley values of samples `rows` of sequences that are aligned to the bundle's `fitted`, over all 2^M coalitions.

    noise: standard deviation, as a share of each number, of normal noise that a sample's identity seeds. tell: called with the
    cases done so far. Raises ConfigError beyond MOST_EXACT players.
    """
    M = len(game.players)
    if M > MOST_EXACT:
        raise ConfigError(f"exact Shapley values: {M} players are {2**M:,} coalitions a case; choose at most {MOST_EXACT}, or sample")
    sets = coalitions(M)
    worth = np.empty((len(rows), len(sets), game.steps))
    for first, batch in _cases(game, sequences, rows):
        if noise:
            batch = noisy(batch, sequences.sample_ids[batch.rows], noise)
        worth[first : first + len(batch.rows)] = game.worth(batch, sets)
        tell(first + len(batch.rows))
    return Attribution(
        sample_ids=sequences.sample_ids[rows],
        players=game.players.names,
        base=worth[:, 0],
        values=shapley_values(worth),
        logits=worth[:, -1],
        interactions=shapley_interactions(worth) if interactions else None,
        evaluations=len(sets) * len(game.other),
    )


def noisy(batch: Batch, sample_ids: NDArray[np.object_], share: float) -> Batch:
    """The batch with every number off by a share of itself, the same for a sample in whatever batch it stands."""
    numbers = batch.numbers.copy()
    for case, name in enumerate(sample_ids):
        seed = int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:8], "little")
        numbers[case] *= 1 + share * np.random.default_rng(seed).standard_normal(numbers[case].shape, np.float32)
    return replace(batch, numbers=numbers)


def shapley_values(worth: Float) -> Float:
    """(N, S, M) of what all coalitions are worth, (N, 2^M, S) in the order of `coalitions`."""
    found: Float = np.einsum("mc,ncs->nsm", _weights(_players(worth)), worth)
    return found


def shapley_interactions(worth: Float) -> Float:
    """(N, S, M, M): half of the Shapley interaction index of each pair (Grabisch & Roubens 1999) on either side of the diagonal,
    and what is left of a player's value on it, as shap has them."""
    M = _players(worth)
    out = np.zeros((len(worth), worth.shape[2], M, M))
    index, number = np.arange(2**M), coalitions(M).sum(1)
    for i in range(M):
        for j in range(i):
            without = index[(index >> i & 1 == 0) & (index >> j & 1 == 0)]
            weight = np.array([math.factorial(s) * math.factorial(M - s - 2) for s in number[without]]) / math.factorial(M - 1)
            pair, first, second = without | 1 << i | 1 << j, without | 1 << i, without | 1 << j
            joint = worth[:, pair] - worth[:, first] - worth[:, second] + worth[:, without]
            out[:, :, i, j] = out[:, :, j, i] = np.einsum("c,ncs->ns", weight, joint) / 2
    diagonal = np.arange(M)
    out[:, :, diagonal, diagonal] = shapley_values(worth) - out.sum(-1)
    return out


@cache
def _weights(players: int) -> Float:
    """(M, 2^M): a player's value is this row times what the coalitions are worth."""
    M, index = players, np.arange(2**players)
    number = coalitions(M).sum(1)
    weight = np.array([math.factorial(s) * math.factorial(M - s - 1) if s < M else 0 for s in range(M + 1)]) / math.factorial(M)
    rows = np.zeros((M, 2**M))
    for player in range(M):
        without = index[index >> player & 1 == 0]
        rows[player, without] = -weight[number[without]]
        rows[player, without | 1 << player] = weight[number[without]]
    return rows


def _players(worth: Float) -> int:
    return int(worth.shape[1]).bit_length() - 1


def _cases(game: Game, sequences: Sequences, rows: NDArray[np.int64]) -> Iterator[tuple[int, Batch]]:
    """Some cases at a time, with the place of the first."""
    size = cached_batch(game.bundle.network.config, game.bundle.task.length)
    for first in range(0, len(rows), size):
        yield first, sequences.batch(rows[first : first + size])


def _by_player(cells: Tensor, players: Players) -> Tensor:
    """(B, E, L, F + C, D) what cells add → (B, E, M, L, D) what players add."""
    owner = torch.from_numpy(players.cells)
    whose = torch.stack([owner == player for player in range(len(players))], -1).to(cells.dtype)  # (L, F + C, M)
    return torch.einsum("belfd,lfm->bemld", cells, whose)


def _mean_where(other: Tensor, there: Tensor) -> Tensor:
    """Mean over the rows that have a token, (1, E, M, L, D); zero where none has. there: (K, L)."""
    weight = there / there.sum(0).clamp_min(1)
    return torch.einsum("kemld,kl->emld", other, weight)[None]
