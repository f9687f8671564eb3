"""What every kind of puzzle is to the rest: questions and answers as grids of small whole numbers, and ways to redraw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Grids = NDArray[np.int8]
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Puzzles:
    """N puzzles of one kind. A cell holds the position of its symbol in the kind's `symbols`."""

    questions: Grids  # (N, cells)
    answers: Grids  # (N, cells)

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: NDArray[np.int64]) -> Puzzles:
        return Puzzles(questions=self.questions[rows], answers=self.answers[rows])


def joined(first: Puzzles, second: Puzzles) -> Puzzles:
    """The puzzles of both, those of the first before."""
    return Puzzles(questions=np.concatenate([first.questions, second.questions]), answers=np.concatenate([first.answers, second.answers]))


class Redraw(Protocol):
    """Another look of the same puzzles: a symmetry of the rules, chosen by random numbers. The answers stay right."""

    draws: int  # random numbers that one puzzle takes

    def __call__(self, puzzles: Puzzles, uniform: Float) -> Puzzles:
        """uniform: (N, draws) in [0, 1), as `chance.uniform` gives them. A puzzle's look depends on its own row alone."""
        ...
