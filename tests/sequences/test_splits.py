"""Splits: nothing that training sees was known after testing began."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from tests.worlds import card_and_shop, grid, monthly_panel
from trmfin.errors import DataError
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.sequences import build
from trmfin.sequences.splits import (
    check_answers,
    check_delay,
    label_delay,
    not_known_bad,
    protocol_splits,
    rows_tested,
    rows_trained,
    stratified_folds,
    walk_forward,
)
from trmfin.sequences.transforms import DAY, NEVER

ONE_TIME = np.zeros(200, np.int64)


def days(*values: float) -> np.ndarray:
    return (np.array(values) * DAY).astype(np.int64)


@pytest.mark.parametrize("classes", [2, 3])
def test_stratified_folds_are_scikit_learns(classes: int) -> None:
    y = np.random.default_rng(0).integers(0, classes, 200).astype(np.float32)
    theirs = StratifiedKFold(5, shuffle=True, random_state=42).split(y, y)
    ours = stratified_folds(y, 5, 42, as_of=ONE_TIME)
    for split, (train, test) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.test, test)


def test_rows_without_a_label_are_in_no_fold() -> None:
    y = np.array([0, 1, np.nan, 0, 1], np.float32)
    folds = stratified_folds(y, 2, 0, as_of=np.zeros(5, np.int64))
    assert sorted(np.concatenate([s.test for s in folds]).tolist()) == [0, 1, 3, 4]
    assert all(2 not in s.train for s in folds)


def test_a_random_split_of_several_times_is_refused_unless_asked_for() -> None:
    y, as_of = np.array([0, 1, 0, 1], np.float32), np.array([1, 1, 2, 2], np.int64)
    with pytest.raises(DataError, match="2 different as_of.*walk_forward"):
        stratified_folds(y, 2, 0, as_of=as_of)
    assert len(stratified_folds(y, 2, 0, as_of=as_of, across_time=True)) == 2


@pytest.mark.parametrize("y", [[0, 0, 0, 1], [np.nan, np.nan, np.nan, np.nan]])
def test_too_few_rows_of_a_class_are_refused(y: list[float]) -> None:
    with pytest.raises(DataError, match="as many rows of each class"):
        stratified_folds(np.array(y, np.float32), 2, 0, as_of=np.zeros(4, np.int64))


def test_walk_forward_trains_before_and_tests_after() -> None:
    as_of = days(0, 1, 2, 3, 4, 5)
    first, second = walk_forward(as_of, as_of, starts=days(2, 4), test_span=2 * DAY)
    assert (first.train.tolist(), first.test.tolist()) == ([0, 1], [2, 3])
    assert (second.train.tolist(), second.test.tolist()) == ([0, 1, 2, 3], [4, 5])


def test_a_label_that_became_known_only_in_the_test_window_is_purged() -> None:
    as_of, known_at = days(0, 1, 2, 3), days(9, 2.5, 3, 9)
    (split,) = walk_forward(as_of, known_at, starts=days(3), test_span=DAY)
    assert (split.train.tolist(), split.test.tolist()) == ([1], [3])


@pytest.mark.parametrize(
    ("room", "train"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),  # the label of 7 is known at 8, not before
        ({"train_span": 3 * DAY}, [5, 6]),
        ({"delay": 3 * DAY}, [0, 1, 2, 3, 4]),
        ({"purge": 2 * DAY}, [0, 1, 2, 3, 4]),
        ({"embargo": 4 * DAY}, [0, 1, 2, 3]),
    ],
)
def test_span_delay_purge_and_embargo_shorten_training(room: dict[str, int], train: list[int]) -> None:
    as_of = days(*range(10))
    (split,) = walk_forward(as_of, as_of + DAY, starts=days(8), test_span=2 * DAY, **room)
    assert (split.train.tolist(), split.test.tolist()) == (train, [8, 9])


def test_rows_whose_target_is_never_known_are_left_out() -> None:
    known_at = np.array([0, NEVER, 0, NEVER, 0], np.int64)
    (split,) = walk_forward(days(0, 1, 2, 3, 4), known_at, starts=days(3), test_span=9 * DAY)
    assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [4])


def test_groups_that_are_tested_can_be_kept_out_of_training() -> None:
    as_of, group = days(0, 1, 2, 3), np.array([0, 1, 0, 2], np.int32)
    (split,) = walk_forward(as_of, as_of, group, starts=days(2), test_span=9 * DAY)
    assert (split.train.tolist(), split.test.tolist()) == ([1], [2, 3])


def test_a_window_without_training_or_test_rows_is_named() -> None:
    with pytest.raises(
        DataError, match="1970-01-10.*0 test rows.*known target are as of 1970-01-01 to 1970-01-03, and none .* than 2 days;"
    ):
        walk_forward(days(0, 2), days(3, 4), starts=days(9), test_span=DAY)
    with pytest.raises(DataError, match="0 training and 0 test rows.*No sample has a known target; choose"):
        walk_forward(days(0), np.array([NEVER]), starts=days(9), test_span=DAY)


def test_a_protocol_of_days_becomes_rows() -> None:
    sequences = build(*monthly_panel())
    protocol = Protocol(kind="walk_forward", test_start="2024-05-01", test_days=31, train_days=62, folds=2)
    first, second = protocol_splits(sequences, protocol)
    ids = [sequences.sample_ids[rows].tolist() for rows in (first.train, first.test, second.test)]
    assert ids[0] == ["c1@2", "c2@2", "c3@2", "c4@2"]  # as_of from March on; the label of month 3, known on 1 May, is purged
    assert ids[1] == [f"c{c}@4" for c in range(1, 5)] and ids[2] == [f"c{c}@5" for c in range(1, 4)]


def test_a_protocol_of_new_groups_trains_on_no_client_that_it_tests() -> None:
    protocol = Protocol(kind="walk_forward", test_start="2024-05-01", test_days=1, folds=1, new_groups=True)
    with pytest.raises(DataError, match="0 training and 4 test rows"):
        protocol_splits(build(*monthly_panel()), protocol)


def test_a_stratified_protocol_needs_one_answer_a_sample() -> None:
    with pytest.raises(DataError, match="target 'digit' has shape"):
        protocol_splits(build(*grid()), Protocol(kind="stratified", folds=2))


def test_a_stratified_protocol_splits_by_the_primary_target() -> None:
    data, task = monthly_panel()
    last = replace(data, samples=data.samples.filter(data.samples["sample_id"].str.ends_with("@4")))
    with pytest.raises(DataError, match="3 of class 0, 1 of class 1"):
        protocol_splits(build(last, task), Protocol(kind="stratified", folds=2))


def test_a_group_is_left_out_from_the_day_on_that_begins_after_its_bad_answer_is_known() -> None:
    as_of = days(0.5, 3, 9, 10.5, 11, 11, 12.25)
    group = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)
    bad = np.array([True, True, False, False, False, True, False])

    def left(since: int) -> list[int]:
        return not_known_bad(np.array([3, 4, 5, 6]), bad, as_of=as_of, known_at=as_of + 8 * DAY, group=group, since=since * DAY).tolist()

    assert left(0) == [4, 5]  # group 0 is known at 8.5; group 1 only as day 11 begins
    assert left(1) == [3, 4, 5, 6]  # what happened at .5 does not count
    later = not_known_bad(np.array([4]), bad, as_of=as_of, known_at=as_of + 8 * DAY - 1, group=group, since=0)
    assert later.tolist() == []


def test_a_protocol_leaves_known_cards_out_and_says_where_none_is_left() -> None:
    prepared, task = card_and_shop()
    sequences = build(prepared, task)
    protocol = Protocol(kind="walk_forward", folds=1, test_start="2024-01-08", test_days=2, delay_days=3)
    whole = protocol_splits(sequences, protocol)[0]
    y, card = sequences.targets.values["fraud"], sequences.group
    start = int(protocol.starts[0])
    for since in (1, 4, 30):
        split = protocol_splits(sequences, replace(protocol, known_from_days=since))[0]
        known = (y == 1) & (sequences.as_of >= start - (since + 3) * DAY)
        expected = [
            row
            for row in whole.test
            if not any(known & (card == card[row]) & (sequences.as_of + 3 * DAY < sequences.as_of[row] // DAY * DAY))
        ]
        assert split.test.tolist() == expected and split.train.tolist() == whole.train.tolist()
    assert len(expected) < len(whole.test)
    alone = replace(sequences, group=np.zeros_like(card))
    with pytest.raises(DataError, match="every group of the 4 test rows is known to be bad by labels from 30 days"):
        protocol_splits(alone, replace(protocol, known_from_days=30))


@pytest.mark.parametrize(
    "days", [{}, {"train_days": 4}, {"delay_days": 4}, {"train_days": 2, "delay_days": 4, "purge_days": 1}, {"embargo_days": 5}]
)
def test_what_would_train_and_what_would_be_tested_alone_are_those_of_the_split(days: dict[str, int]) -> None:
    sequences = build(*card_and_shop())
    protocol = Protocol(kind="walk_forward", folds=2, test_start="2024-01-07", test_days=2, known_from_days=2, **days)  # type: ignore[arg-type]
    splits = protocol_splits(sequences, protocol)
    assert rows_trained(sequences, protocol).tolist() == splits[0].train.tolist()
    assert [rows.tolist() for rows in rows_tested(sequences, protocol)] == [split.test.tolist() for split in splits]


def test_training_needs_nothing_to_test_and_testing_nothing_to_train_on() -> None:
    sequences = build(*card_and_shop())
    late, early = (Protocol(kind="walk_forward", folds=1, test_start=day, test_days=1) for day in ("2030-01-01", "2024-01-01"))
    assert rows_trained(sequences, late).tolist() == list(range(20)) and len(rows_trained(sequences, early)) == 0
    assert rows_tested(sequences, early)[0].tolist() == [0, 1]
    with pytest.raises(
        DataError, match="walk forward from 2030-01-01.*no test row with a known target in 1 days.*as of 2024-01-01 to 2024-01-10"
    ):
        rows_tested(sequences, late)


def test_labels_are_held_back_no_longer_than_features_that_tell_the_same() -> None:
    sequences = build(*card_and_shop())
    protocol = Protocol(kind="walk_forward", folds=1, test_start="2024-01-08", test_days=1, delay_days=3)
    assert label_delay(sequences) == 3 * DAY
    check_delay(sequences, protocol)
    with pytest.raises(
        DataError, match="delay_days: found 4, but labels are known after 3 days in the prepared data, by which histories tell fraud, too"
    ):
        check_delay(sequences, replace(protocol, delay_days=4))
    known_at = {"fraud": np.full(len(sequences), NEVER)}
    check_delay(replace(sequences, targets=replace(sequences.targets, known_at=known_at)), protocol)  # no label says how long it takes
    panel = build(*monthly_panel())  # none of its columns is late
    check_delay(panel, replace(protocol, delay_days=400))


def test_a_window_whose_rows_have_one_answer_is_named() -> None:
    sequences = build(*card_and_shop())
    y = sequences.targets.values["fraud"]
    both = [np.array([0, 1]), np.arange(20)]
    check_answers(sequences, both)
    for answer in (0, 1):
        rows = np.flatnonzero(y == answer)
        with pytest.raises(DataError, match=f"test window 2024-01-.. to 2024-01-..: 'fraud' is {answer} in all of its {len(rows)} rows"):
            check_answers(sequences, [*both, rows])
