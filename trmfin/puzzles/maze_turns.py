"""The eight symmetries of the square, for mazes: other looks to learn from, and keys that keep them out of the test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.puzzles.maze import SYMBOLS, Int, checked, labels
from trmfin.puzzles.puzzles import Float, Grids, Puzzles

Keys = NDArray[np.bytes_]
LETTERS = np.array(SYMBOLS, "S1")


class Turn:
    """Rotations and reflections of mazes, with labels found anew.

    Where several shortest paths exist, a turned label is in general not the label of the turned maze: the order in which the search
    looks does not turn along. Learning from turned labels would contradict the rule that the answers are tested by.
    """

    draws = 1

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, puzzles: Puzzles, uniform: Float) -> Puzzles:
        """uniform: (N, 1) in [0, 1); below 1/8 a maze stays as it is. Raises DataError on another shape and as `labels` does."""
        if uniform.shape != (len(puzzles), self.draws):
            raise DataError(f"turn: random numbers of shape {uniform.shape}; expected ({len(puzzles)}, {self.draws})")
        which = (uniform[:, 0] * 8).astype(np.int64)
        questions = turned(puzzles.questions, self.side, which)
        return Puzzles(questions=questions, answers=labels(questions, self.side))


def turned(grids: Grids, side: int, which: Int | int) -> Grids:
    """(N, cells) each grid by its own symmetry. which: (N,) or one for all; 0 leaves it as it is, 1 … 3 turn it left that many times,
    4 … 7 do so after transposition."""
    return np.take_along_axis(grids, np.broadcast_to(symmetries(side)[which], grids.shape), axis=1)


def symmetries(side: int) -> Int:
    """(8, cells) the cell that each cell is taken from; the first leaves all as they are."""
    square = np.arange(side * side).reshape(side, side)
    return np.stack([np.rot90(start, times).ravel() for start in (square, square.T) for times in range(4)])


def canonical(questions: ArrayLike, side: int) -> Keys:
    """(N,) keys, equal exactly for mazes that are one another's look: the least of a maze's eight texts in SYMBOLS.

    Start and goal need not be there: with OPEN in their places the key tells walls apart and nothing else.
    Raises DataError on grids that are none.
    """
    texts = LETTERS[checked(questions, side, "questions", single=())]
    least = None
    for source in symmetries(side):
        key = np.ascontiguousarray(texts[:, source]).view(f"S{side * side}")[:, 0]
        least = key if least is None else np.where(key < least, key, least)
    return np.asarray(least)


def split_apart(train_pool: Puzzles, held_out: Puzzles, side: int) -> Puzzles:
    """Those of the pool, in its order, that are no look of a maze of `held_out`."""
    return train_pool.take(np.flatnonzero(~np.isin(canonical(train_pool.questions, side), canonical(held_out.questions, side))))
