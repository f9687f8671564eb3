"""Sudoku boards of several sizes: their units, their symmetries, and the rules as residuals of an answer.

A grid holds its cells in reading order: 0 = blank, 1 … n = digits, int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import ConfigError, DataError
from trmfin.puzzles.puzzles import Float, Grids, Puzzles
from trmfin.sequences.batch import Batch

Int = NDArray[np.int64]
FIRST_SYMBOL = 2  # a batch's codes 0 and 1 are absent and unknown; code 2 is the first symbol, blank


@dataclass(frozen=True, kw_only=True)
class Board:
    """n rows, columns, boxes and digits, where a box has box_rows × box_columns = n cells. Raises ConfigError unless 4 <= n <= 9."""

    box_rows: int
    box_columns: int

    def __post_init__(self) -> None:
        if min(self.box_rows, self.box_columns) < 2 or self.size > 9:
            raise ConfigError(f"board: boxes of {self.box_rows} × {self.box_columns}; expected sides of at least 2 and at most 9 cells")

    @property
    def size(self) -> int:
        """n."""
        return self.box_rows * self.box_columns

    @property
    def cells(self) -> int:
        return self.size**2

    @property
    def bands(self) -> int:
        """Rows of boxes; each has box_rows rows."""
        return self.box_columns

    @property
    def stacks(self) -> int:
        """Columns of boxes; each has box_columns columns."""
        return self.box_rows

    @property
    def square(self) -> bool:
        """Whether a transposed board is a board of the same kind."""
        return self.box_rows == self.box_columns

    @cached_property
    def units(self) -> Int:
        """(3n, n) cell numbers: n rows, then n columns, then n boxes."""
        rows = np.arange(self.cells).reshape(self.size, self.size)
        boxes = rows.reshape(self.bands, self.box_rows, self.stacks, self.box_columns).transpose(0, 2, 1, 3).reshape(rows.shape)
        return np.concatenate([rows, rows.T, boxes])

    @cached_property
    def peers(self) -> Int:
        """(cells, P) the cells that share a unit with each, itself not among them; P = 3n - box_rows - box_columns - 1."""
        member = np.zeros((3 * self.size, self.cells), np.int64)
        np.put_along_axis(member, self.units, 1, axis=1)
        together = member.T @ member > 0
        np.fill_diagonal(together, False)
        return np.nonzero(together)[1].reshape(self.cells, -1)

    def checked(self, grids: ArrayLike, what: str) -> Grids:
        """(N, cells) int8. Raises DataError on another shape and on anything but whole numbers 0 … n."""
        array = np.asarray(grids)
        if array.ndim != 2 or array.shape[1] != self.cells:
            raise DataError(f"{what}: shape {array.shape}; expected (puzzles, {self.cells}), the cells of each in reading order")
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"{what}: numbers of type {array.dtype}; expected whole ones, 0 = blank, 1 … {self.size} = digits")
        if (bad := np.flatnonzero(((array < 0) | (array > self.size)).any(axis=1))).size:
            raise DataError(f"{what}: {bad.size} of {len(array)} grids hold other than 0 … {self.size}, first grid {bad[0]}")
        return array.astype(np.int8, copy=False)


FOUR = Board(box_rows=2, box_columns=2)
SIX = Board(box_rows=2, box_columns=3)
NINE = Board(box_rows=3, box_columns=3)


class Shuffle:
    """The symmetries of a board: digits, bands, rows in bands, stacks, columns in stacks, and transposition where boxes are square."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.draws = 3 * board.size + board.bands + board.stacks + board.square

    def __call__(self, puzzles: Puzzles, uniform: Float) -> Puzzles:
        """uniform: (N, draws) in [0, 1); a row of zeros leaves its puzzle as it is. Raises DataError on another shape."""
        if uniform.shape != (len(puzzles), self.draws):
            raise DataError(f"shuffle: random numbers of shape {uniform.shape}; expected ({len(puzzles)}, {self.draws})")
        source, digits = self._symmetry(uniform)

        def moved(grids: Grids) -> Grids:
            return np.take_along_axis(digits, np.take_along_axis(grids, source, axis=1), axis=1)

        return Puzzles(questions=moved(puzzles.questions), answers=moved(puzzles.answers))

    def _symmetry(self, uniform: Float) -> tuple[Int, Grids]:
        """(N, cells) the cell that each cell is taken from, and (N, n + 1) the new names of blank and digits."""
        board, n = self.board, self.board.size
        digits, bands, rows, stacks, columns, turn = np.split(uniform, np.cumsum([n, board.bands, n, board.stacks, n]), axis=1)
        row = _lines(bands, rows)  # (N, n)
        column = _lines(stacks, columns)
        source = row[:, :, None] * n + column[:, None, :]
        if board.square:
            source = np.where(turn[:, :, None] < 0.5, source, source.transpose(0, 2, 1))
        names = np.argsort(digits, axis=1, kind="stable") + 1
        return source.reshape(len(uniform), board.cells), np.pad(names, ((0, 0), (1, 0))).astype(np.int8)


def _lines(blocks: Float, lines: Float) -> Int:
    """(N, n) the order of lines: blocks of them in the order of `blocks` (N, blocks), inside each that of its part of `lines` (N, n)."""
    block = np.argsort(blocks, axis=1, kind="stable")
    inside = np.argsort(lines.reshape(*blocks.shape, -1), axis=2, kind="stable")
    return np.asarray((block[:, :, None] * inside.shape[2] + inside).reshape(lines.shape))


def residuals(board: Board, questions: Grids, answers: Grids) -> dict[str, Float]:
    """By how much answers break the rules; 0 where a rule holds.

    questions, answers: (N, cells). Returns `rows`, `columns` and `boxes`, each (N, n): how many digits a unit lacks; and
    `givens` (N,): how many givens the answer changes. Raises DataError on grids that are none, and on unequal numbers of them.
    """
    questions, answers = board.checked(questions, "questions"), board.checked(answers, "answers")
    if len(questions) != len(answers):
        raise DataError(f"residuals: {len(questions)} questions and {len(answers)} answers; expected as many")
    bits = np.left_shift(1, answers, dtype=np.int16)[:, board.units] >> 1  # (N, 3n, n); a blank has no bit
    lacking = board.size - np.bitwise_count(np.bitwise_or.reduce(bits, axis=2)).astype(np.float64)
    rows, columns, boxes = np.split(lacking, 3, axis=1)
    changed = ((questions > 0) & (questions != answers)).sum(axis=1).astype(np.float64)
    return {"rows": rows, "columns": columns, "boxes": boxes, "givens": changed}


def valid(board: Board, questions: Grids, answers: Grids) -> NDArray[np.bool_]:
    """(N,) whether each answer is full, keeps its givens and breaks no rule. Otherwise as `residuals`."""
    found = residuals(board, questions, answers)
    lacking = np.concatenate([found["rows"], found["columns"], found["boxes"], found["givens"][:, None]], axis=1)
    return np.logical_not(lacking.any(axis=1))


@dataclass(frozen=True)
class Rules:
    """The rules of a board as a `Checker`. Token 0 is the leading token; tokens 1 … n² are the cells, class k is digit k + 1."""

    board: Board

    def __call__(self, batch: Batch, answer: Int) -> dict[str, Float]:
        """answer: (B, 1 + cells) class positions. Returns as `residuals`."""
        return residuals(self.board, (batch.codes[:, 1:, 0] - FIRST_SYMBOL).astype(np.int8), (answer[:, 1:] + 1).astype(np.int8))
