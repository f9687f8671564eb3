"""Where mazes come from: drawn at random, with one way or several, and the published ones of Maze-Hard."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError

import numpy as np

from trmfin.data.files import reading
from trmfin.errors import ConfigError, DataError
from trmfin.puzzles.maze import GOAL, OPEN, PATH, START, SYMBOLS, WALL, Bool, Int, checked, distances, exact, labels, valid_and_optimal
from trmfin.puzzles.puzzles import Grids, Puzzles

AT_ONCE, AT_LEAST = 4096, 256  # mazes drawn together: what a core's cache holds, and enough to tell that no new one is left
DAMAGED = (ValueError, TypeError, SyntaxError, TokenError, MemoryError)  # what NumPy raises on headers that are none
INPUTS, LABELS = "train_inputs.npy", "train_labels.npy"


def generate(side: int, count: int, seed: int, *, loops: float = 0.0) -> Puzzles:
    """`count` different random mazes; the same for the same arguments. From start to goal it takes at least `side` steps.

    Ways run between the cells of odd row and column (counted from 0) along a uniformly random spanning tree, so that there is one way
    from anywhere to anywhere. Walls are all around where the side is odd, above and to the left where it is even.
    loops: chance that a wall inside is opened all the same; above 0 there may be several ways and several shortest ones.
    Raises ConfigError on a side below 4, on a chance that is none, and where hardly any more different mazes exist.
    """
    if side < 4 or count < 0 or not 0 <= loops <= 1:
        raise ConfigError(f"maze: {side=}, {count=}, {loops=}; expected a side of at least 4, a count >= 0 and a chance in [0, 1]")
    random = np.random.default_rng(seed)
    found = np.zeros((0, side * side), np.int8)
    while (missing := count - len(found)) > 0:
        parts = [_drawn(side, min(max(missing, AT_LEAST), AT_ONCE), loops, random) for _ in range(0, missing, AT_ONCE)]
        together = _different(np.concatenate([found, *parts]))
        if len(together) == len(found):
            raise ConfigError(f"maze: {side=}, {loops=}: only {len(found):,} different mazes turned up, {count:,} wanted; ask for fewer")
        found = together
    parts = [labels(found[first : min(first + AT_ONCE, count)], side) for first in range(0, count, AT_ONCE)]
    return Puzzles(questions=found[:count], answers=np.concatenate([found[:0], *parts]))


def trees(side: int, count: int, random: np.random.Generator) -> Grids:
    """(count, side, side) uniformly random spanning trees, open, in walls. Source: Aldous 1990 and Broder 1989: a random walk keeps the
    passage by which it first enters each cell. Here a step off the board stays where it is, which leaves the law as it is.
    """
    n = side // 2
    grids = np.full((count, side, side), WALL, np.int8)
    flat, maze = grids.reshape(-1), np.arange(count) * side * side
    cell = random.integers(n, size=(2, count))  # row and column among the n × n cells that a tree joins
    left = np.full(count, n * n - 1)  # cells that the walk has not met
    place = maze + (2 * cell[0] + 1) * side + 2 * cell[1] + 1
    flat[place] = OPEN
    moves = np.array([[1, 0, 0, -1], [0, -1, 1, 0]])
    while left.size:
        cell = np.clip(cell + moves[:, random.integers(4, size=left.size)], 0, n - 1)
        before, place = place, maze + (2 * cell[0] + 1) * side + 2 * cell[1] + 1
        fresh = flat[place] == WALL
        flat[place] = OPEN
        flat[(before[fresh] + place[fresh]) // 2] = OPEN  # the passage lies halfway
        left = left - fresh
        if not left.all():
            maze, cell, place, left = maze[left > 0], cell[:, left > 0], place[left > 0], left[left > 0]
    return grids


def read_folder(folder: Path, tell: Callable[[int], None] = lambda others: None) -> Puzzles:
    """Maze-Hard's training mazes: (N, cells) files of codes, 1 = the first symbol; 1,000 of 30 × 30 cells as published.

    tell: called with the number of labels that are another shortest path than the one of `labels`; 0 as published.
    Raises DataError on files that are missing or of another form, and on a label that is no shortest path.
    """
    questions, answers = (_symbols(folder / name, most) for name, most in ((INPUTS, GOAL), (LABELS, PATH)))
    if questions.shape != answers.shape:
        raise DataError(f"{folder}: {INPUTS} of shape {questions.shape}, {LABELS} of {answers.shape}; expected one label for each maze")
    side = math.isqrt(questions.shape[1])
    questions = checked(questions, side, str(folder / INPUTS))
    if (bad := np.flatnonzero(~valid_and_optimal(questions, answers, side))).size:
        raise DataError(
            f"{folder / LABELS}: {bad.size} of {len(answers)} labels are no shortest path through their mazes, first row {bad[0]}; "
            f"expected the maze of {INPUTS} with one marked; are both files of one set?"
        )
    tell(int(np.count_nonzero(~exact(answers, labels(questions, side)))))
    return Puzzles(questions=questions, answers=answers)


def _different(grids: Grids) -> Grids:
    """Each grid once, in the order in which they came first."""
    return grids[np.sort(np.unique(grids, axis=0, return_index=True)[1])]


def _drawn(side: int, count: int, loops: float, random: np.random.Generator) -> Grids:
    """(<= count, cells) questions; a maze whose start has no cell far enough away is left out."""
    grids = trees(side, count, random)
    inside = grids[:, 1 : side // 2 * 2, 1 : side // 2 * 2]
    inside[random.random(inside.shape, np.float32) < loops] = OPEN
    mazes, every = grids.reshape(count, -1), np.arange(count)
    mazes[every, _one_of(mazes == OPEN, random)] = START
    far = distances(mazes, side) >= side
    mazes[every, _one_of(far, random)] = GOAL
    return mazes[far.any(axis=1)]


def _one_of(choices: Bool, random: np.random.Generator) -> Int:
    """(N,) the place of a random one of each row's choices (N, cells), any place where there are none."""
    return np.asarray(np.where(choices, random.random(choices.shape, np.float32), np.float32(-1)).argmax(axis=1))


def _symbols(path: Path, most: int) -> Grids:
    """(N, cells) positions of symbols in a file of codes 1 … most + 1."""
    with reading(path, DataError):
        data = path.read_bytes()
    try:
        codes = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except DAMAGED as error:
        raise DataError(f"{path}: is no NumPy array ({error}); expected codes of type uint8, shape (mazes, cells)") from error
    if codes.ndim != 2 or codes.dtype != np.uint8 or not codes.size:
        raise DataError(f"{path}: {codes.dtype} of shape {codes.shape}; expected codes of type uint8, shape (mazes, cells)")
    if codes.min() < 1 or codes.max() > most + 1:
        raise DataError(f"{path}: codes {codes.min()} … {codes.max()}; expected 1 … {most + 1}, which mean {SYMBOLS[: most + 1]}")
    return (codes - 1).astype(np.int8)
