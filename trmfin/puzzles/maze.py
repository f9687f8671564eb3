"""Mazes: shortest paths of many at once, the path that is the label, and the rules as residuals of an answer.

A grid holds side × side cells in reading order, int8 positions in SYMBOLS. A question has one start, one goal, walls and open cells;
its answer also marks the cells strictly between start and goal on a shortest path. A step goes down, left, right or up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.puzzles.puzzles import Float, Grids

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

SYMBOLS = ("#", " ", "S", "G", "o")
WALL, OPEN, START, GOAL, PATH = range(5)


def distances(questions: ArrayLike, side: int, start: int = START) -> Int:
    """(N, cells) fewest steps from each maze's cell `start`, -1 where no way leads.

    questions: (N, cells); the symbol `start` stands in each exactly once. Raises DataError on other grids.
    """
    rooms = _walled(checked(questions, side, "questions", single=(start,)), side)
    found = np.full(rooms.size, -1)
    found[rooms.ravel() == start] = 0
    for steps, (_, target) in enumerate(_waves(rooms, start), 1):
        found[target] = steps
    return _inner(found, rooms)


def labels(questions: ArrayLike, side: int) -> Grids:
    """(N, cells) the answers: of several shortest paths the one that Maze-Hard's labels follow.

    That is the path of a breadth-first search from the start that looks down, left, right, then up, and enters a cell from where it
    was first seen. Raises DataError on grids that are no questions, and on a goal that cannot be reached.
    """
    rooms = _walled(checked(questions, side, "questions"), side)
    parent = np.full(rooms.size, -1)
    for source, target in _waves(rooms, START):
        parent[target[::-1]] = source[::-1]  # of repeated targets the last assignment stays: the first one seen
    flat = rooms.ravel()
    cell = parent[flat == GOAL]
    _check_reached(cell)
    while (cell := cell[flat[cell] != START]).size:
        flat[cell] = PATH
        cell = parent[cell]
    return _inner(flat, rooms)


def shortest_paths(questions: ArrayLike, side: int) -> Float:
    """(N,) how many shortest paths lead from start to goal, 0 where none does; exact up to 2**53. Errors as `distances`."""
    rooms = _walled(checked(questions, side, "questions"), side)
    paths = (rooms.ravel() == START).astype(np.float64)
    for source, target in _waves(rooms, START):
        np.add.at(paths, target, paths[source])
    return np.asarray(paths[rooms.ravel() == GOAL])


def exact(answers: Grids, truth: Grids) -> Bool:
    """(N,) whether every cell is as labelled. On mazes with several shortest paths this also asks for the label's choice of one.

    answers, truth: (N, cells). Raises DataError on unequal shapes.
    """
    _check_alike(answers, truth)
    return np.asarray((answers == truth).all(axis=1))


def residuals(questions: Grids, answers: Grids, side: int) -> dict[str, Float]:
    """By how much answers break the rules, each (N,); 0 where a rule holds. They ask for a shortest path, not for the labelled one.

    questions, answers: (N, cells).
    `changed`: cells that differ from the question other than by a mark on an open cell.
    `gap`: 1 where marks on open cells do not lead from start to goal.
    `extra`: steps of the shortest way along the marks beyond those that are needed, 0 where there is a gap.
    `stray`: marks on open cells that this way leaves over, all of them where there is a gap.
    Raises DataError on grids that are none, on unequal numbers of them, and on a question whose goal cannot be reached.
    """
    questions, answers = checked(questions, side, "questions"), checked(answers, side, "answers", most=PATH, single=())
    _check_alike(answers, questions)
    marks = (questions == OPEN) & (answers == PATH)
    needed = _steps(questions, side)
    _check_reached(needed)
    taken = _steps(np.where((questions == OPEN) & ~marks, np.int8(WALL), questions), side)
    gap = taken < 0
    return {
        "changed": ((answers != questions) & ~marks).sum(axis=1).astype(np.float64),
        "gap": gap.astype(np.float64),
        "extra": np.where(gap, 0, taken - needed).astype(np.float64),
        "stray": (marks.sum(axis=1) - np.where(gap, 0, taken - 1)).astype(np.float64),
    }


def valid_and_optimal(questions: Grids, answers: Grids, side: int) -> Bool:
    """(N,) whether each answer marks one shortest path, whichever, and changes nothing else: all `residuals` are 0. Errors as there."""
    return np.asarray(~np.any(list(residuals(questions, answers, side).values()), axis=0))


def checked(grids: ArrayLike, side: int, what: str, *, most: int = GOAL, single: tuple[int, ...] = (START, GOAL)) -> Grids:
    """(N, cells) int8. Raises DataError on another shape, on anything but whole numbers 0 … `most`, and where one of `single`
    does not stand in each grid exactly once."""
    array = np.asarray(grids)
    if array.ndim != 2 or array.shape[1] != side * side:
        raise DataError(f"{what}: shape {array.shape}; expected (mazes, {side * side}), the cells of each in reading order")
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{what}: numbers of type {array.dtype}; expected whole ones, positions in {SYMBOLS[: most + 1]}")
    if (bad := np.flatnonzero(((array < 0) | (array > most)).any(axis=1))).size:
        meaning = f"positions in {SYMBOLS[: most + 1]}"
        raise DataError(f"{what}: {bad.size} of {len(array)} mazes hold other than 0 … {most}, first maze {bad[0]}; expected {meaning}")
    for symbol in single:
        if (bad := np.flatnonzero((count := (array == symbol).sum(axis=1)) != 1)).size:
            number = f"maze {bad[0]} has {count[bad[0]]} times {SYMBOLS[symbol]!r}"
            raise DataError(f"{what}: {number}; expected it once, which {bad.size} of {len(array)} mazes do not have")
    return array.astype(np.int8, copy=False)


def _waves(rooms: Grids, start: int) -> Iterator[tuple[Int, Int]]:
    """Breadth-first search in all mazes at once: wave by wave, the steps from the last wave's cells to new ones.

    rooms: (N, side + 2, side + 2) with walls around. Yields source and target (E,), flat places in `rooms`, in the order in which a
    first-in-first-out queue meets them; a target comes once for each cell of the last wave beside it. The last wave has no steps.
    """
    width = rooms.shape[1]
    moves = np.array([width, -1, 1, -width])
    fresh = rooms.ravel() != WALL
    seen_as = np.empty(rooms.size, np.int64)
    front = np.flatnonzero(rooms == start)
    fresh[front] = False
    while front.size:
        target = (front[:, None] + moves).ravel()
        new = np.flatnonzero(fresh[target])
        source, target = front[new // len(moves)], target[new]
        yield source, target
        order = np.arange(target.size)
        seen_as[target[::-1]] = order[::-1]  # of repeated targets the last assignment stays: the first one seen
        front = target[seen_as[target] == order]
        fresh[front] = False


def _steps(grids: Grids, side: int) -> Int:
    """(N,) fewest steps from start to goal, -1 where no way leads."""
    return np.asarray(distances(grids, side)[grids == GOAL])


def _walled(grids: Grids, side: int) -> Grids:
    """(N, side + 2, side + 2) a copy with walls around."""
    return np.pad(grids.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)), constant_values=WALL)


def _inner(flat: NDArray[Any], rooms: Grids) -> NDArray[Any]:
    """(N, cells) without the walls around."""
    return flat.reshape(rooms.shape)[:, 1:-1, 1:-1].reshape(len(rooms), (rooms.shape[1] - 2) ** 2)


def _check_reached(goals: Int) -> None:
    """goals: (N,) what a search left at each goal, below 0 where it did not come by."""
    if (lost := np.flatnonzero(goals < 0)).size:
        raise DataError(f"questions: {lost.size} of {len(goals)} mazes have no way from S to G, first maze {lost[0]}; leave them out")


def _check_alike(answers: Grids, others: Grids) -> None:
    if answers.shape != others.shape:
        raise DataError(f"answers: shape {answers.shape} beside {others.shape}; expected one answer a maze, of as many cells")
