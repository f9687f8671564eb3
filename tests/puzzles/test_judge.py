"""What is made of a network's answers: exact, halted, and by which margin."""

import numpy as np
import pytest
import torch

from tests.puzzles.tiny_puzzles import MODEL, kind
from trmfin.model.network import Network
from trmfin.model.refine import Thinking
from trmfin.puzzles.board import FOUR
from trmfin.puzzles.experiment import hardest
from trmfin.puzzles.judge import MARGINS, SAFETY, Answered, answer, answer_early, safe_margin
from trmfin.puzzles.puzzle_samples import PuzzleSamples
from trmfin.puzzles.sudoku import generate

TRUTH = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
ANSWERED = Answered(
    grids=np.array([[[1, 2], [1, 2], [1, 2]], [[0, 0], [3, 0], [3, 4]], [[5, 6], [5, 0], [0, 0]]], np.int8),
    halts=np.array([[3.0, 9, 9], [2.5, -1, 9], [-1, -1, -1]], np.float32),
    truth=TRUTH,
)


def test_an_answer_is_exact_where_every_cell_is_right() -> None:
    assert ANSWERED.exact.tolist() == [[True, True, True], [False, False, True], [True, False, False]]


def test_a_puzzle_halts_at_the_first_step_above_the_margin_or_at_the_last() -> None:
    assert ANSWERED.halting_step(0.0).tolist() == [1, 1, 3]
    assert ANSWERED.halting_step(2.75).tolist() == [1, 3, 3]
    assert ANSWERED.at(np.array([1, 2, 3])).tolist() == [[1, 2], [3, 0], [0, 0]]


def test_the_safe_margin_is_above_the_first_that_loses_nothing() -> None:
    assert safe_margin(ANSWERED) == SAFETY + 3.0
    assert safe_margin(ANSWERED.of(0)) == SAFETY
    halted = Answered(grids=ANSWERED.grids[1:2], halts=np.full((1, 3), 99, np.float32), truth=TRUTH[1:2])
    assert safe_margin(halted) == SAFETY + MARGINS[-1]


def test_the_puzzle_that_is_shown_is_solved_in_the_end_and_last() -> None:
    assert hardest(ANSWERED) == 1
    assert hardest(ANSWERED.of(2)) == 0  # none is solved: any
    right, wrong = [1, 2], [1, 0]
    steps = [[right, right, wrong], [wrong, right, right], [right, wrong, right], [wrong, wrong, right]]
    again = Answered(grids=np.array(steps, np.int8), halts=np.zeros((4, 3), np.float32), truth=np.array([right] * 4, np.int8))
    assert hardest(again) == 2  # solved for good by the last step, as is the next: the first of both


def untaught() -> tuple[PuzzleSamples, Network]:
    """Nine puzzles and a network whose answers and halts differ between them."""
    samples = kind().samples(generate(FOUR, 9, 1, givens=(6, 9)), seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(samples.task, samples.fitted, MODEL)
        torch.nn.init.normal_(network.heads["answer"].weight)
        torch.nn.init.normal_(network.halt.weight)
    return samples, network


@pytest.mark.parametrize(
    "thinking",
    [Thinking(steps=5), Thinking(steps=5, rollouts=3, noise=0.5), Thinking(steps=5, rollouts=2, random_start=True, pick="residual")],
)
def test_answers_depend_neither_on_the_batch_nor_on_the_order(thinking: Thinking) -> None:
    samples, network = untaught()
    rows = np.arange(9)
    told: list[int] = []
    whole, parts = answer(network, samples, rows, thinking), answer(network, samples, rows, thinking, size=4, tell=told.append)
    assert np.array_equal(whole.grids, parts.grids) and told == [4, 8, 9] and whole.grids.shape == (9, 5, 16)
    turned = answer(network, samples, rows[::-1].copy(), thinking)
    assert np.array_equal(turned.grids[::-1], whole.grids) and np.array_equal(turned.truth[::-1], samples.puzzles.answers)
    assert len(np.unique(whole.grids[:, -1], axis=0)) > 1


def test_leaving_early_finds_the_same_answers() -> None:
    samples, network = untaught()
    rows = np.arange(9)
    whole = answer(network, samples, rows, Thinking(steps=5))
    margin = float(np.median(whole.halts)) + 1e-3
    grids, used = answer_early(network, samples, rows, steps=5, margin=margin, size=4)
    assert used.tolist() == whole.halting_step(margin).tolist()
    assert np.array_equal(grids, whole.at(used))
