"""Histories whose newest events alone are tokens, and fields that sum up a whole window on the leading token."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.sequences.test_sequences import NAN, built, number, same, task
from tests.worlds import at
from trmfin.errors import TaskError
from trmfin.learn.trees import flattened
from trmfin.sequences.batch import summed_events, summed_up
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.task import SUMMARIES, Field, History, Task

SIZE = Field(name="size", column="size", transform="number")
OF_SIZE = tuple(Field(name=f"size_{how}", column="size", transform="number", of="all", summary=how) for how in SUMMARIES)


def history(length: int, newest: int) -> History:
    return History(name="all", keys=("client",), length=length, newest=newest)


def summed(sizes: list[float | None], newest: int = 2, length: int = 4) -> Sequences:
    return built([{"size": size} for size in sizes], [{}], task(SIZE, *OF_SIZE, histories=(history(length, newest),)))


def test_a_summary_is_of_the_whole_window_and_stands_on_the_leading_token() -> None:
    sequences = summed([100.0, 1.0, None, 8.0, 3.0])  # the first lies before the window
    found = {how: number(sequences, f"size_{how}") for how in SUMMARIES}
    assert found["count"][0] == 3 and found["mean"][0] == 4 and found["min"][0] == 1 and found["max"][0] == 8
    assert all(math.isnan(value) for values in found.values() for value in values[1:])


def test_the_events_of_a_summary_are_those_of_the_window_where_its_field_is_present() -> None:
    sequences = summed([100.0, 1.0, None, 8.0, 3.0])
    assert summed_events(sequences, np.array([0]), ["size_mean"]) == [["e1", "e3", "e4"]], "without a token of their own, too"
    assert summed_events(sequences, np.array([0]), ["size"]) == [[]], "an event's own field sums up nothing"


def test_only_the_newest_events_are_tokens() -> None:
    sequences = summed([1.0, 2.0, 3.0])
    batch = sequences.batch([0])
    assert sequences.task.length == 3 and batch.mask.tolist() == [[True, True, True]] and batch.tag.tolist() == [[0, 1, 1]]
    assert same(number(sequences, "size"), [NAN, 2, 3]) and sequences.event_ids([0]).tolist() == [[None, "e1", "e2"]]


def test_what_is_nowhere_present_has_no_summary_but_a_count_of_none() -> None:
    sequences = summed([1.0, None, None], length=2)
    assert number(sequences, "size_count")[0] == 0
    assert all(math.isnan(number(sequences, f"size_{how}")[0]) for how in ("mean", "min", "max"))


def test_the_first_token_still_compares_with_the_event_before_it() -> None:
    step = Field(name="step", column="size", transform="difference", against="previous.size")
    sequences = built([{"size": size} for size in (1.0, 4.0, 9.0)], [{}], task(step, histories=(history(4, 1),)))
    assert same(number(sequences, "step"), [NAN, 5])


def test_a_late_value_is_summed_up_once_it_is_known() -> None:
    fields = (Field(name="bad", column="bad_time", transform="gap_seconds", against="as_of", of="all", summary="count"),)
    event = {"bad_time": at(1), "bad_time_known_at": at(5)}
    samples = [{"sample_id": name, "as_of": as_of} for name, as_of in (("early", at(5)), ("later", at(5, 1)))]
    sequences = built([event], samples, task(*fields))
    assert [number(sequences, "bad", row)[0] for row in (0, 1)] == [0, 1]


def test_two_histories_are_summed_up_each_by_itself() -> None:
    both = (history(3, 1), History(name="shop", keys=("shop",), length=2))
    fields = (SIZE, *(Field(name=f"of_{h.name}", column="size", transform="number", of=h.name, summary="mean") for h in both))
    events = [{"size": 1.0, "shop": "x"}, {"size": 5.0, "shop": "y", "client": "b"}, {"size": 3.0, "shop": "y"}]
    sequences = built(events, [{"shop": "y"}], task(*fields, histories=both))
    assert number(sequences, "of_all")[0] == 2 and number(sequences, "of_shop")[0] == 4
    assert same(number(sequences, "size"), [NAN, 3, 5, 3])


def test_no_digit_of_a_summary_depends_on_which_samples_stand_beside_it() -> None:
    values = np.random.default_rng(0).lognormal(0, 8, (64, 36)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    for how in SUMMARIES:
        alone = np.concatenate([summed_up(how, values[row : row + 1]) for row in range(len(values))])
        assert np.array_equal(alone, summed_up(how, np.asfortranarray(values)), equal_nan=True)


def test_the_windows_of_a_challenger_hold_them() -> None:
    sequences = summed([1.0, 2.0, 3.0])
    aligned = sequences.aligned(Fitted.fit(sequences, np.array([0]), bins=2))
    flat = flattened(aligned, np.array([0]))
    assert flat.columns == ["sample_id", "size_count", "size_mean", "size_min", "size_max", "all.2.size", "all.1.size"]
    assert flat.row(0)[1:] == (3, 2, 1, 3, 2, 3)


def changed(**changes: Any) -> Task:
    return task(replace(OF_SIZE[0], **changes))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: changed(summary="median"), "'median' is unknown; choose one of count, mean, min, max"),
        (lambda: changed(of="event"), "of is 'event' and summary 'count'"),
        (lambda: changed(summary=""), "of is 'all' and summary ''"),
        (lambda: changed(of="other"), "sums up 'other', which is none of its histories \\(all\\)"),
        (lambda: changed(transform="category"), "category gives no number to sum up"),
        (lambda: history(2, 3), "newest is 3 of length 2; expected 0 \\(all\\) to 2"),
        (lambda: replace(history(2, 1), name="sample"), "choose another name"),
    ],
)
def test_what_cannot_be_summed_up_is_refused(make: Any, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        make()


def test_a_task_without_them_has_the_json_and_the_hash_that_it_had() -> None:
    plain, other = task(SIZE), summed([1.0]).task
    text = str(plain.to_json())
    assert "newest" not in text and "summary" not in text
    assert Task.from_json(plain.to_json()) == plain and Task.from_json(other.to_json()) == other and other.sha256 != plain.sha256
