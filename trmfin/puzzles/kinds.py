"""The puzzles that can be asked for by name: their rules, where their puzzles come from, and how a network is taught them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError, DataError
from trmfin.learn.recipe import Recipe
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import NO_RECURSION, ModelConfig, preset
from trmfin.puzzles import maze, maze_turns, mazes_made, sudoku
from trmfin.puzzles.arc import RELEASES
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, Shuffle, valid
from trmfin.puzzles.puzzle_samples import PuzzleSamples, puzzle_task
from trmfin.puzzles.puzzles import Grids, Puzzles, Redraw

NINE_COUNTS = (20_000, 300, 1000)  # drawn 9×9 puzzles to train on, to validate by and to answer
REDRAWN = 400_000  # different samples that a generated training set is redrawn into, about
Bool = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Puzzles to learn from, to choose the best step by, and to be judged on; no two parts share one up to symmetry."""

    train: Puzzles
    validation: Puzzles
    test: Puzzles


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What can be taught by name, whatever its puzzles are: square grids of symbols, and how a network learns to answer them."""

    name: str
    meaning: str
    side: int
    symbols: tuple[str, ...]
    first_answer: int  # symbol of the first class of an answer
    recipe: Recipe
    steps: int = 16  # supervision steps when answering
    boxes: tuple[tuple[int, int], ...] = ()  # (rows, columns) of the boxes that a picture outlines
    published: str = ""  # what the literature reports, with its source

    def steps_of(self, recipe: Recipe) -> int:
        """Supervision steps when answering: one where the recipe's core has no recursion."""
        return 1 if recipe.model.core in NO_RECURSION else self.steps


@dataclass(frozen=True, kw_only=True)
class Kind(Subject):
    """One puzzle by name."""

    parts: Callable[[Path | None, int], Parts]  # (--data, seed)
    valid: Callable[[Grids, Grids], Bool]  # (questions, answers) → (N,) whether an answer keeps all rules, equal to the label or not
    redraw: Redraw | None
    looks: int | None = None  # of each training puzzle; None = as many as make REDRAWN
    level: str = ""  # of difficulty, where there are several

    def samples(self, puzzles: Puzzles, seed: int, redrawn: bool = False) -> PuzzleSamples:
        """Puzzles as the network sees them, each once or in all its looks."""
        task = puzzle_task(self.name, self.side**2, self.symbols[self.first_answer :], self.meaning)
        looks = self.looks or max(REDRAWN // len(puzzles), 1) if redrawn else 1
        return PuzzleSamples(
            task=task,
            symbols=self.symbols,
            puzzles=puzzles,
            first_answer=self.first_answer,
            redraw=self.redraw if redrawn else None,
            looks=looks if self.redraw is not None else 1,
            seed=seed,
        )


def sudoku_kind(board: Board, name: str, recipe: Recipe, parts: Callable[[Path | None, int], Parts], published: str = "") -> Kind:
    digits = tuple(str(digit) for digit in range(1, board.size + 1))
    return Kind(
        name=name,
        meaning="the digit of each cell",
        side=board.size,
        symbols=(".", *digits),
        first_answer=1,
        recipe=recipe,
        parts=parts,
        valid=lambda questions, answers: valid(board, questions, answers),
        redraw=Shuffle(board),
        boxes=((board.box_rows, board.box_columns),),
        published=published,
    )


def drawn(board: Board, draw: Callable[[int, int], Puzzles], counts: tuple[int, int, int]) -> Callable[[Path | None, int], Parts]:
    """Drawn puzzles, (train, validation, test) of them; those of a file in place of the last where --data names one.

    draw: (count, seed) → so many puzzles. No part has a puzzle of another up to symmetry.
    """

    def parts(data: Path | None, seed: int) -> Parts:
        train, validation = (draw(count, 3 * seed + part) for part, count in enumerate(counts[:2]))
        test = draw(counts[2], 3 * seed + 2) if data is None else sudoku.answered(board, *sudoku.read_lines(data, board))
        validation = sudoku.split_apart(board, validation, test)
        train = sudoku.split_apart(board, sudoku.split_apart(board, train, test), validation)
        if not len(train) or not len(validation):
            raise DataError(f"puzzles: every drawn one equals one of the {len(test)} to be answered up to symmetry; answer fewer at once")
        return Parts(train=train, validation=validation, test=test)

    return parts


def maze_kind(side: int, name: str, meaning: str, recipe: Recipe, parts: Callable[[Path | None, int], Parts]) -> Kind:
    """A maze of side × side cells, answered by its shortest path."""
    return Kind(
        name=name,
        meaning=meaning,
        side=side,
        symbols=maze.SYMBOLS,
        first_answer=0,
        recipe=recipe,
        parts=parts,
        valid=lambda questions, answers: maze.valid_and_optimal(questions, answers, side),
        redraw=None,
    )


def generated(board: Board, givens: tuple[int, int], counts: tuple[int, int, int]) -> Callable[[Path | None, int], Parts]:
    """`drawn` with this range of givens."""
    return drawn(board, lambda count, seed: sudoku.generate(board, count, seed, givens=givens), counts)


def of_level(counts: tuple[int, int, int], level: str) -> Callable[[Path | None, int], Parts]:
    """`drawn` of a level of 9×9 puzzles."""
    return drawn(NINE, lambda count, seed: sudoku.of_level(level, count, seed), counts)


def dealt(data: Path | None, seed: int) -> Parts:
    """The puzzles of one file, all that share a solution grid up to symmetry in one part."""
    if data is None:
        raise ConfigError("sudoku-hard: no --data; expected a file with one puzzle of 81 characters a line, such as a list of SE > 11")
    puzzles = sudoku.answered(NINE, *sudoku.read_lines(data, NINE))
    return Parts(**sudoku.deal(NINE, puzzles, {"train": 0.92, "validation": 0.02, "test": 0.06}, seed))


def drawn_mazes(side: int, counts: tuple[int, int, int]) -> Callable[[Path | None, int], Parts]:
    """Mazes with one path, no two parts with the same walls up to symmetry."""

    def parts(data: Path | None, seed: int) -> Parts:
        if data is not None:
            raise ConfigError(f"maze{side}: found --data {data}; its mazes are drawn by the seed, so leave --data out")
        train, validation, test = (mazes_made.generate(side, count, 3 * seed + part) for part, count in enumerate(counts))
        validation = _other_walls(validation, test, side)
        return Parts(train=_other_walls(_other_walls(train, test, side), validation, side), validation=validation, test=test)

    return parts


def _other_walls(puzzles: Puzzles, held_out: Puzzles, side: int) -> Puzzles:
    """Those whose walls are none of `held_out`'s, however turned."""
    own, theirs = (maze_turns.canonical(np.where(p.questions == maze.WALL, maze.WALL, maze.OPEN), side) for p in (puzzles, held_out))
    return puzzles.take(np.flatnonzero(~np.isin(own, theirs)))


def maze_hard(data: Path | None, seed: int) -> Parts:
    """The 1,000 published training mazes; the published test mazes are another file, so the last tenth stands in for them."""
    if data is None:
        raise ConfigError("maze-hard: no --data; expected the folder with train_inputs.npy and train_labels.npy")
    puzzles = mazes_made.read_folder(data)
    order = np.random.default_rng(seed).permutation(len(puzzles))
    ends = [int(len(puzzles) * share) for share in (0.85, 0.9)]
    return Parts(**{name: puzzles.take(rows) for name, rows in zip(("train", "validation", "test"), np.split(order, ends), strict=True)})


TAUGHT = TrainSettings(
    batch_size=64,
    learning_rate=3e-3,
    warmup_steps=100,
    optimiser="adam_atan2",
    average_decay=0.99,
    clip_norm=1e3,
    validations=4,
    curriculum=((0.0, 1, 1), (0.6, 2, 2)),
    pretrain_epochs=0,
    half_precision=True,
)


def _small(width: int, steps: int) -> Recipe:
    model = ModelConfig(width=width, mixer="mlp", latent_steps=2, answer_steps=2, supervision_steps=6)
    return Recipe(model=model, training=replace(TAUGHT, steps=steps))


PAPER = TrainSettings(
    batch_size=768,
    learning_rate=1e-4,
    warmup_steps=2000,
    schedule="constant",
    optimiser="adam_atan2",
    clip_norm=1e3,
    validations=20,
    pretrain_epochs=0,
    steps=50_000,
    half_precision=True,
)
SUDOKU_PAPER = "87.4 on Sudoku-Extreme (arXiv:2510.04871), another test set; independent runs 75.6 to 87"
MAZE_PAPER = "85.3 exact on Maze-Hard's own test set (arXiv:2510.04871)"


def _kinds() -> list[Kind]:
    hard = Recipe(model=preset("paper", mixer="mlp"), training=PAPER)
    mazes = Recipe(model=preset("paper", latent_steps=4), training=replace(PAPER, batch_size=128))
    return [
        sudoku_kind(FOUR, "sudoku4", _small(64, 700), generated(FOUR, (4, 8), (3000, 200, 1000))),
        sudoku_kind(SIX, "sudoku6", _small(128, 850), generated(SIX, (8, 13), (20_000, 300, 2000))),
        replace(sudoku_kind(NINE, "sudoku9", _small(160, 9000), of_level(NINE_COUNTS, "sparse")), level="sparse"),
        sudoku_kind(NINE, "sudoku-hard", hard, dealt, SUDOKU_PAPER),
        replace(
            maze_kind(9, "maze9", "the one path from S to G, marked", _small(128, 2000), drawn_mazes(9, (40_000, 300, 1000))),
            redraw=maze_turns.Turn(9),
            steps=6,
        ),
        replace(
            maze_kind(30, "maze-hard", "the shortest path that a search from S finds first, marked", mazes, maze_hard), published=MAZE_PAPER
        ),
    ]


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _kinds()}


def kind_of(name: str, level: str | None = None) -> Kind:
    """A puzzle by name, 9×9 Sudoku at another level where one is given. Raises ConfigError where there is none such."""
    if name not in KINDS:
        raise ConfigError(f"puzzle {name!r} is unknown; choose one of {', '.join([*KINDS, *RELEASES])}")
    if level is None:
        return KINDS[name]
    if name != "sudoku9":
        raise ConfigError(f"puzzle {name}: found --level {level}; only sudoku9 has levels")
    if level not in sudoku.LEVELS:
        raise ConfigError(f"puzzle sudoku9: no level {level!r}; choose one of {', '.join(sudoku.LEVELS)}")
    return replace(KINDS[name], parts=of_level(NINE_COUNTS, level), level=level)
