"""Puzzles by name: their parts share nothing up to symmetry, and what they say of themselves holds."""

from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from trmfin.errors import ConfigError, DataError
from trmfin.puzzles import maze, mazes_made
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, Int, Shuffle
from trmfin.puzzles.kinds import KINDS, REDRAWN, Parts, drawn_mazes, generated, kind_of, of_level
from trmfin.puzzles.puzzles import Grids, Puzzles, joined
from trmfin.puzzles.sudoku import LEVELS, families, generate, write_lines
from trmfin.puzzles.sudoku import of_level as drawn

COUNTS = (60, 8, 8)
SEED = 2
SMALL: dict[str, Callable[[Path | None, int], Parts]] = {
    "sudoku4": generated(FOUR, (7, 9), COUNTS),
    "sudoku6": generated(SIX, (20, 24), COUNTS),
    "sudoku9": of_level(COUNTS, "half"),
    "maze9": drawn_mazes(9, COUNTS),
}


def orders(groups: int, size: int) -> list[list[int]]:
    """All orders of groups · size lines that keep groups together."""
    within = list(permutations(range(size)))
    return [
        [group * size + line for group, each in zip(outer, inner, strict=True) for line in each]
        for outer in permutations(range(groups))
        for inner in product(within, repeat=groups)
    ]


def turns(board: Board) -> Int:
    """(S, cells) the cell that each cell is taken from, for every move of rows and columns and for transposition."""
    cells = np.arange(board.cells).reshape(board.size, board.size)
    rows, columns = orders(board.bands, board.box_rows), orders(board.stacks, board.box_columns)
    moved = [cells[np.ix_(row, column)] for row in rows for column in columns]
    return np.array([*moved, *([grid.T for grid in moved] if board.square else [])]).reshape(-1, board.cells)


def named(grids: Grids) -> set[bytes]:
    """Each grid with its digits named in the order in which they first come; 0 stays."""
    found = set()
    for grid in np.unique(grids, axis=0).tolist():
        names = {0: 0}
        found.add(bytes([names.setdefault(cell, len(names)) for cell in grid]))
    return found


def shared(parts: Parts, board: Board) -> bool:
    """Whether two parts hold one puzzle in two looks."""
    test, validation = (named(part.questions[:, turns(board)].reshape(-1, board.cells)) for part in (parts.test, parts.validation))
    train = named(parts.train.questions)
    return bool(train & test or train & validation or named(parts.validation.questions) & test)


@pytest.mark.parametrize(("board", "givens"), [(FOUR, (13, 14)), (SIX, (35, 35))])
def test_drawn_sudokus_share_no_puzzle_between_parts_however_turned(board: Board, givens: tuple[int, int]) -> None:
    train, validation, test = (generate(board, count, 3 * SEED + part, givens=givens) for part, count in enumerate(COUNTS))
    assert shared(Parts(train=train, validation=validation, test=test), board)  # so that there is something to keep apart
    parts = generated(board, givens, COUNTS)(None, SEED)
    assert not shared(parts, board)
    assert 0 < len(parts.train) < COUNTS[0] and 0 < len(parts.validation) and len(parts.test) == COUNTS[2]


@pytest.mark.parametrize(
    ("board", "name", "draw"),
    [
        (FOUR, "sudoku4", partial(generate, FOUR, givens=(7, 9))),
        (SIX, "sudoku6", partial(generate, SIX, givens=(20, 24))),
        (NINE, "sudoku9", partial(drawn, "half")),
    ],
)
def test_puzzles_of_a_file_are_all_answered_and_none_is_learnt_from_however_turned(
    board: Board, name: str, draw: Callable[[int, int], Puzzles], tmp_path: Path
) -> None:
    train, validation = draw(COUNTS[0], 3 * SEED), draw(COUNTS[1], 3 * SEED + 1)  # what would have been learnt from, and chosen by
    plain, redraw = joined(train.take(np.array([3, 3, 8])), validation.take(np.array([2]))), Shuffle(board)
    mine = redraw(plain, np.random.default_rng(0).random((4, redraw.draws)))
    write_lines(tmp_path / "mine.txt", board, mine.questions)
    dealt = SMALL[name](tmp_path / "mine.txt", SEED)
    assert dealt.test.questions.tolist() == mine.questions.tolist() and dealt.test.answers.tolist() == mine.answers.tolist()
    left = set(families(board, dealt.train))
    assert len(dealt.train) <= COUNTS[0] - 2 and len(dealt.validation) < COUNTS[1] and not left & set(families(board, mine))
    assert not set(families(board, dealt.validation)) & (left | set(families(board, mine)))


def test_a_file_that_leaves_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "all.txt", FOUR, generate(FOUR, COUNTS[0], 3 * SEED, givens=(7, 9)).questions)
    with pytest.raises(DataError, match="every drawn one equals one of the 60 to be answered"):
        SMALL["sudoku4"](tmp_path / "all.txt", SEED)


def test_drawn_mazes_share_no_walls_between_parts_however_turned() -> None:
    def walls(puzzles: Puzzles) -> list[Grids]:
        return list((puzzles.questions == maze.WALL).reshape(-1, 7, 7))

    def turned(puzzles: Puzzles) -> set[bytes]:
        return {np.rot90(start, times).tobytes() for grid in walls(puzzles) for start in (grid, grid.T) for times in range(4)}

    def apart(train: Puzzles, validation: Puzzles, test: Puzzles) -> bool:
        seen = [{grid.tobytes() for grid in walls(part)} for part in (train, validation)]
        return not seen[0] & turned(test) and not seen[0] & turned(validation) and not seen[1] & turned(test)

    assert not apart(*(mazes_made.generate(7, count, 3 * SEED + part) for part, count in enumerate(COUNTS)))
    parts = drawn_mazes(7, COUNTS)(None, SEED)
    assert apart(parts.train, parts.validation, parts.test) and 0 < len(parts.train) < COUNTS[0] and len(parts.test) == COUNTS[2]


@pytest.mark.parametrize("name", SMALL)
def test_every_part_keeps_the_rules_in_all_its_looks_and_fits_the_kinds_symbols(name: str) -> None:
    kind = KINDS[name]
    for part in vars(SMALL[name](None, SEED)).values():
        samples = kind.samples(part, SEED, redrawn=True)
        looks = samples.look(np.arange(min(len(samples), 3 * len(part))))
        assert kind.valid(looks.questions, looks.answers).all()
        classes = looks.answers - kind.first_answer
        assert classes.min() >= 0 and classes.max() < len(samples.task.target("answer").classes)
        assert looks.questions.max() < len(kind.symbols) and looks.questions.shape[1] == kind.side**2


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_draws_the_same_parts_and_another_seed_others(name: str) -> None:
    one, same, other = (SMALL[name](None, seed) for seed in (0, 0, 1))
    for part in vars(one):
        assert np.array_equal(getattr(one, part).questions, getattr(same, part).questions)
        assert not np.array_equal(getattr(one, part).questions, getattr(other, part).questions)


def test_a_training_puzzle_has_as_many_looks_as_are_wanted_and_a_held_out_one_has_one() -> None:
    kind, puzzles = KINDS["sudoku4"], generate(FOUR, 100, 0, givens=(8, 8))
    assert len(kind.samples(puzzles, 0)) == 100 and len(kind.samples(puzzles, 0, redrawn=True)) == REDRAWN
    assert kind.samples(puzzles, 0).redraw is None


def test_mazes_with_several_shortest_paths_are_not_turned() -> None:
    mazes = mazes_made.generate(30, 3, 0, loops=0.1)
    assert len(KINDS["maze-hard"].samples(mazes, 0, redrawn=True)) == 3


def test_a_level_changes_the_nine_by_nine_sudoku_alone() -> None:
    assert kind_of("sudoku4") is KINDS["sudoku4"] and kind_of("sudoku9", "full").recipe == KINDS["sudoku9"].recipe
    for name, level in (("sudoku5", None), ("sudoku6", "full"), ("maze9", "full"), ("sudoku9", "Full")):
        with pytest.raises(ConfigError):
            kind_of(name, level)


@pytest.mark.parametrize("level", ["full", "half", "sparse"])
def test_a_level_draws_puzzles_of_so_many_givens(level: str) -> None:
    parts = of_level((4, 2, 3), level)(None, 0)
    low, high = LEVELS[level].givens
    given = (np.concatenate([part.questions for part in vars(parts).values()]) > 0).sum(1)
    assert given.min() >= low and given.max() <= high


def test_puzzles_that_are_read_need_their_file_and_puzzles_that_are_drawn_take_none(tmp_path: Path) -> None:
    for name in ("sudoku-hard", "maze-hard"):
        with pytest.raises(ConfigError, match=f"{name}: no --data"):
            KINDS[name].parts(None, 0)
    with pytest.raises(ConfigError, match="maze9: found --data"):
        KINDS["maze9"].parts(tmp_path, 0)


def test_one_file_is_dealt_so_that_looks_of_one_grid_stay_in_one_part(tmp_path: Path) -> None:
    puzzles = drawn("half", 40, 0)
    redraw = Shuffle(NINE)
    turned = redraw(puzzles, np.random.default_rng(1).random((40, redraw.draws)))
    write_lines(tmp_path / "hard.txt", NINE, np.concatenate([puzzles.questions, turned.questions]))
    parts = KINDS["sudoku-hard"].parts(tmp_path / "hard.txt", 0)
    seen = [set(families(NINE, part)) for part in vars(parts).values()]
    assert sum(len(part) for part in vars(parts).values()) == 80 and sum(map(len, seen)) == len(set.union(*seen)) == 40
