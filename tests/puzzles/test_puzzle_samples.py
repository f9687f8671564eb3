"""Puzzles as samples: what stands at which token, and what a look depends on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.puzzles.tiny_puzzles import kind
from trmfin.puzzles import mazes_made
from trmfin.puzzles.board import FOUR, valid
from trmfin.puzzles.kinds import KINDS
from trmfin.puzzles.puzzle_samples import ANSWER, PuzzleSamples
from trmfin.puzzles.sudoku import generate
from trmfin.sequences.targets import IGNORE
from trmfin.sequences.task import Task

PUZZLES = generate(FOUR, 5, 0, givens=(6, 8))


def samples(redrawn: bool = True) -> PuzzleSamples:
    return kind().samples(PUZZLES, seed=3, redrawn=redrawn)


def test_tokens_are_a_leading_one_and_the_cells_in_reading_order() -> None:
    batch = samples(redrawn=False).batch([2])
    assert batch.codes[0, 0, 0] == 0 and batch.codes[0, 1:, 0].tolist() == (PUZZLES.questions[2].astype(int) + 2).tolist()
    assert batch.targets[ANSWER][0, 0] == IGNORE and batch.targets[ANSWER][0, 1:].tolist() == (PUZZLES.answers[2] - 1).tolist()
    assert batch.tag[0].tolist() == [0] + [1] * 16 and batch.mask.all() and batch.numbers.shape == (1, 17, 0)


def test_codes_and_classes_mean_the_symbols_they_are_called_by() -> None:
    made = samples(redrawn=False)
    batch, classes = made.batch([0]), made.task.target(ANSWER).classes
    for token in range(1, 17):
        given = made.fitted.vocabulary["symbol"][batch.codes[0, token, 0] - 2]
        answer = classes[int(batch.targets[ANSWER][0, token])]
        assert given in (".", answer) and answer == str(PUZZLES.answers[0, token - 1])


def test_look_0_is_the_puzzle_as_it_came_and_the_others_are_redrawn() -> None:
    made = samples()
    looks = made.look(np.arange(0, len(made), len(PUZZLES))[:40])
    assert np.array_equal(looks.questions[0], PUZZLES.questions[0])
    assert len(np.unique(looks.questions, axis=0)) > 30 and valid(FOUR, looks.questions, looks.answers).all()
    assert ((looks.questions > 0).sum(1) == (PUZZLES.questions[0] > 0).sum()).all()


def test_a_look_depends_on_its_row_alone() -> None:
    made, rows = samples(), np.array([7, 123, 0, 4001])
    together = made.batch(rows)
    for place, row in enumerate(rows):
        alone = made.batch([row])
        assert np.array_equal(alone.codes[0], together.codes[place])
        assert np.array_equal(alone.targets[ANSWER][0], together.targets[ANSWER][place])
    other = PuzzleSamples(**{**vars(made), "seed": 4}).batch(rows)
    assert not np.array_equal(other.codes, together.codes) and np.array_equal(other.codes[2], together.codes[2])


@given(st.lists(st.integers(0, len(samples()) - 1), min_size=1, max_size=6))
def test_any_rows_in_any_order_are_what_they_are_alone(rows: list[int]) -> None:
    made = samples()
    together = made.look(rows)
    for place, row in enumerate(rows):
        alone = made.look([row])
        assert alone.questions[0].tolist() == together.questions[place].tolist()
        assert alone.answers[0].tolist() == together.answers[place].tolist()
    assert valid(FOUR, together.questions, together.answers).all()
    assert ((together.questions > 0).sum(1) == (PUZZLES.questions[np.array(rows) % len(PUZZLES)] > 0).sum(1)).all()


def test_a_mazes_answer_may_be_any_of_its_symbols() -> None:
    here, mazes = KINDS["maze9"], mazes_made.generate(9, 2, 0)
    made = here.samples(mazes, seed=0)
    batch, classes = made.batch([1]), made.task.target(ANSWER).classes
    assert classes == here.symbols == made.fitted.vocabulary["symbol"]
    assert batch.targets[ANSWER][0, 1:].tolist() == mazes.answers[1].tolist()
    assert (batch.codes[0, 1:, 0] - 2).tolist() == mazes.questions[1].tolist()


def test_what_a_set_is_made_of_tells_it_from_others() -> None:
    one, other = samples(), kind().samples(PUZZLES, seed=4, redrawn=True)
    assert [a.tobytes() for a in one.arrays()] != [a.tobytes() for a in other.arrays()]
    still = replace(one, redraw=None)
    assert [a.tobytes() for a in one.arrays()] != [a.tobytes() for a in still.arrays()]
    assert one.known.all() and len(one.known) == len(one)


@pytest.mark.parametrize("name", sorted(set(KINDS)))
def test_every_kinds_task_survives_json(name: str) -> None:
    here = KINDS[name]
    if not hasattr(here, "side"):
        pytest.skip("no grid of one size")
    blank = generate(FOUR, 1, 0, givens=(8, 8))
    task = here.samples(blank, seed=0).task
    assert Task.from_json(task.to_json()) == task and task.length == 1 + here.side**2
