"""Canonical forms: equal for the looks of one puzzle, different for different puzzles, and really the least look."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.puzzles.test_board import BOARDS, SOLUTION, grid, puzzle
from trmfin.errors import DataError
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, Shuffle
from trmfin.puzzles.canonical import canonical, conjugates
from trmfin.puzzles.chance import uniform
from trmfin.puzzles.puzzles import Grids, Puzzles
from trmfin.puzzles.sudoku import random_grids


def all_grids_of_four() -> Grids:
    """The 288 solution grids of 4×4."""
    return np.unique(random_grids(FOUR, 6000, np.random.default_rng(0)), axis=0)


def looks_of_four() -> Grids:
    """(128, cells) of the cells from which the symmetries of a 4×4 board take each cell."""
    orders = [np.array([*a, *b]) for x, y in permutations([(0, 1), (2, 3)]) for a, b in product(permutations(x), permutations(y))]
    cells = [np.arange(16).reshape(4, 4)[rows][:, columns] for rows, columns in product(orders, orders)]
    return np.array([look.ravel() for cell in cells for look in (cell, cell.T)])


def least_look_of_four(question: Grids, answer: Grids) -> tuple[bytes, bytes]:
    """The keys that trying every symmetry finds."""
    forms = []
    for cells in looks_of_four():
        seen, label = answer[cells], np.zeros(5, np.int8)
        label[seen[:4]] = [1, 2, 3, 4]
        forms.append((tuple(label[seen].tolist()), tuple(label[question[cells]].tolist())))
    form, mask = min(forms)
    return bytes("".join(map(str, mask)), "ascii"), bytes("".join(map(str, form)), "ascii")


@pytest.mark.parametrize("board", BOARDS)
@given(seed=st.integers(0, 2**32))
def test_all_looks_of_a_puzzle_have_one_key(board: Board, seed: int) -> None:
    shuffle, made = Shuffle(board), puzzle(board)
    other = shuffle(made, uniform(seed, [0], shuffle.draws))
    assert canonical(board, other.questions, other.answers) == canonical(board, made.questions, made.answers)


def test_keys_are_those_that_trying_every_symmetry_finds() -> None:
    rng = np.random.default_rng(1)
    answers = all_grids_of_four()[::5]
    questions = np.where(rng.random(answers.shape) < 0.3, answers, 0).astype(np.int8)
    puzzles, grids = canonical(FOUR, questions, answers)
    expected = [least_look_of_four(question, answer) for question, answer in zip(questions, answers, strict=True)]
    assert list(zip(puzzles.tolist(), grids.tolist(), strict=True)) == expected


def test_there_are_two_kinds_of_4x4_grids() -> None:
    every = all_grids_of_four()
    assert len(every) == 288 and len(np.unique(canonical(FOUR, every, every)[1])) == 2


def test_there_are_49_kinds_of_6x6_grids() -> None:
    made = random_grids(SIX, 6000, np.random.default_rng(0))
    assert len(np.unique(canonical(SIX, made, made)[1])) == 49


@pytest.mark.parametrize(("board", "count"), [(FOUR, 4), (SIX, 36), (NINE, 12096)])
def test_the_table_holds_every_second_row_and_its_least_conjugate(board: Board, count: int) -> None:
    table = conjugates(board)
    assert len(table.codes) == count and (np.diff(table.codes) > 0).all() and (table.rank <= np.arange(count)).all()
    kinds, size = np.unique(table.rank, return_counts=True)
    assert (size * table.count[kinds] == len(table.columns) // len(kinds)).all()  # an orbit times its stabiliser is the group


def test_no_look_of_a_9x9_grid_is_less_than_its_key() -> None:
    shuffle, made = Shuffle(NINE), puzzle(NINE)
    key = int(canonical(NINE, made.questions, made.answers)[1][0])
    other = shuffle(made.take(np.zeros(2000, np.int64)), uniform(3, np.arange(2000), shuffle.draws)).answers
    label = np.argsort(other[:, :9], axis=1) + 1
    looks = np.take_along_axis(label, other.astype(np.int64) - 1, axis=1)
    assert all(int("".join(map(str, look))) >= key for look in looks.tolist())


def test_different_puzzles_of_one_grid_share_the_grid_key_only() -> None:
    answers = grid(SOLUTION[NINE]).repeat(2, axis=0)
    questions = answers * (np.arange(81) % np.array([[3], [4]]) == 0).astype(np.int8)
    puzzles, grids = canonical(NINE, questions, answers)
    assert grids[0] == grids[1] and puzzles[0] != puzzles[1]


def test_different_grids_have_different_keys() -> None:
    made = random_grids(NINE, 300, np.random.default_rng(0))  # out of 5.5 billion kinds: no two alike
    puzzles, grids = canonical(NINE, made, made)
    assert len(np.unique(grids)) == 300 and (puzzles == grids).all()  # a full puzzle is its grid


def test_a_grid_with_automorphisms_has_one_key_for_puzzles_that_they_map_onto_each_other() -> None:
    cyclic = np.array([[(3 * (row % 3) + row // 3 + column) % 9 + 1 for row in range(9) for column in range(9)]], np.int8)
    one, other, far = (np.zeros((1, 81), np.int8) for _ in range(3))
    one[0, [0, 1]], other[0, [30, 31]], far[0, [0, 40]] = cyclic[0, [0, 1]], cyclic[0, [30, 31]], cyclic[0, [0, 40]]
    keys = [canonical(NINE, question, cyclic)[0][0] for question in (one, other, far)]
    assert keys[0] == keys[1] != keys[2]


def test_a_grid_that_is_no_solution_is_refused() -> None:
    broken = grid("2234341221434321")
    with pytest.raises(DataError, match="1 of 2 answers are no solution grids, first answer 1"):
        canonical(FOUR, np.zeros((2, 16), np.int8), np.concatenate([grid(SOLUTION[FOUR]), broken]))


def test_no_puzzles_have_no_keys() -> None:
    puzzles, grids = canonical(SIX, np.zeros((0, 36), np.int8), np.zeros((0, 36), np.int8))
    assert puzzles.shape == grids.shape == (0,)


def test_the_form_of_a_puzzle_can_be_read() -> None:
    made = Puzzles(questions=grid("0000000000000001"), answers=grid(SOLUTION[FOUR]))
    puzzles, grids = canonical(FOUR, made.questions, made.answers)
    assert grids[0] == b"1234341221434321" and puzzles[0] == b"0000000000000001"
