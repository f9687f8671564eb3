"""ARC votes: answers to every look are turned back and counted, and the best two are the tries."""

import numpy as np
import pytest

from tests.puzzles.tiny_arc import grid, real, task, tasks
from trmfin.errors import DataError
from trmfin.puzzles.arc import CELLS, ArcTask, Augmentation, augmentations, encode, examples
from trmfin.puzzles.arc_votes import pass_at_2, vote


def test_answers_are_turned_back_and_pooled_and_the_majority_leads() -> None:
    right, wrong = grid("12", "30"), grid("55")
    looks = augmentations(task(), 5)
    cells = np.stack([encode(look.apply(right if place < 3 else wrong)) for place, look in enumerate(looks)])
    first, second = vote(looks, cells, np.array([0.1, 0.2, 0.3, 1.0, 1.0]))
    assert np.array_equal(first.grid, right) and first.votes == 3 and first.halt == pytest.approx(0.2)
    assert np.array_equal(second.grid, wrong) and second.votes == 2  # though its mean halt is 1


def test_equal_votes_are_ranked_by_mean_halt_then_by_the_first_given() -> None:
    cells = np.stack([encode(grid(row)) for row in ("1", "2", "3", "1", "2", "3")])
    looks = [Augmentation()] * 6

    def order(*halts: float) -> list[int]:
        return [int(candidate.grid[0, 0]) for candidate in vote(looks, cells, np.array(halts))]

    assert order(0.1, 0.9, 0.5, 0.1, 0.2, 0.5) == [2, 3] and order(0.5, 0.5, 0.9, 0.5, 0.5, 0.9) == [3, 1]


def test_equal_cells_in_another_shape_are_another_answer() -> None:
    cells = np.stack([encode(grid("11")), encode(grid("1", "1")), encode(grid("11"))])
    assert [candidate.votes for candidate in vote([Augmentation()] * 3, cells, np.ones(3))] == [2, 1]


def test_an_answer_without_a_colour_has_no_vote() -> None:
    cells = np.stack([np.zeros(CELLS, np.int8), encode(grid("7")), np.ones(CELLS, np.int8)])
    (only,) = vote([Augmentation()] * 3, cells, np.ones(3))
    assert only.votes == 1 and vote([Augmentation()], cells[:1], np.ones(1)) == ()


def test_votes_that_do_not_match_are_refused() -> None:
    with pytest.raises(DataError, match="1 looks, 2 answers, 1 halts"):
        vote([Augmentation()], np.zeros((2, CELLS), np.int8), np.ones(1))
    with pytest.raises(DataError, match="are these logits"):
        vote([Augmentation()], np.zeros((1, CELLS), np.int8), np.array([-4.0]))


def test_a_task_counts_by_the_share_of_its_tests_that_one_of_two_tries_solves() -> None:
    one, two, three = grid("1"), grid("2"), grid("11")
    double = ArcTask(id="double", split="evaluation", demonstrations=((one, two),), tests=((one, two), (two, one)))
    single = ArcTask(id="single", split="evaluation", demonstrations=((one, two),), tests=((one, three),))
    assert pass_at_2([double, single], {"double": [[one, two], [two, three]], "single": [[three]]}) == 0.75
    assert pass_at_2([double], {"double": [[two], []]}) == 0.5
    assert pass_at_2([single], {"single": [[one, grid("1", "1")]]}) == 0.0  # the shape counts


def test_a_missing_test_or_a_third_try_is_refused() -> None:
    with pytest.raises(DataError, match="task tiny: tries for 0 of 1 tests"):
        pass_at_2([task()], {})
    with pytest.raises(DataError, match="task tiny: 3 tries for one test; expected at most 2"):
        pass_at_2([task()], {"tiny": [[grid("1")] * 3]})
    with pytest.raises(DataError, match="no tasks"):
        pass_at_2([], {})


@real
def test_right_answers_to_every_look_of_real_tests_score_one(name: str) -> None:
    known = [task for task in tasks(name) if task.split == "evaluation"][::10]
    tries = {}
    for asked in known:
        looks = augmentations(asked, 5)
        answers = np.stack([examples(asked, look)[0].answers[len(asked.demonstrations) :] for look in looks], 1)  # (tests, V, 900)
        tries[asked.id] = [[candidate.grid for candidate in vote(looks, cells, np.ones(len(looks)))] for cells in answers]
    assert pass_at_2(known, tries) == 1.0
