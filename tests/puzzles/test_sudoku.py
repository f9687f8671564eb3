"""Generating, reading and dealing Sudoku puzzles."""

from pathlib import Path

import numpy as np
import pytest

from tests.puzzles.test_board import SOLUTION, grid
from trmfin.errors import ConfigError, DataError
from trmfin.puzzles import sudoku
from trmfin.puzzles.board import FOUR, NINE, SIX, Board, Shuffle, valid
from trmfin.puzzles.canonical import canonical
from trmfin.puzzles.chance import uniform
from trmfin.puzzles.puzzles import Puzzles
from trmfin.puzzles.solver import by_singles, solve
from trmfin.puzzles.sudoku import LEVELS, answered, deal, families, generate, of_level, random_grids, read_lines, split_apart, write_lines


def number_of_givens(puzzles: Puzzles) -> np.ndarray:
    return (puzzles.questions > 0).sum(axis=1)


def shuffled(board: Board, puzzles: Puzzles, seed: int) -> Puzzles:
    shuffle = Shuffle(board)
    return shuffle(puzzles, uniform(seed, np.arange(len(puzzles)), shuffle.draws))


@pytest.mark.parametrize(("board", "givens"), [(FOUR, (4, 8)), (SIX, (8, 13)), (NINE, (33, 39))])
def test_generated_puzzles_have_one_solution_and_the_wanted_givens(board: Board, givens: tuple[int, int]) -> None:
    made = generate(board, 100, 0, givens=givens)
    found = number_of_givens(made)
    assert len(made) == 100 and (solve(board, made.questions).solutions == 1).all() and valid(board, made.questions, made.answers).all()
    assert found.min() >= givens[0] and found.max() <= givens[1] and len(set(found.tolist())) > 3


def test_a_seed_decides_the_puzzles() -> None:
    one, same, other = (generate(SIX, 20, seed, givens=(8, 13)) for seed in (1, 1, 2))
    assert (one.questions == same.questions).all() and (one.answers == same.answers).all() and (one.questions != other.questions).any()


def test_no_puzzles_are_generated_where_none_are_wanted() -> None:
    assert generate(FOUR, 0, 0, givens=(4, 8)).questions.shape == (0, 16)


def test_guesses_are_kept_in_their_range() -> None:
    made = generate(NINE, 5, 0, givens=(22, 27), least_guesses=1, most_guesses=3)
    guesses = solve(NINE, made.questions).guesses
    assert guesses.min() >= 1 and guesses.max() <= 3
    assert by_singles(NINE, generate(NINE, 50, 0, givens=(24, 30), most_guesses=0).questions).all()


def test_digging_blanks_every_cell_that_may_be_until_the_target() -> None:
    answers, target = random_grids(SIX, 40, np.random.default_rng(0)), np.arange(40) % 12
    dug = sudoku._dig(SIX, answers, target, False, np.random.default_rng(5))
    order = np.random.default_rng(5).permuted(np.tile(np.arange(36), (40, 1)), axis=1)
    slow = answers.copy()
    for step in range(36):
        trial = np.where((np.arange(36) == order[:, [step]]) & ((slow > 0).sum(axis=1) > target)[:, None], 0, slow).astype(np.int8)
        slow = np.where((solve(SIX, trial).solutions == 1)[:, None], trial, slow)
    assert (dug == slow).all()


@pytest.mark.parametrize(
    ("givens", "guesses"), [((9, 8), (0, None)), ((-1, 8), (0, None)), ((4, 17), (0, None)), ((4, 8), (2, 1)), ((4, 8), (-1, None))]
)
def test_a_range_that_is_none_is_refused(givens: tuple[int, int], guesses: tuple[int, int | None]) -> None:
    with pytest.raises(ConfigError, match="expected 0 <= fewest <= most <= 16"):
        generate(FOUR, 1, 0, givens=givens, least_guesses=guesses[0], most_guesses=guesses[1])


def test_a_range_that_no_puzzle_reaches_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sudoku, "TRIES", 200)
    with pytest.raises(ConfigError, match="widen the range"):
        generate(FOUR, 1, 0, givens=(0, 3))  # a 4×4 puzzle needs 4 givens


def test_every_4x4_grid_is_drawn_about_as_often_as_another() -> None:
    _, often = np.unique(random_grids(FOUR, 14400, np.random.default_rng(0)), axis=0, return_counts=True)
    assert len(often) == 288 and often.min() > 20 and often.max() < 90  # 50 each if they were equally likely


def test_random_grids_are_solutions() -> None:
    made = random_grids(NINE, 100, np.random.default_rng(0))
    assert valid(NINE, made, made).all() and len(np.unique(made, axis=0)) == 100


def test_levels_go_from_easy_to_hard() -> None:
    made = {name: of_level(name, 3, 0) for name in LEVELS}
    guesses = {name: solve(NINE, puzzles.questions).guesses for name, puzzles in made.items()}
    for name, level in LEVELS.items():
        assert level.givens[0] <= number_of_givens(made[name]).min() and number_of_givens(made[name]).max() <= level.givens[1]
        assert guesses[name].min() >= level.least_guesses and (level.most_guesses is None or guesses[name].max() <= level.most_guesses)
    hardness = [(level.least_guesses, -level.givens[1]) for level in LEVELS.values()]
    assert hardness == sorted(hardness)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="'fiendish'; there are full, half"):
        of_level("fiendish", 1, 0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = generate(SIX, 5, 0, givens=(8, 13))
    write_lines(tmp_path / "x.txt", SIX, made.questions)
    questions, where = read_lines(tmp_path / "x.txt", SIX)
    assert (questions == made.questions).all() and where[4] == f"{tmp_path / 'x.txt'}, line 5"


def test_comments_empty_lines_and_both_blanks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbf# 4x4\r\n\r\n  1...000000000004 \r\n................")
    questions, where = read_lines(path, FOUR)
    assert questions[0].tolist() == [1, *[0] * 14, 4] and not questions[1].any()
    assert where == [f"{path}, line 3", f"{path}, line 4"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1" * 15, "line 2: 15 characters; expected 16 cells, digits 1-4"),
        ("1" * 17, "line 2: 17 characters"),
        ("1" * 15 + "5", "line 2: '5' as character 16"),
        ("1234 12341234123", "line 2: ' ' as character 5"),
        ("é" + "1" * 15, "line 2: 'é' as character 1"),
        ("²" + "1" * 15, "line 2: '²' as character 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.txt").write_text("." * 16 + "\n" + line + "\n", "utf-8")
    with pytest.raises(DataError, match=message):
        read_lines(tmp_path / "x.txt", FOUR)


def test_a_file_without_puzzles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="no puzzle"):
        read_lines(tmp_path / "x.txt", FOUR)
    with pytest.raises(DataError, match="no such file"):
        read_lines(tmp_path / "y.txt", FOUR)


@pytest.mark.parametrize(("text", "fault"), [("11" + "0" * 14, "contradicts itself"), ("0" * 16, "has more than one solution")])
def test_a_puzzle_without_exactly_one_solution_is_named(text: str, fault: str) -> None:
    questions = np.concatenate([grid("1234341221434300"), grid(text)])
    with pytest.raises(DataError, match=f"x.txt, line 9: the puzzle {fault}"):
        answered(FOUR, questions, ["x.txt, line 7", "x.txt, line 9"])
    assert (answered(FOUR, questions[:1], ["x.txt, line 7"]).answers == grid(SOLUTION[FOUR])).all()


@pytest.mark.parametrize(("board", "givens"), [(FOUR, (5, 8)), (SIX, (8, 13)), (NINE, (40, 50))])
def test_what_is_held_out_is_not_in_the_pool_in_any_look(board: Board, givens: tuple[int, int]) -> None:
    held_out, pool = generate(board, 10, 0, givens=givens), generate(board, 30, 1, givens=givens)
    mixed = sudoku._joined(board, [pool.take(np.arange(15)), shuffled(board, held_out, 3), pool.take(np.arange(15, 30))])
    left = split_apart(board, mixed, held_out)
    assert set(families(board, left).tolist()).isdisjoint(families(board, held_out).tolist())
    apart = pool.take(np.flatnonzero(~np.isin(families(board, pool), families(board, held_out))))
    assert (left.questions == apart.questions).all() and 0 < len(left) <= 30


def test_9x9_puzzles_of_one_grid_are_one_family_and_6x6_ones_are_not() -> None:
    for board, together in ((NINE, True), (SIX, False)):
        answers = grid(SOLUTION[board]).repeat(2, axis=0)
        questions = answers.copy()
        questions[0, :5] = questions[1, :4] = 0
        family = families(board, Puzzles(questions=questions, answers=answers))
        assert (family[0] == family[1]) == together


def test_parts_share_no_family_and_lose_no_puzzle() -> None:
    grids = generate(NINE, 40, 0, givens=(40, 50))
    siblings = sudoku._joined(NINE, [shuffled(NINE, grids, seed) for seed in range(5)])
    parts = deal(NINE, siblings, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=0)
    kinds = [set(families(NINE, part).tolist()) for part in parts.values()]
    assert [len(part) for part in parts.values()] == [140, 20, 40] and list(parts) == ["train", "validation", "test"]
    assert not (kinds[0] & kinds[1] or kinds[0] & kinds[2] or kinds[1] & kinds[2])
    again, other = (deal(NINE, siblings, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=seed) for seed in (0, 1))
    assert (again["test"].questions == parts["test"].questions).all() and (other["test"].questions != parts["test"].questions).any()


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        deal(FOUR, generate(FOUR, 2, 0, givens=(5, 8)), shares, seed=0)


@pytest.mark.parametrize(
    ("name", "count", "checked"),
    [
        ("puzzles2_17_clue.txt", 44226, 500),
        ("puzzles3_magictour_top1465.txt", 1313, 200),
        ("puzzles5_forum_hardest_1905_11plus.txt", 43978, 100),
        ("puzzles6_forum_hardest_1106.txt", 331, 50),
    ],
)
def test_the_published_files_hold_puzzles(real_data: Path, name: str, count: int, checked: int) -> None:
    questions, where = read_lines(real_data / "puzzles" / "sudoku_9x9" / name, NINE)
    made = answered(NINE, questions[:checked], where)
    assert len(questions) == len(where) == count and valid(NINE, made.questions, made.answers).all()
    if "17_clue" in name:
        assert (number_of_givens(made) == 17).all() and len(np.unique(canonical(NINE, made.questions, made.answers)[0])) == checked
