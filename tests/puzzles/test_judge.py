"""What is made of a network's answers: exact, halted, and by which margin."""

import numpy as np
import torch

from tests.puzzles.tiny_puzzles import MODEL, kind
from trmfin.model.network import Network
from trmfin.model.refine import Thinking
from trmfin.puzzles.board import FOUR
from trmfin.puzzles.experiment import hardest
from trmfin.puzzles.judge import MARGINS, Answered, answer, answer_early, least_margin
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


def test_the_least_margin_is_the_first_that_loses_nothing() -> None:
    assert least_margin(ANSWERED) == 3.0
    assert least_margin(ANSWERED.of(0)) == 0.0
    halted = Answered(grids=ANSWERED.grids[1:2], halts=np.full((1, 3), 99, np.float32), truth=TRUTH[1:2])
    assert least_margin(halted) == MARGINS[-1]


def test_the_puzzle_that_is_shown_is_solved_in_the_end_and_last() -> None:
    assert hardest(ANSWERED) == 1
    assert hardest(ANSWERED.of(2)) == 0  # none is solved: any


def test_answers_do_not_depend_on_the_batch_and_leaving_early_finds_the_same() -> None:
    samples = kind().samples(generate(FOUR, 9, 1, givens=(6, 9)), seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(samples.task, samples.fitted, MODEL)
        torch.nn.init.normal_(network.heads["answer"].weight)
        torch.nn.init.normal_(network.halt.weight)
    rows = np.arange(9)
    told: list[int] = []
    thinking = Thinking(steps=5)
    whole, parts = answer(network, samples, rows, thinking), answer(network, samples, rows, thinking, size=4, tell=told.append)
    assert np.array_equal(whole.grids, parts.grids) and told == [4, 8, 9] and whole.grids.shape == (9, 5, 16)
    margin = float(np.median(whole.halts)) + 1e-3
    grids, used = answer_early(network, samples, rows, steps=5, margin=margin, size=4)
    assert used.tolist() == whole.halting_step(margin).tolist()
    assert np.array_equal(grids, whole.at(used))
