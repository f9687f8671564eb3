"""Deep supervision's slots: each holds a sample and the state its recursion has reached; a finished slot is refilled.

All randomness is a function of (seed, what is drawn), so a resumed run needs no generator state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trmfin.model.core import State

ORDER, DEPTH, HIDE, EXPLORE, STIR, THIN = range(6)  # what is drawn; keeps the draws of one step apart


def draw(seed: int, what: int, step: int) -> np.random.Generator:
    """The generator for one purpose at one step."""
    return np.random.default_rng((seed, what, step))


@dataclass(kw_only=True)
class Slots:
    """B slots. `age` counts the supervision steps a slot's sample has had; age 0 starts from the untrained state."""

    seed: int
    pool: NDArray[np.int64]  # rows to train on
    supervision_steps: int
    random_depth: bool
    taken: int = 0  # samples handed out so far
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (B,)
    age: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (B,)
    depth: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (B,) steps planned
    y: Tensor = field(default_factory=lambda: torch.zeros(0))  # (B, L, D) carried answer
    z: Tensor = field(default_factory=lambda: torch.zeros(0))  # (B, L, D) carried latent
    loss: Tensor = field(default_factory=lambda: torch.zeros(0))  # (B,) of the last step
    depths: Counter[int] = field(default_factory=Counter)  # steps that finished slots had
    _lap: tuple[int, NDArray[np.int64]] = field(default_factory=lambda: (-1, np.zeros(0, np.int64)))  # the permutation in use

    def fill(self, size: int) -> None:
        """First samples. Ages are spread so that slots do not finish together."""
        self.rows = self.next_rows(size)
        self.depth = self._depths(size)
        self.age = np.zeros(size, np.int64)
        stagger = draw(self.seed, EXPLORE, 0).integers(0, self.supervision_steps, size)
        self.depth = np.maximum(self.depth - stagger, 1)
        self.loss = torch.zeros(size)

    def begin(self, start: State) -> State:
        """Where each slot's recursion goes on: the carried state, or `start` for a fresh sample."""
        if not self.y.numel():
            return start
        fresh = torch.from_numpy(self.age == 0).to(start.y.device)[:, None, None]
        return State(torch.where(fresh, start.y, self.y), torch.where(fresh, start.z, self.z))

    def finish(self, state: State, loss: Tensor, halted: NDArray[np.bool_]) -> None:
        """Keep where the step ended; refill the slots that have had their steps or have halted."""
        self.y, self.z = state.detach()
        self.loss = loss.detach()
        self.age = self.age + 1
        done = (self.age >= self.depth) | halted
        self.depths.update(self.age[done].tolist())
        if count := int(done.sum()):
            self.rows, self.depth = self.rows.copy(), self.depth.copy()
            self.rows[done] = self.next_rows(count)
            self.depth[done] = self._depths(count)  # drawn by the samples taken, so after taking them
            self.age[done] = 0

    def next_rows(self, count: int) -> NDArray[np.int64]:
        """The next samples of an endless stream of permutations of the pool."""
        size = len(self.pool)
        places = np.arange(self.taken, self.taken + count)
        self.taken += count
        out = np.empty(count, np.int64)
        for lap in range(int(places[0] // size), int(places[-1] // size) + 1):
            inside = places // size == lap
            out[inside] = self._order(lap)[places[inside] % size]
        return out

    def _order(self, lap: int) -> NDArray[np.int64]:
        if lap != self._lap[0]:
            self._lap = lap, self.pool[draw(self.seed, ORDER, lap).permutation(len(self.pool))]
        return self._lap[1]

    def _depths(self, count: int) -> NDArray[np.int64]:
        if not self.random_depth:
            return np.full(count, self.supervision_steps, np.int64)
        return draw(self.seed, DEPTH, self.taken).integers(1, self.supervision_steps + 1, count)
