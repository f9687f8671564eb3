"""No symmetry contradicts a label, and no look of a maze is in training and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.puzzles.test_maze import MAZE_HARD, grid
from trmfin.errors import DataError
from trmfin.puzzles.chance import uniform
from trmfin.puzzles.maze import exact, labels, valid_and_optimal
from trmfin.puzzles.maze_turns import Turn, canonical, split_apart, turned
from trmfin.puzzles.mazes_made import generate, read_folder
from trmfin.puzzles.puzzles import Puzzles


def test_a_turn_by_nothing_leaves_a_maze_as_it_is_and_eighths_give_all_eight_looks() -> None:
    eight = Puzzles(questions=np.repeat(grid("S# ", "  #", "# G"), 8, axis=0), answers=np.repeat(grid("S# ", "oo#", "#oG"), 8, axis=0))
    looks = Turn(3)(eight, np.arange(8)[:, None] / 8)
    assert looks.questions[0].tolist() == eight.questions[0].tolist() and looks.answers[0].tolist() == eight.answers[0].tolist()
    assert looks.questions[1].tolist() == grid(" #G", "#  ", "S #")[0].tolist()  # turned left
    assert len(np.unique(looks.questions, axis=0)) == 8


def test_a_mazes_turn_depends_on_its_own_number_alone() -> None:
    puzzles, numbers = generate(9, 20, 0), uniform(3, np.arange(20), 1)
    together, alone = Turn(9)(puzzles, numbers), Turn(9)(puzzles.take(np.array([7])), numbers[7:8])
    assert np.array_equal(together.questions[7:8], alone.questions) and np.array_equal(together.answers[7:8], alone.answers)


def test_turning_a_label_is_right_where_one_path_exists() -> None:
    puzzles = generate(9, 100, 0)
    for which in range(8):
        assert np.array_equal(turned(puzzles.answers, 9, which), labels(turned(puzzles.questions, 9, which), 9))


def test_turning_a_label_contradicts_the_rule_where_several_exist_and_so_it_is_found_anew(real_data: Path) -> None:
    some = read_folder(real_data / MAZE_HARD).take(np.arange(100))
    for which in (1, 2, 3, 4, 5, 6, 7):
        looks = Turn(30)(some, np.full((100, 1), which / 8))
        carried = turned(some.answers, 30, which)
        assert np.array_equal(looks.questions, turned(some.questions, 30, which))
        assert np.array_equal(looks.answers, labels(looks.questions, 30))
        assert valid_and_optimal(looks.questions, carried, 30).all() and not exact(carried, looks.answers).all()
        assert which == 7 or exact(carried, looks.answers).mean() < 0.05


def test_a_key_is_the_least_text_of_a_mazes_looks() -> None:
    assert canonical(grid("S#", " G"), 2).tolist() == [b" GS#"]
    assert canonical(grid("  ", " #"), 2).tolist() == [b"   #"]  # walls alone


def test_mazes_have_one_key_exactly_if_one_is_a_look_of_the_other() -> None:
    mazes = generate(5, 24, 0).questions  # all that there are
    keys = canonical(mazes, 5)
    looks = [[turned(mazes[[maze]], 5, which)[0].tolist() for which in range(8)] for maze in range(24)]
    assert len(set(keys)) > 1
    for one in range(24):
        assert [key == keys[one] for key in keys] == [maze in looks[one] for maze in mazes.tolist()]


def test_no_look_of_a_held_out_maze_is_left_to_learn_from() -> None:
    pool = generate(5, 24, 0)  # all that there are
    held_out = Turn(5)(pool.take(np.array([3, 11])), np.array([[0.2], [0.9]]))
    left = split_apart(pool, held_out, 5)
    assert 0 < len(left) < 23 and not np.isin(canonical(left.questions, 5), canonical(held_out.questions, 5)).any()
    assert len(split_apart(pool, pool.take(np.array([], np.int64)), 5)) == 24


def test_a_turn_takes_one_number_a_maze() -> None:
    two = Puzzles(questions=np.repeat(grid("S ", " G"), 2, axis=0), answers=np.repeat(grid("S ", "oG"), 2, axis=0))
    with pytest.raises(DataError, match=r"turn: random numbers of shape \(1, 1\); expected \(2, 1\)"):
        Turn(2)(two, np.zeros((1, 1)))
