"""What a member does not see: whole groups, dealt evenly, or the latest rows where groups are few and times several."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.learn.tiny import TASK, asking, notes
from trmfin.errors import DataError
from trmfin.learn.holdout import LEAST_FOLDS, dealt_parts, holdouts, latest, untold
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Target

DAY = 86_400_000_000


@pytest.mark.parametrize("months", [1, 4])
def test_groups_are_never_split_between_training_and_held_out_rows(months: int) -> None:
    sequences = build(notes(months=months), TASK)
    for split in holdouts(sequences, np.arange(64 * months), members=8, seed=0):
        assert not set(sequences.group[split.train]) & set(sequences.group[split.test])
        assert sorted((*split.train, *split.test)) == list(range(64 * months))


def test_members_hold_out_different_parts_that_together_are_all_rows() -> None:
    splits = holdouts(build(notes(), TASK), np.arange(64), members=8, seed=0)
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(64))
    ten = holdouts(build(notes(), TASK), np.arange(64), members=10, seed=0)
    assert len(ten) == 10 and sorted(np.concatenate([split.test for split in ten])) == list(range(64))


def test_of_many_months_each_row_is_held_out_by_exactly_one_of_eight_members() -> None:
    splits = holdouts(build(notes(20, months=10), TASK), np.arange(200), members=8, seed=0)
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(200))


def test_of_many_months_every_member_trains_on_the_newest_and_holds_out_some_of_them() -> None:
    sequences = build(notes(20, months=10), TASK)
    newest = np.flatnonzero(sequences.as_of == sequences.as_of.max())
    splits = holdouts(sequences, np.arange(200), members=8, seed=0)
    assert all(np.isin(newest, split.train).any() and np.isin(newest, split.test).any() for split in splits)
    assert sum(np.isin(newest, split.train) for split in splits).tolist() == [7] * 20


def test_a_single_member_holds_out_an_eighth() -> None:
    (split,) = holdouts(build(notes(), TASK), np.arange(64), members=1, seed=0)
    assert LEAST_FOLDS == 8 and len(split.test) == 8


@pytest.mark.parametrize("months", [1, 4])
def test_positives_are_dealt_evenly(months: int) -> None:
    sequences = build(notes(640, months=months), TASK)
    y = sequences.targets.values["bad"]
    shares = [y[split.test].mean() for split in holdouts(sequences, np.arange(640 * months), members=8, seed=3)]
    assert max(shares) - min(shares) < 0.03 and 0.3 < y.mean() < 0.7


def test_parts_depend_on_the_seed_alone() -> None:
    sequences, rows = build(notes(), TASK), np.arange(64)
    one, again, other = (dealt_parts(sequences, rows, 8, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_unlabelled_rows_are_in_no_part() -> None:
    data = notes()
    blank = pl.col("sample_id").is_in(["c3@0", "c8@0"])
    columns = [pl.when(~blank).then(pl.col(name)).alias(name) for name in ("target_bad", "target_bad_known_at")]
    sequences = build(replace(data, samples=data.samples.with_columns(columns)), TASK)
    assert np.flatnonzero(~sequences.known).tolist() == [3, 8]
    for split in holdouts(sequences, np.arange(64), members=2, seed=0):
        assert not {3, 8} & {*split.train, *split.test} and len(split.train) + len(split.test) == 62


def test_too_few_groups_of_one_time_are_refused() -> None:
    with pytest.raises(DataError, match="7 groups among 14 labelled training rows; expected at least 8"):
        holdouts(build(notes(14), TASK), np.arange(14), members=1, seed=0)


def test_of_too_few_groups_over_many_months_the_latest_rows_are_held_out_and_training_ends_before_them() -> None:
    sequences = build(notes(14, months=10), TASK)  # 7 households
    splits = holdouts(sequences, np.arange(140), members=3, seed=0)
    assert len(splits) == 3 and all(split is splits[0] for split in splits)
    train, test = splits[0].train, splits[0].test
    assert len(test) == 28 and sequences.as_of[test].min() > sequences.as_of[train].max()
    labels = sequences.targets.known_at["bad"]
    assert labels[train].max() < sequences.as_of[test].min()
    assert len(train) == 112  # a label takes 20 days, a month has 30


def test_as_many_groups_as_folds_are_enough_and_one_fewer_is_not() -> None:
    sequences, rows = build(notes(20, months=10), TASK), np.arange(200)  # 10 households
    assert [len(split.test) for split in holdouts(sequences, rows, members=10, seed=0)] == [20] * 10
    for split in holdouts(sequences, rows, members=11, seed=0):
        assert np.array_equal(split.test, latest(sequences, rows).test) and np.array_equal(split.train, latest(sequences, rows).train)


def test_groups_without_a_label_do_not_count() -> None:
    data = notes(16, months=10)  # 8 households
    columns = [pl.when(pl.col("household") != "h7").then(pl.col(name)).alias(name) for name in ("target_bad", "target_bad_known_at")]
    sequences = build(replace(data, samples=data.samples.with_columns(columns)), TASK)
    labelled = np.flatnonzero(sequences.known)
    (split,) = holdouts(sequences, np.arange(160), members=1, seed=0)
    assert len(labelled) == 140 and np.array_equal(split.test, latest(sequences, labelled).test)


def test_a_label_that_comes_late_leaves_its_row_out_of_training() -> None:
    data = notes(20, months=10)
    late = data.samples.with_columns(target_bad_known_at=pl.col("as_of") + pl.duration(days=45))
    sequences = build(replace(data, samples=late), TASK)
    split = latest(sequences, np.arange(200))
    assert len(split.test) == 40 and len(split.train) == 140
    assert sequences.targets.known_at["bad"][split.train].max() < sequences.as_of[split.test].min()


def test_a_few_late_samples_among_many_of_one_time_are_the_latest() -> None:
    data = notes(20)
    moved = pl.when(pl.col("sample_id") == "c19@0").then(pl.col("as_of") + pl.duration(days=90)).otherwise(pl.col("as_of"))
    sequences = build(replace(data, samples=data.samples.with_columns(as_of=moved)), TASK)
    split = latest(sequences, np.arange(20))
    assert split.test.tolist() == [19] and len(split.train) == 19


def test_only_the_asked_rows_are_split() -> None:
    sequences, rows = build(notes(20, months=10), TASK), np.arange(0, 200, 2)
    split = latest(sequences, rows)
    assert {*split.train, *split.test} <= set(rows)


def test_any_head_can_be_dealt_out() -> None:
    data = notes()
    names = pl.when(pl.col("target_bad") == 1).then(pl.lit("bad")).otherwise(pl.lit("good")).alias("target_bad")
    task = asking(Target(name="bad", head="classes", meaning="x", classes=("good", "bad")))
    split = holdouts(build(replace(data, samples=data.samples.with_columns(names)), task), np.arange(64), members=1, seed=0)[0]
    assert len(split.test) == 8


def test_later_rows_of_a_held_out_group_would_tell_its_answer_and_are_left_out() -> None:
    sequences = build(notes(4, months=3), TASK)  # clients c0 and c1 are one household, c2 and c3 the other; rows by month
    rows = np.arange(12)
    assert untold(sequences, rows, np.array([4, 8])).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]
    assert untold(sequences, rows, np.array([0])).tolist() == [0, 1, 2, 3, 6, 7, 10, 11]
    assert untold(sequences, rows, rows[:0]).tolist() == rows.tolist()
    one_time = build(notes(16), TASK)
    assert untold(one_time, np.arange(16), np.arange(8)).tolist() == list(range(16))
