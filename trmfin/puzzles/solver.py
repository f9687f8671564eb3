"""A Sudoku solver for many boards at once: naked and hidden singles, then a split of the cell with the fewest candidates.

A board's state is one bit mask of candidates a cell, bit d - 1 for digit d, 0 for a contradiction. States lie as (cells, K) with
the K boards last, so that each step is one operation on long contiguous rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trmfin.puzzles.board import Board
from trmfin.puzzles.puzzles import Grids

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
States = NDArray[np.uint16]  # (cells, K)
AT_ONCE = 2048  # boards worked on together: their states and what is worked out from them stay in a core's cache
UNITS = ((2, 3), (0, 1), (1, 3))  # the axes of (bands, box_rows, stacks, box_columns, K) that run inside a row, a column, a box


@dataclass(frozen=True, kw_only=True, eq=False)
class Solved:
    """What is known of N puzzles once they are solved."""

    answers: Grids  # (N, cells) the solution where there is exactly one, else blank
    solutions: Int  # (N,) counted up to 2: 0 = contradictory, 1 = a puzzle, 2 = ambiguous
    guesses: Int  # (N,) splits that the whole search took, 0 = singles alone; -1 where ambiguous, as the search stops early


def solve(board: Board, questions: Grids) -> Solved:
    """Solve N puzzles (N, cells), none of which affects another. Raises DataError on grids that are none."""
    found = _search(board, states(board, board.checked(questions, "questions")), most=2)
    several = found.solutions > 1
    found.answers[several], found.guesses[several] = 0, -1
    return found


def spare(board: Board, questions: Grids, cells: Int) -> Bool:
    """(N,) whether the given in `cells` (N,) of each puzzle can go: no solution of the rest has another digit there."""
    start, puzzles = states(board, board.checked(questions, "questions")), np.arange(len(questions))
    start[cells, puzzles] ^= np.uint16((1 << board.size) - 1)  # every digit but the given
    return np.equal(_search(board, start, most=1).solutions, 0)


def _search(board: Board, start: States, most: int) -> Solved:
    """Solutions of N boards, each counted up to `most`; the answer is the last one found."""
    count = start.shape[1]
    answers, solutions, guesses = np.zeros((count, board.cells), np.int8), np.zeros(count, np.int64), np.zeros(count, np.int64)
    stack = [(start, np.arange(count))]
    while stack:
        work, owner = _pop(stack)
        if (late := solutions[owner] >= most).any():
            work, owner = work[:, ~late], owner[~late]
        work = propagate(board, work)
        done = finished(work)
        answers[owner[done]] = digits(work[:, done])
        np.add.at(solutions, owner[done], 1)
        open_ = ~done & (work[0] > 0)
        np.add.at(guesses, owner[open_], 1)
        if open_.any():
            stack.append((_split(work[:, open_]), np.tile(owner[open_], 2)))
    return Solved(answers=answers, solutions=np.minimum(solutions, most), guesses=guesses)


def by_singles(board: Board, questions: Grids) -> Bool:
    """(N,) whether naked and hidden singles alone solve each; where so, the solution is the only one."""
    start, parts = states(board, board.checked(questions, "questions")), range(0, len(questions), AT_ONCE)
    found = [finished(propagate(board, start[:, part : part + AT_ONCE])) for part in parts]
    return np.concatenate([np.zeros(0, np.bool_), *found])


def states(board: Board, questions: Grids) -> States:
    """(cells, N) candidates before any thought: a given's own digit, and every digit on a blank."""
    bits = np.array([(1 << board.size) - 1, *(1 << digit for digit in range(board.size))], np.uint16)
    return bits[np.ascontiguousarray(questions.T)]


def digits(solved: States) -> Grids:
    """(K, cells) of boards whose every cell has one candidate."""
    return np.ascontiguousarray(np.bitwise_count(solved - np.uint16(1)).T).astype(np.int8) + np.int8(1)


def finished(work: States) -> Bool:
    """(K,) whether every cell has one candidate; after `propagate` that is a solution."""
    return np.asarray(((work & (work - 1)) == 0).all(axis=0) & (work[0] > 0))


def propagate(board: Board, work: States) -> States:
    """Naked and hidden singles until nothing changes. A contradictory board is returned as all 0."""
    out = np.empty_like(work)
    work, moving = work.copy(), np.arange(work.shape[1])  # boards that may still change
    while moving.size:
        before = work.copy()
        _sweep(board, work)
        changed = (work != before).any(axis=0) & (work[0] > 0)
        if np.count_nonzero(changed) < 0.8 * len(changed):  # leaving boards out costs about half a sweep
            out[:, moving[~changed]] = work[:, ~changed]
            work, moving = work[:, changed], moving[changed]
    return out


def _sweep(board: Board, work: States) -> None:
    """One pass over rows, columns and boxes, in place."""
    full = np.uint16((1 << board.size) - 1)
    grid = work.reshape(board.bands, board.box_rows, board.stacks, board.box_columns, -1)
    sound = np.ones(grid.shape[-1], np.bool_)
    for axes in UNITS:
        single = grid * ((grid & (grid - 1)) == 0)
        taken = np.bitwise_or.reduce(single, axis=axes, keepdims=True)
        twice = np.add.reduce(single, axis=axes, keepdims=True, dtype=np.uint16) != taken  # a sum of distinct bits is their union
        grid &= single | ~taken
        members = np.moveaxis(grid, axes, (0, 1))  # (·, ·, ·, ·, K): n members of n units
        present, again = _present(members)
        sound &= ~twice.reshape(board.size, -1).any(axis=0) & (present == full).reshape(board.size, -1).all(axis=0)
        forced = members & (present & ~again)
        members &= forced | -(forced == 0).astype(np.uint16)
    work *= sound & work.all(axis=0)


def _present(members: States) -> tuple[States, States]:
    """Digits that units hold in at least one cell, and in at least two."""
    present, again = members[0, 0].copy(), np.zeros_like(members[0, 0])
    for place in range(1, members.shape[0] * members.shape[1]):
        cell = members[divmod(place, members.shape[1])]
        again |= present & cell
        present |= cell
    return present, again


def _split(work: States) -> States:
    """(cells, 2K) each board twice: with the lowest candidate of its most decided open cell, and without it."""
    count = np.bitwise_count(work)
    cell = np.where(count > 1, count, np.uint8(255)).argmin(axis=0)
    boards = np.arange(work.shape[1])
    lowest = work[cell, boards] & -work[cell, boards]
    twin = np.concatenate([work, work], axis=1)
    twin[cell, boards] &= ~lowest
    twin[cell, boards + len(boards)] = lowest
    return twin


def _pop(stack: list[tuple[States, Int]]) -> tuple[States, Int]:
    """The last boards of the stack, about AT_ONCE of them: depth first, so that the stack stays small."""
    blocks: list[tuple[States, Int]] = []
    while stack and (room := AT_ONCE - sum(len(owner) for _, owner in blocks)) > 0:
        work, owner = stack.pop()
        if len(owner) > room:
            stack.append((work[:, :-room], owner[:-room]))
        blocks.append((work[:, -room:], owner[-room:]))
    return np.concatenate([work for work, _ in blocks], axis=1), np.concatenate([owner for _, owner in blocks])
