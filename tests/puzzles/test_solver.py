"""The solver: right, complete, and independent of what is solved beside a puzzle."""

from itertools import product

import numpy as np
import pytest

from tests.puzzles.test_board import SOLUTION, grid
from trmfin.errors import DataError
from trmfin.puzzles import solver
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, valid
from trmfin.puzzles.puzzles import Grids
from trmfin.puzzles.solver import by_singles, solve, spare

EASY = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"
HARD = "800000000003600000070090200050007000000045700000100030001000068008500010090000400"  # not solved by singles


def by_force(question: Grids) -> list[Grids]:
    """All solutions of a 4×4 question, by trying every completion of its rows."""
    rows = [row for row in product(range(1, 5), repeat=4) if len(set(row)) == 4]
    fits = [[row for row in rows if all(g in (0, d) for g, d in zip(line, row, strict=True))] for line in question.reshape(4, 4).tolist()]
    halves = [[a + b for a, b in product(fits[i], fits[i + 1]) if len(set(a[:2] + b[:2])) == 4 == len(set(a[2:] + b[2:]))] for i in (0, 2)]
    whole = [np.array([a + b], np.int8) for a, b in product(*halves)]
    return [one for one in whole if valid(FOUR, question[None], one)[0]]


@pytest.mark.parametrize(("text", "guessed"), [(EASY, False), (HARD, True)])
def test_a_puzzle_is_solved_and_its_guesses_are_counted(text: str, guessed: bool) -> None:
    solved = solve(NINE, grid(text))
    assert solved.solutions.tolist() == [1] and valid(NINE, grid(text), solved.answers).all()
    assert (solved.guesses > 0).tolist() == [guessed] and by_singles(NINE, grid(text)).tolist() == [not guessed]


def test_it_finds_what_trying_everything_finds() -> None:
    rng = np.random.default_rng(0)
    questions = np.where(rng.random((120, 16)) < 0.3, rng.integers(1, 5, (120, 16)), 0).astype(np.int8)
    questions[60:] = np.where(rng.random((60, 16)) < 0.4, grid(SOLUTION[FOUR]), 0)
    solved, expected = solve(FOUR, questions), [by_force(question) for question in questions]
    assert solved.solutions.tolist() == [min(len(all_), 2) for all_ in expected] and set(solved.solutions) == {0, 1, 2}
    assert all((solved.answers[row] == all_[0]).all() for row, all_ in enumerate(expected) if len(all_) == 1)


@pytest.mark.parametrize("board", [FOUR, SIX, NINE])
def test_an_empty_board_has_several_solutions_and_no_answer(board: Board) -> None:
    solved = solve(board, np.zeros((2, board.cells), np.int8))
    assert solved.solutions.tolist() == [2, 2] and solved.guesses.tolist() == [-1, -1] and not solved.answers.any()


@pytest.mark.parametrize("text", ["11" + "0" * 14, "1000010000000000", "1230000400000000"])
def test_a_contradiction_has_no_solution(text: str) -> None:
    solved = solve(FOUR, grid(text))
    assert solved.solutions.tolist() == [0] and not solved.answers.any() and not by_singles(FOUR, grid(text))[0]


def test_a_full_grid_is_its_own_solution_unless_it_breaks_a_rule() -> None:
    full = np.concatenate([grid(SOLUTION[FOUR]), grid("2234341221434321")])
    solved = solve(FOUR, full)
    assert solved.solutions.tolist() == [1, 0] and (solved.answers[0] == full[0]).all()


def test_a_puzzle_is_solved_the_same_whatever_is_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    together = np.concatenate([grid(HARD), grid("0" * 81), grid(EASY), grid("11" + "0" * 79), grid(HARD)])
    solved = solve(NINE, together)
    monkeypatch.setattr(solver, "AT_ONCE", 2)
    for row, question in enumerate(together):
        alone = solve(NINE, question[None])
        assert (alone.answers[0] == solved.answers[row]).all()
        assert (alone.solutions[0], alone.guesses[0]) == (solved.solutions[row], solved.guesses[row])
    assert solved.solutions.tolist() == [1, 2, 1, 0, 1]


def test_no_puzzles_are_solved_too() -> None:
    nothing = np.zeros((0, 36), np.int8)
    assert solve(SIX, nothing).answers.shape == (0, 36) and by_singles(SIX, nothing).shape == (0,)


def test_what_is_no_grid_is_refused() -> None:
    for ask in (solve, by_singles):
        with pytest.raises(DataError, match="shape"):
            ask(NINE, np.zeros((1, 80), np.int8))


def test_a_given_is_spare_if_the_puzzle_keeps_one_solution_without_it() -> None:
    cells = np.flatnonzero(grid(EASY)[0])
    with_it = np.repeat(grid(EASY), len(cells), axis=0)
    without = with_it.copy()
    without[np.arange(len(cells)), cells] = 0
    expected = solve(NINE, without).solutions == 1
    assert (spare(NINE, with_it, cells) == expected).all() and 0 < expected.sum() < len(cells)
