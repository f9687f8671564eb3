"""Drawn mazes are trees, all equally likely, or have loops; published ones are read only in the form in which they were published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.puzzles.test_maze import grid
from trmfin.errors import ConfigError, DataError
from trmfin.puzzles.maze import GOAL, OPEN, PATH, START, WALL, distances, shortest_paths, valid_and_optimal
from trmfin.puzzles.mazes_made import INPUTS, LABELS, generate, read_folder, trees


@pytest.mark.parametrize("side", [4, 5, 9, 12])
def test_a_maze_without_loops_is_a_tree_of_cells_with_a_long_way_through_it(side: int) -> None:
    puzzles = generate(side, 20, 0)
    room = (puzzles.questions != WALL).reshape(-1, side, side)
    doors = (room[:, 1:] & room[:, :-1]).sum((1, 2)) + (room[:, :, 1:] & room[:, :, :-1]).sum((1, 2))
    reached = distances(puzzles.questions, side) >= 0
    assert np.array_equal(reached, puzzles.questions != WALL) and np.array_equal(doors, room.sum((1, 2)) - 1)
    assert valid_and_optimal(puzzles.questions, puzzles.answers, side).all()
    assert ((puzzles.answers == PATH).sum(1) + 1 >= side).all()


def test_loops_make_several_shortest_paths() -> None:
    counts = shortest_paths(generate(15, 100, 0, loops=0.3).questions, 15)
    assert (counts > 1).mean() > 0.5 and np.equal(shortest_paths(generate(15, 100, 0).questions, 15), 1).all()


def test_every_tree_is_equally_likely() -> None:
    _, counts = np.unique(trees(7, 19_200, np.random.default_rng(0)).reshape(19_200, -1), axis=0, return_counts=True)
    assert len(counts) == 192  # spanning trees of 3 × 3 cells
    assert ((counts - 100) ** 2 / 100).sum() < 250  # chi-squared with 191 degrees of freedom: 191 ± 20


def test_generated_mazes_are_different_and_the_same_for_the_same_seed() -> None:
    one, again, other = generate(9, 500, 1), generate(9, 500, 1), generate(9, 500, 2)
    assert np.array_equal(one.questions, again.questions) and not np.array_equal(one.questions, other.questions)
    assert len(np.unique(one.questions, axis=0)) == len(one) == 500 and len(generate(9, 0, 1)) == 0


def test_more_mazes_than_there_are_and_impossible_wishes_are_refused() -> None:
    with pytest.raises(ConfigError, match="only 24 different mazes"):
        generate(5, 25, 0)
    for side, count, loops in ((3, 1, 0.0), (9, -1, 0.0), (9, 1, 1.5), (9, 1, float("nan"))):
        with pytest.raises(ConfigError, match="expected a side of at least 4"):
            generate(side, count, 0, loops=loops)


def saved(folder: Path, inputs: NDArray[Any], answers: NDArray[Any]) -> Path:
    np.save(folder / INPUTS, inputs)
    np.save(folder / LABELS, answers)
    return folder


ONE, ANSWER, OTHER = (grid(*rows).astype(np.uint8) + 1 for rows in (("S ", " G"), ("S ", "oG"), ("So", " G")))


def test_a_folder_is_read_as_positions_and_tells_how_many_labels_take_another_shortest_path(tmp_path: Path) -> None:
    told: list[int] = []
    puzzles = read_folder(saved(tmp_path, np.repeat(ONE, 3, 0), np.concatenate([ANSWER, OTHER, OTHER])), told.append)
    assert told == [2] and puzzles.questions.dtype == puzzles.answers.dtype == np.int8
    assert puzzles.questions[0].tolist() == [START, OPEN, OPEN, GOAL] and puzzles.answers[1].tolist() == [START, PATH, OPEN, GOAL]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda folder: (folder / LABELS).unlink(), f"{LABELS}: no such file"),
        (lambda folder: (folder / INPUTS).write_text("S G"), f"{INPUTS}: is no NumPy array"),
        (lambda folder: (folder / INPUTS).write_bytes((folder / INPUTS).read_bytes()[:-1]), f"{INPUTS}: is no NumPy array"),
        (lambda folder: (folder / INPUTS).write_bytes((folder / INPUTS).read_bytes().replace(b"}", b"{")), f"{INPUTS}: is no NumPy array"),
        (lambda folder: saved(folder, ONE.astype(float), ANSWER), f"{INPUTS}: float64 of shape"),
        (lambda folder: saved(folder, ONE[0], ANSWER), rf"{INPUTS}: uint8 of shape \(4,\)"),
        (lambda folder: saved(folder, ANSWER, ANSWER), f"{INPUTS}: codes 2 … 5; expected 1 … 4"),
        (lambda folder: saved(folder, ONE - 2, ANSWER), f"{INPUTS}: codes 0 … 2"),
        (lambda folder: saved(folder, ONE, ANSWER[:, :3]), r"of shape \(1, 4\), .* of \(1, 3\)"),
        (lambda folder: saved(folder, ONE[:, :3], ANSWER[:, :3]), r"shape \(1, 3\); expected \(mazes, 1\)"),
        (lambda folder: saved(folder, ONE, ONE), f"{LABELS}: 1 of 1 labels are no shortest path"),
    ],
)
def test_a_folder_of_another_form_is_refused(tmp_path: Path, spoil: Callable[[Path], object], fault: str) -> None:
    spoil(saved(tmp_path, ONE, ANSWER))
    with pytest.raises(DataError, match=fault):
        read_folder(tmp_path)
