"""Sudoku puzzles: drawn at random to a wanted difficulty, read from and written to files, and dealt so that siblings stay together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trmfin.data.files import reading
from trmfin.errors import ConfigError, DataError
from trmfin.puzzles.board import NINE, Board, Int
from trmfin.puzzles.canonical import Keys, canonical
from trmfin.puzzles.puzzles import Grids, Puzzles
from trmfin.puzzles.solver import AT_ONCE, States, by_singles, digits, finished, propagate, solve, spare, states

TRIES = 20_000  # grids dug into before a range that fewer than one in a thousand reaches is given up


@dataclass(frozen=True, kw_only=True)
class Level:
    """How hard generated 9×9 puzzles are."""

    givens: tuple[int, int]  # fewest and most
    least_guesses: int = 0
    most_guesses: int | None = 0  # 0 = singles alone; None = any number


LEVELS: Mapping[str, Level] = {  # from easy to hard
    "full": Level(givens=(50, 60)),
    "half": Level(givens=(40, 49)),
    "sparse": Level(givens=(33, 39)),
    "bare": Level(givens=(22, 27)),
    "guess": Level(givens=(22, 27), least_guesses=1, most_guesses=2),
    "search": Level(givens=(22, 27), least_guesses=3, most_guesses=None),
}


def of_level(name: str, count: int, seed: int) -> Puzzles:
    """`generate` for a 9×9 level. Raises ConfigError on a name that is not one of LEVELS."""
    if name not in LEVELS:
        raise ConfigError(f"sudoku: no level {name!r}; there are {', '.join(LEVELS)}")
    level = LEVELS[name]
    return generate(NINE, count, seed, givens=level.givens, least_guesses=level.least_guesses, most_guesses=level.most_guesses)


def generate(
    board: Board, count: int, seed: int, *, givens: tuple[int, int], least_guesses: int = 0, most_guesses: int | None = None
) -> Puzzles:
    """Random puzzles with one solution each; the same for the same arguments. Equal ones may occur where few exist.

    givens: fewest and most; each puzzle aims at a number drawn between them, and one that cannot go so low is kept where it
    stops if that is at most the most, else dropped. least_guesses, most_guesses: the solver's splits, 0 = singles alone.
    Raises ConfigError on a range that is none and on one that fewer than one try in a thousand reaches.
    """
    low, high = givens
    if not 0 <= low <= high <= board.cells or least_guesses < 0 or (most_guesses is not None and most_guesses < least_guesses):
        raise ConfigError(f"sudoku: {givens=}, {least_guesses=}, {most_guesses=}; expected 0 <= fewest <= most <= {board.cells} givens")
    rng = np.random.default_rng(seed)
    found: list[Puzzles] = []
    tried = have = 0
    while have < count:
        share = max(have / tried, 0.01) if tried else 1.0
        answers = random_grids(board, min(int((count - have) / share) + 64, AT_ONCE), rng)
        questions = _dig(board, answers, rng.integers(low, high + 1, len(answers)), most_guesses == 0, rng)
        good = np.flatnonzero((questions > 0).sum(axis=1) <= high)
        if least_guesses or most_guesses:
            guesses = solve(board, questions[good]).guesses
            good = good[(guesses >= least_guesses) & (most_guesses is None or guesses <= most_guesses)]
        found.append(Puzzles(questions=questions[good], answers=answers[good]))
        tried, have = tried + len(answers), have + len(good)
        if tried >= TRIES and have < tried / 1000:
            raise ConfigError(f"sudoku: {have} of {tried:,} tries have {givens=}, {least_guesses=}, {most_guesses=}; widen the range")
    return _joined(board, found).take(np.arange(count))


def random_grids(board: Board, count: int, rng: np.random.Generator) -> Grids:
    """(count, cells) random solution grids; every grid can occur, though not all with exactly the same probability.

    Each starts from an empty board, on which a random candidate of a random most decided cell is fixed until singles do the
    rest; one that runs into a contradiction starts anew.
    """
    out = np.zeros((count, board.cells), np.int8)
    for start in range(0, count, AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, count))
        empty = states(board, np.zeros((1, board.cells), np.int8))
        work = np.repeat(empty, len(part), axis=1)
        while part.size:
            work = propagate(board, _fixed(work, rng))
            done = finished(work)
            out[part[done]] = digits(work[:, done])
            part, work = part[~done], work[:, ~done]
            work[:, work[0] == 0] = empty
    return out


def _fixed(work: States, rng: np.random.Generator) -> States:
    """The boards with a random candidate fixed on a random one of their cells with the fewest, but more than one, candidates."""
    candidates = np.bitwise_count(work).astype(np.uint16)
    order = np.where(candidates > 1, candidates, 255) * 256 + rng.integers(0, 256, work.shape, np.uint16)
    cell, boards = order.argmin(axis=0), np.arange(work.shape[1])
    bits = (1 << np.arange(9)).astype(np.uint16)[:, None] & work[cell, boards]  # (9, K)
    work = work.copy()
    work[cell, boards] = bits[np.where(bits > 0, rng.random(bits.shape), -1).argmax(axis=0), boards]
    return work


def _dig(board: Board, answers: Grids, target: Int, singles: bool, rng: np.random.Generator) -> Grids:
    """Blank cells one after the other in random order, each that may be, until `target` (N,) givens are left or no cell is.

    A cell may be blanked while the puzzle keeps one solution, or while singles alone solve it.
    """
    order = rng.permuted(np.tile(np.arange(board.cells), (len(answers), 1)), axis=1)  # (N, cells)
    questions, left = answers.copy(), np.full(len(answers), board.cells)
    for turn in range(board.cells):
        rows = np.flatnonzero(left > target)
        cells, trial = order[rows, turn], questions[rows]
        if singles:
            trial[np.arange(len(rows)), cells] = 0
            good = rows[by_singles(board, trial)]
        else:
            good = rows[spare(board, trial, cells)]
        questions[good, order[good, turn]] = 0
        left[good] -= 1
    return questions


def read_lines(path: Path, board: Board) -> tuple[Grids, list[str]]:
    """Questions (N, cells) of a text file with one puzzle a line, and for each where it stands, for error messages.

    A line holds the cells in reading order: digits, and `.` or `0` for blank. Lines that are empty or begin with `#` are none.
    Raises DataError on any other line, on a file without puzzles, and on one that cannot be read.
    """
    wrong = re.compile(rf"[^.0-{board.size}]")
    lines, where = [], []
    with reading(path, DataError):
        content = path.read_text("utf-8-sig", errors="replace")  # a byte that is no text shows up as a wrong character
    for number, line in enumerate(content.split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if (odd := wrong.search(text)) or len(text) != board.cells:
            found = f"{odd.group()!r} as character {odd.start() + 1}" if odd else f"{len(text)} characters"
            raise DataError(f"{path}, line {number}: {found}; expected {board.cells} cells, digits 1-{board.size}, '.' or '0' for blank")
        lines.append(text.replace(".", "0"))
        where.append(f"{path}, line {number}")
    if not lines:
        raise DataError(f"{path}: no puzzle; expected one a line, {board.cells} cells, digits 1-{board.size}, '.' or '0' for blank")
    cells = np.frombuffer("".join(lines).encode(), np.int8) - np.int8(ord("0"))
    return cells.reshape(-1, board.cells), where


def write_lines(path: Path, board: Board, questions: Grids) -> None:
    """One puzzle a line, `.` for blank; `read_lines` reads it back. Raises DataError on grids that are none."""
    questions = board.checked(questions, "questions")
    path.write_text("".join("".join(map(str, row)).replace("0", ".") + "\n" for row in questions.tolist()), "utf-8")


def answered(board: Board, questions: Grids, where: Sequence[str]) -> Puzzles:
    """The puzzles with their solutions. Raises DataError, naming the place, on one that has none or several."""
    solved = solve(board, questions)
    if (bad := np.flatnonzero(solved.solutions != 1)).size:
        fault = "contradicts itself" if solved.solutions[bad[0]] == 0 else "has more than one solution"
        raise DataError(
            f"{where[bad[0]]}: the puzzle {fault}; expected exactly one solution, which {bad.size} of {len(questions)} puzzles have not"
        )
    return Puzzles(questions=questions, answers=solved.answers)


def split_apart(board: Board, train_pool: Puzzles, held_out: Puzzles) -> Puzzles:
    """Those of the pool, in its order, that are of no family of `held_out`: see `families`."""
    return train_pool.take(np.flatnonzero(~np.isin(families(board, train_pool), families(board, held_out))))


def deal(board: Board, puzzles: Puzzles, shares: Mapping[str, float], seed: int) -> dict[str, Puzzles]:
    """Deal puzzles into named parts of about these shares, whole families at random, so that no family is in two parts.

    shares: name → share of the puzzles, > 0, together 1. Raises ConfigError on others.
    """
    ends = np.cumsum(list(shares.values()))
    if not shares or min(shares.values()) <= 0 or abs(ends[-1] - 1) > 1e-9:
        raise ConfigError(f"deal: shares {dict(shares)}; expected numbers above 0 that add up to 1")
    _, family, size = np.unique(families(board, puzzles), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    middle = np.empty(len(size))  # of each family, when all puzzles lie in a row of length 1
    middle[order] = (np.cumsum(size[order]) - size[order] / 2) / max(len(puzzles), 1)
    part = np.searchsorted(ends[:-1], middle[family], side="right")
    return {name: puzzles.take(np.flatnonzero(part == number)) for number, name in enumerate(shares)}


def families(board: Board, puzzles: Puzzles) -> Keys:
    """(N,) keys, equal for puzzles that must not be learnt from and tested on: those with one solution grid up to symmetry.

    Below 9×9 there are too few grids for that (2 and 49); there a family is one puzzle up to symmetry.
    """
    puzzle, grid = canonical(board, puzzles.questions, puzzles.answers)
    return grid if board == NINE else puzzle


def _joined(board: Board, parts: list[Puzzles]) -> Puzzles:
    nothing = np.zeros((0, board.cells), np.int8)
    return Puzzles(
        questions=np.concatenate([nothing, *(part.questions for part in parts)]),
        answers=np.concatenate([nothing, *(part.answers for part in parts)]),
    )
