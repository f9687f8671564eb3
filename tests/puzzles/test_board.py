"""Boards: their units, the rules as residuals, and symmetries that never break a rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trmfin.errors import ConfigError, DataError
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, Rules, Shuffle, residuals, valid
from trmfin.puzzles.chance import uniform
from trmfin.puzzles.puzzles import Grids, Puzzles
from trmfin.sequences.batch import Batch
from trmfin.sequences.checker import Checker

BOARDS = (FOUR, SIX, NINE)
SOLUTION = {
    FOUR: "1234341221434321",
    SIX: "123456456123214635635241362514541362",
    NINE: "534678912672195348198342567859761423426853791713924856961537284287419635345286179",
}


def grid(text: str) -> Grids:
    return np.array([[int(digit) for digit in text]], np.int8)


def puzzle(board: Board) -> Puzzles:
    """One puzzle: every third given of the board's solution."""
    answers = grid(SOLUTION[board])
    return Puzzles(questions=np.where(np.arange(board.cells) % 3 == 0, answers, 0).astype(np.int8), answers=answers)


def test_units_are_rows_columns_and_boxes_of_the_right_shape() -> None:
    assert SIX.units.shape == (18, 6) and (SIX.bands, SIX.stacks) == (3, 2)
    assert SIX.units[1].tolist() == [6, 7, 8, 9, 10, 11] and SIX.units[7].tolist() == [1, 7, 13, 19, 25, 31]
    assert SIX.units[13].tolist() == [3, 4, 5, 9, 10, 11] and SIX.units[14].tolist() == [12, 13, 14, 18, 19, 20]


@pytest.mark.parametrize(("board", "peers"), [(FOUR, 7), (SIX, 12), (NINE, 20)])
def test_every_cell_has_its_peers(board: Board, peers: int) -> None:
    assert board.peers.shape == (board.cells, peers)
    assert all(
        cell not in row and set(row) <= set(board.units[(board.units == cell).any(1)].ravel()) for cell, row in enumerate(board.peers)
    )


@pytest.mark.parametrize("sides", [(1, 4), (3, 4)])
def test_a_board_of_another_kind_is_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"{sides[0]} × {sides[1]}"):
        Board(box_rows=sides[0], box_columns=sides[1])


@pytest.mark.parametrize("board", BOARDS)
def test_a_solution_breaks_no_rule(board: Board) -> None:
    made = puzzle(board)
    assert valid(board, made.questions, made.answers).tolist() == [True]
    assert not any(found.any() for found in residuals(board, made.questions, made.answers).values())


def test_residuals_say_which_unit_lacks_how_many_digits() -> None:
    found = residuals(FOUR, grid("1000000000000000"), grid("2234341221434321"))
    assert found["rows"].tolist() == [[1, 0, 0, 0]] and found["columns"].tolist() == [[1, 0, 0, 0]]
    assert found["boxes"].tolist() == [[1, 0, 0, 0]] and found["givens"].tolist() == [1]
    assert residuals(FOUR, grid("0" * 16), grid("0" * 16))["rows"].tolist() == [[4, 4, 4, 4]]


def test_a_solution_of_another_puzzle_is_not_valid() -> None:
    assert valid(FOUR, grid("2000000000000000"), grid(SOLUTION[FOUR])).tolist() == [False]


def test_rules_read_a_batch_with_its_leading_token() -> None:
    codes = np.concatenate([[0], grid("1000000000000000")[0] + 2])[None, :, None].astype(np.int64)
    absent = np.zeros((1, 17, 0), np.float32)
    batch = Batch(numbers=absent, codes=codes, tag=codes[..., 0], mask=codes[..., 0] >= 0, rows=np.zeros(1, np.int64))
    rules: Checker = Rules(FOUR)
    answer = np.concatenate([[9], grid(SOLUTION[FOUR])[0] - 1])[None].astype(np.int64)
    assert not any(found.any() for found in rules(batch, answer).values())
    answer[0, 1] = 1
    assert rules(batch, answer)["givens"].tolist() == [1] and rules(batch, answer)["rows"].tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (np.zeros((1, 15), np.int8), r"shape \(1, 15\)"),
        (np.zeros(16, np.int8), "shape"),
        (np.full((2, 16), 5, np.int8), "2 of 2 grids"),
        (np.full((1, 16), -1, np.int8), "first grid 0"),
        (np.zeros((1, 16)), "float64"),
    ],
)
def test_what_is_no_grid_is_refused(cells: Grids, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FOUR.checked(cells, "questions")


@pytest.mark.parametrize("board", BOARDS)
@given(seed=st.integers(0, 2**32))
def test_a_shuffled_puzzle_obeys_the_rules_and_keeps_its_number_of_givens(board: Board, seed: int) -> None:
    shuffle, made = Shuffle(board), puzzle(board)
    other = shuffle(made, uniform(seed, [0], shuffle.draws))
    assert valid(board, other.questions, other.answers).all() and (other.questions > 0).sum() == (made.questions > 0).sum()


@pytest.mark.parametrize("board", BOARDS)
def test_zeros_leave_a_puzzle_as_it_is(board: Board) -> None:
    shuffle, made = Shuffle(board), puzzle(board)
    same = shuffle(made, np.zeros((1, shuffle.draws)))
    assert (same.questions == made.questions).all() and (same.answers == made.answers).all()


def test_each_row_of_random_numbers_decides_its_own_puzzle_only() -> None:
    shuffle, one = Shuffle(SIX), puzzle(SIX)
    numbers = uniform(7, np.arange(5), shuffle.draws)
    together = shuffle(one.take(np.zeros(5, np.int64)), numbers)
    alone = [shuffle(one, numbers[[row]]).questions[0] for row in range(5)]
    assert (together.questions == alone).all() and len(np.unique(together.questions, axis=0)) == 5


def test_every_symmetry_of_a_board_occurs() -> None:
    shuffle, made = Shuffle(FOUR), Puzzles(questions=grid("1234000000000000"), answers=grid(SOLUTION[FOUR]))
    other = shuffle(made.take(np.zeros(2000, np.int64)), uniform(0, np.arange(2000), shuffle.draws))
    rows = (other.questions.reshape(-1, 4, 4) > 0).all(2)
    columns = (other.questions.reshape(-1, 4, 4) > 0).all(1)
    places = np.concatenate([rows, columns], axis=1)
    assert (places.sum(1) == 1).all() and (np.abs(places.sum(0) / 2000 - 1 / 8) < 0.03).all()  # each row, each column
    assert len(np.unique(other.questions, axis=0)) == 8 * 24


def test_a_board_with_oblong_boxes_is_not_transposed() -> None:
    shuffle = Shuffle(SIX)
    assert shuffle.draws == 6 + 3 + 6 + 2 + 6 and Shuffle(NINE).draws == 9 + 3 + 9 + 3 + 9 + 1


def test_random_numbers_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(1, 17\)"):
        Shuffle(FOUR)(puzzle(FOUR), np.zeros((1, 16)))
