"""The labelled path is Maze-Hard's, and an answer may take any shortest path but break no rule."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trmfin.errors import DataError
from trmfin.puzzles.maze import (
    GOAL,
    OPEN,
    PATH,
    START,
    SYMBOLS,
    WALL,
    distances,
    exact,
    labels,
    residuals,
    shortest_paths,
    valid_and_optimal,
)
from trmfin.puzzles.mazes_made import read_folder
from trmfin.puzzles.puzzles import Grids, Puzzles

MAZE_HARD = "puzzles/maze_hard_1k"
SQUARE = ("S   ", " ## ", "  # ", "#  G")  # two shortest paths: along the top and along the left, 6 steps each


def grid(*rows: str) -> Grids:
    """One maze, (1, cells)."""
    return np.array([[SYMBOLS.index(cell) for cell in "".join(rows)]], np.int8)


def beside(cell: int, side: int) -> list[int]:
    """The cells below, to the left, to the right and above."""
    row, column = divmod(cell, side)
    places = ((row + 1, column), (row, column - 1), (row, column + 1), (row - 1, column))
    return [r * side + c for r, c in places if 0 <= r < side and 0 <= c < side]


def by_queue(question: list[int], side: int) -> list[int] | None:
    """The label by a plain queue, one cell after the other; None where no way leads."""
    start, parent = question.index(START), {question.index(START): -1}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for near in beside(cell, side):
            if question[near] != WALL and near not in parent:
                parent[near] = cell
                queue.append(near)
    if (goal := question.index(GOAL)) not in parent:
        return None
    answer, cell = question.copy(), parent[goal]
    while cell != start:
        answer[cell], cell = PATH, parent[cell]
    return answer


def all_shortest(question: list[int], side: int) -> list[list[int]]:
    """Every answer that marks a shortest path, by trying all ways that never enter a cell twice."""
    ways: list[list[int]] = []

    def walk(cell: int, way: list[int]) -> None:
        for near in beside(cell, side):
            if question[near] == GOAL:
                ways.append(way)
            elif question[near] == OPEN and near not in way:
                walk(near, [*way, near])

    walk(question.index(START), [])
    best = min(map(len, ways), default=0)
    return [[PATH if cell in way else symbol for cell, symbol in enumerate(question)] for way in ways if len(way) == best]


@st.composite
def questions(draw: st.DrawFn, side: int) -> list[int]:
    """Cells with walls anywhere, a start and a goal."""
    cells = draw(st.lists(st.sampled_from([WALL, OPEN, OPEN]), min_size=side * side, max_size=side * side))
    start, goal = draw(st.permutations(range(side * side)))[:2]
    cells[start], cells[goal] = START, GOAL
    return cells


@pytest.fixture(scope="module")
def real(real_data: Path) -> Puzzles:
    return read_folder(real_data / MAZE_HARD)


def test_distances_count_steps_and_say_where_no_way_leads() -> None:
    maze = grid("S #", "# #", "G  ")
    assert distances(maze, 3).tolist() == [[0, 1, -1, -1, 2, -1, 4, 3, 4]]
    assert distances(maze, 3, GOAL).tolist() == [[4, 3, -1, -1, 2, -1, 0, 1, 2]]
    assert distances(grid("S#", "#G"), 2).tolist() == [[0, -1, -1, -1]]


def test_of_equal_paths_the_label_is_the_one_that_is_first_seen_looking_down_left_right_up() -> None:
    assert labels(grid("S  ", "   ", "  G"), 3).tolist() == grid("S  ", "o  ", "ooG").tolist()
    assert labels(grid("  G", "   ", "S  "), 3).tolist() == grid("  G", "  o", "Soo").tolist()


@given(st.lists(questions(5), min_size=1, max_size=6))
def test_labels_of_many_mazes_are_those_of_a_plain_queue(mazes: list[list[int]]) -> None:
    plain = [by_queue(maze, 5) for maze in mazes]
    solvable = [maze for maze, answer in zip(mazes, plain, strict=True) if answer]
    assert labels(np.reshape(solvable, (-1, 25)).astype(np.int8), 5).tolist() == [answer for answer in plain if answer]
    if lost := len(mazes) - len(solvable):
        with pytest.raises(DataError, match=f"{lost} of {len(mazes)} mazes have no way from S to G, first maze {plain.index(None)};"):
            labels(mazes, 5)


def test_every_label_of_maze_hard_is_the_rules(real_data: Path) -> None:
    told: list[int] = []
    puzzles = read_folder(real_data / MAZE_HARD, told.append)
    assert len(puzzles) == 1000 and told == [0]
    assert np.array_equal(labels(puzzles.questions, 30), puzzles.answers)


def test_shortest_paths_are_counted() -> None:
    assert shortest_paths(grid("S  ", "   ", "  G"), 3).tolist() == [6]  # 4 steps, 2 of them down
    assert shortest_paths(np.concatenate([grid(*SQUARE), grid("S   ", "####", "G   ", "    ")]), 4).tolist() == [2, 0]


@given(questions(4))
def test_an_answer_is_valid_and_optimal_exactly_if_it_is_one_of_all_shortest_paths(maze: list[int]) -> None:
    good = all_shortest(maze, 4)
    assert shortest_paths([maze], 4).tolist() == [len(good)]
    if good:
        mazes = np.repeat(np.array([maze], np.int8), len(good), axis=0)
        assert valid_and_optimal(mazes, np.array(good, np.int8), 4).all()
        trials = np.repeat(np.array(good[:1], np.int8), 16 * 5, axis=0)  # every cell made every symbol
        trials[np.arange(80), np.arange(80) // 5] = np.arange(80) % 5
        found = valid_and_optimal(np.repeat(mazes[:1], 80, axis=0), trials, 4)
        assert found.tolist() == [trial in good for trial in trials.tolist()]


def test_no_maze_of_maze_hard_has_one_shortest_path_alone(real: Puzzles) -> None:
    counts = shortest_paths(real.questions[:50], 30)
    assert counts.min() > 1 and np.median(counts) > 1e6


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        (("S   ", "o## ", "oo# ", "#ooG"), {}),
        (("Sooo", " ##o", "  #o", "#  G"), {}),  # the other shortest path
        (("So o", " ##o", "  #o", "#  G"), {"gap": 1, "stray": 4}),
        (("Sooo", "o##o", "  #o", "#  G"), {"stray": 1}),
        (("Sooo", " ##o", "  #o", "#   "), {"changed": 1}),
        (("Sooo", " #oo", "  #o", "#  G"), {"changed": 1}),
        (("S   ", "oo# ", " o# ", "#ooG"), {"changed": 1, "gap": 1, "stray": 4}),  # no way leads through a wall
    ],
)
def test_residuals_say_which_rule_is_broken_and_by_how_much(answer: tuple[str, ...], faults: dict[str, int]) -> None:
    found = residuals(grid(*SQUARE), grid(*answer), 4)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: [faults.get(name, 0)] for name in ("changed", "gap", "extra", "stray")
    }
    assert valid_and_optimal(grid(*SQUARE), grid(*answer), 4).tolist() == [not faults]


def test_a_detour_is_told_by_its_extra_steps() -> None:
    found = residuals(grid("S G", "   ", "   "), grid("S G", "o o", "ooo"), 3)
    assert {name: value.tolist() for name, value in found.items()} == {"changed": [0], "gap": [0], "extra": [4], "stray": [0]}


def test_exact_asks_for_the_labelled_path() -> None:
    one, other = grid("S   ", "o## ", "oo# ", "#ooG"), grid("Sooo", " ##o", "  #o", "#  G")
    assert labels(grid(*SQUARE), 4).tolist() == one.tolist()
    assert exact(np.concatenate([one, other]), np.concatenate([one, one])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("grids", "fault"),
    [
        (np.zeros((2, 8), np.int8), r"shape \(2, 8\); expected \(mazes, 9\)"),
        (grid("S  ", "   ", "  G") * 1.0, "numbers of type float64"),
        (grid("So ", "   ", "  G"), "1 of 1 mazes hold other than 0 … 3, first maze 0"),
        (grid("S  ", "   ", "   "), "maze 0 has 0 times 'G'"),
        (grid("S S", "   ", "  G"), "maze 0 has 2 times 'S'"),
    ],
)
def test_what_is_no_question_is_refused(grids: Grids, fault: str) -> None:
    for judged in (lambda: labels(grids, 3), lambda: shortest_paths(grids, 3), lambda: residuals(grids, grids, 3)):
        with pytest.raises(DataError, match=f"questions: {fault}"):
            judged()


def test_answers_of_another_number_and_questions_without_a_way_are_refused() -> None:
    two = np.repeat(grid("S ", " G"), 2, axis=0)
    with pytest.raises(DataError, match=r"answers: shape \(1, 4\) beside \(2, 4\)"):
        residuals(two, two[:1], 2)
    with pytest.raises(DataError, match=r"answers: shape \(2, 4\) beside \(1, 4\)"):
        exact(two, two[:1])
    with pytest.raises(DataError, match="no way from S to G"):
        residuals(grid("S#", "#G"), grid("S#", "#G"), 2)
