"""Sequences and batches: columns kept once, gathered per sample, compared in exact types."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.worlds import at, card_and_shop, grid, monthly_panel, order_book, prepared, table
from trmfin.errors import DataError, TaskError
from trmfin.sequences.batch import Batch, summed_up
from trmfin.sequences.columns import FEW, as_codes, distinct
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task

EVENT = {"event_time": at(1), "known_at": at(1), "event_type": "x", "client": "a"}
SAMPLE = {"sample_id": "s", "as_of": at(10), "client": "a"}


def task(*fields: Field, length: int = 3, **changes: Any) -> Task:
    target = Target(name="default", head="binary", meaning="does not pay")
    history = History(name="all", keys=("client",), length=length)
    told = {"name": "t", "histories": (history,), "targets": (target,), "primary": "default", "group": "client", **changes}
    return Task(fields=fields, **told)


def built(events: list[dict[str, Any]], samples: list[dict[str, Any]], asked: Task) -> Sequences:
    named = [{"event_id": f"e{i}", **EVENT, **event} for i, event in enumerate(events)]
    return build(prepared(table(named), table([{**SAMPLE, **sample} for sample in samples])), asked)


def number(sequences: Sequences, field: str, row: int = 0) -> list[float]:
    """One number field of one sample, token by token."""
    axis = [f.name for f in sequences.task.numbers].index(field)
    return [float(v) for v in sequences.batch([row]).numbers[0, :, axis]]


def category(sequences: Sequences, field: str, row: int = 0) -> list[str | None]:
    """One category field of one sample in words; None = absent."""
    axis = [f.name for f in sequences.task.codes].index(field)
    names = (None, "unknown", *sequences.categories[field])
    return [names[code] for code in sequences.batch([row]).codes[0, :, axis]]


def same(found: list[float], expected: list[float]) -> bool:
    return np.array_equal(np.array(found, np.float32), np.array(expected, np.float32), equal_nan=True)


NAN = math.nan


def test_the_leading_token_holds_the_samples_own_columns_and_the_others_the_events() -> None:
    fields = (Field(name="own", column="limit", transform="number", of="sample"), Field(name="size", column="size", transform="number"))
    sequences = built([{"size": 1.5}, {"size": 2.5}], [{"limit": 7.0}], task(*fields))
    assert same(number(sequences, "own"), [7, NAN, NAN, NAN])
    assert same(number(sequences, "size"), [NAN, NAN, 1.5, 2.5])
    assert sequences.batch([0]).mask.tolist() == [[True, False, True, True]]
    assert sequences.batch([0]).tag.tolist() == [[0, 1, 1, 1]]
    assert sequences.event_ids([0]).tolist() == [[None, None, "e0", "e1"]]


def test_the_previous_event_is_absent_at_the_first_token_of_a_window() -> None:
    fields = (Field(name="step", column="size", transform="difference", against="previous.size"),)
    sequences = built([{"size": float(s)} for s in (1, 4, 9, 16)], [{}], task(*fields, length=2))
    assert same(number(sequences, "step"), [NAN, NAN, 7])


def test_the_previous_event_is_never_one_of_another_history() -> None:
    sequences = build(*card_and_shop())
    row = sequences.sample_ids.tolist().index("p17")
    steps = number(sequences, "amount_step", row)
    assert sequences.batch([row]).mask[0].all()
    assert [place for place, step in enumerate(steps) if math.isnan(step)] == [0, 1, 5]


def test_a_gap_counts_to_as_of_or_from_the_previous_event() -> None:
    fields = (
        Field(name="age", column="event_time", transform="gap_seconds", against="as_of"),
        Field(name="pause", column="event_time", transform="gap_seconds", against="previous"),
    )
    sequences = built([{"event_time": at(1)}, {"event_time": at(1, 5)}], [{"as_of": at(1, 9)}], task(*fields))
    assert same(number(sequences, "age"), [NAN, NAN, math.log1p(9), math.log1p(4)])
    assert same(number(sequences, "pause"), [NAN, NAN, NAN, math.log1p(5)])


def test_event_time_is_a_feature_and_never_the_cut() -> None:
    fields = (Field(name="age", column="event_time", transform="gap_seconds", against="as_of"),)
    late, early = {"event_time": at(30), "known_at": at(2)}, {"event_time": at(1), "known_at": at(11)}
    sequences = built([late, early], [{}], task(*fields))
    assert sequences.event_ids([0]).tolist() == [[None, None, None, "e0"]]
    assert number(sequences, "age")[-1] < 0


def test_money_is_compared_in_cents_before_the_cast() -> None:
    fields = (
        Field(name="less", column="paid", transform="difference", against="sample.limit"),
        Field(name="equal", column="paid", transform="same", against="sample.limit"),
    )
    large = 16_777_216_00
    sequences = built([{"paid": large + 1}, {"paid": large}], [{"limit": large}], task(*fields, money=("paid", "limit")))
    assert same(number(sequences, "less"), [NAN, NAN, 0.01, 0])
    assert category(sequences, "equal") == [None, None, "different", "same"]


def test_text_of_events_and_samples_is_compared_by_value() -> None:
    fields = (Field(name="home", column="country", transform="same", against="sample.residence"),)
    events = [{"country": "de"}, {"country": None}, {"country": "at"}]
    sequences = built(events, [{"residence": "at"}, {"sample_id": "t", "residence": "xx"}], task(*fields))
    assert category(sequences, "home") == [None, "different", None, "same"]
    assert category(sequences, "home", row=1) == [None, "different", None, "different"]


def test_a_late_value_is_absent_until_the_instant_after_it_became_known() -> None:
    fields = (Field(name="verdict", column="verdict", transform="category"), Field(name="paid", column="paid", transform="number"))
    known = {"verdict": "fraud", "verdict_known_at": at(5), "paid": 3.0, "paid_known_at": at(6)}
    sequences = built([known], [{"sample_id": str(day), "as_of": at(day)} for day in (5, 6, 7)], task(*fields, length=1))
    assert [category(sequences, "verdict", row)[1] for row in range(3)] == [None, "fraud", "fraud"]
    assert same([number(sequences, "paid", row)[1] for row in range(3)], [NAN, NAN, 3])


def test_a_late_value_without_a_time_is_never_known() -> None:
    fields = (Field(name="paid", column="paid", transform="number"),)
    sequences = built([{"paid": 1.0, "paid_known_at": at(2)}, {"paid": None, "paid_known_at": None}], [{}], task(*fields))
    assert same(number(sequences, "paid"), [NAN, NAN, 1, NAN])


def test_a_late_value_of_the_previous_event_is_masked_in_comparisons_too() -> None:
    fields = (Field(name="share", column="amount", transform="ratio", against="previous.paid"),)
    events = [{"amount": 1.0, "paid": 2.0, "paid_known_at": at(day)} for day in (2, 20, 2)]
    sequences = built(events, [{}, {"sample_id": "t", "as_of": at(21)}], task(*fields))
    assert same(number(sequences, "share"), [NAN, NAN, 0.5, NAN])
    assert same(number(sequences, "share", row=1), [NAN, NAN, 0.5, 0.5])


def test_a_samples_own_late_value_obeys_its_as_of() -> None:
    fields = (Field(name="rating", column="rating", transform="category", of="sample"),)
    samples = [{"sample_id": str(day), "rating": "good", "rating_known_at": at(day)} for day in (9, 10)]
    sequences = built([{}], samples, task(*fields))
    assert [category(sequences, "rating", row)[0] for row in (0, 1)] == ["good", None]


def test_relative_fields_of_the_sample_are_worked_out_once() -> None:
    fields = (
        Field(name="share", column="billed", transform="ratio", of="sample", against="sample.limit"),
        Field(name="age", column="opened", transform="gap_seconds", of="sample", against="as_of"),
        Field(name="level", column="billed", transform="same", of="sample", against="sample.limit"),
    )
    sequences = built([{}], [{"billed": 5, "limit": 10, "opened": at(10) - timedelta(seconds=3)}], task(*fields, money=("billed", "limit")))
    assert number(sequences, "share")[0] == 0.5 and same(number(sequences, "age")[:1], [math.log1p(3)])
    assert category(sequences, "level")[0] == "different"


def test_an_epoch_in_the_key_keeps_a_window_from_crossing_a_gap() -> None:
    sequences = build(*order_book())
    row = sequences.sample_ids.tolist().index("b11")
    assert [i for i in sequences.event_ids([row])[0] if i] == ["b10", "b11"]


def test_dates_booleans_and_integers_are_read_as_what_they_are() -> None:
    day = pl.DataFrame({"due": [at(3)]}).with_columns(pl.col("due").dt.date())["due"][0]
    fields = (
        Field(name="weekday", column="due", transform="day_of_week"),
        Field(name="month", column="due", transform="month_of_year"),
        Field(name="open", column="open", transform="category"),
        Field(name="flag", column="open", transform="number"),
        Field(name="status", column="status", transform="category"),
    )
    sequences = built([{"due": day, "open": True, "status": -2}], [{}], task(*fields, length=1))
    assert [category(sequences, name)[1] for name in ("weekday", "month", "open", "status")] == ["3", "1", "true", "-2"]
    assert number(sequences, "flag")[1] == 1


def test_without_any_event_a_batch_is_the_leading_tokens_alone() -> None:
    data, own = monthly_panel()
    sequences = build(replace(data, events=data.events.clear()), own)
    batch = sequences.batch(np.arange(len(sequences)))
    assert batch.mask.sum() == len(sequences) and np.isnan(batch.numbers[:, 1:]).all() and not batch.codes[:, 1:].any()


def test_a_task_without_histories_or_number_fields_has_batches() -> None:
    data, own = grid()
    alone = replace(own, histories=(), targets=(Target(name="x", head="binary", meaning="m"),), primary="x", timeless=False)
    batch = build(data, alone).batch([1, 0])
    assert batch.numbers.shape == (2, 1, 0) and batch.codes.shape == (2, 1, 4) and batch.mask.all()


def test_a_batch_may_be_written_to_without_touching_the_columns() -> None:
    sequences = build(*monthly_panel())
    before = sequences.batch([0, 1])
    for array in (before.numbers, before.codes, before.tag, before.mask, before.targets["default"]):
        array[...] = 1
    after = sequences.batch([0, 1])
    assert not (after.numbers == 1).all() and not after.mask.all() and after.tag[0, 0] == 0


@pytest.mark.parametrize("rows", [[-1], [20], [[0]]])
def test_rows_that_do_not_exist_are_refused(rows: Any) -> None:
    with pytest.raises(DataError, match="expected .B,. numbers from 0 to 19"):
        build(*monthly_panel()).batch(rows)


def test_groups_are_codes_of_the_group_column() -> None:
    sequences = build(*monthly_panel())
    assert sequences.group.tolist() == [client for client in range(4) for _ in range(5)]


@pytest.mark.parametrize(
    ("values", "codes"), [([100, 9, 10, 9], [2, 0, 1, 0]), ([0.0, 1.0, -0.0, -1.5], [1, 2, 1, 0]), (["b", "a", "B", "a"], [2, 1, 0, 1])]
)
def test_groups_are_in_the_order_of_their_values(values: list[Any], codes: list[int]) -> None:
    sequences = built([{}], [{"sample_id": str(place), "unit": value} for place, value in enumerate(values)], task(group="unit"))
    assert sequences.group.tolist() == codes and sequences.group.dtype == np.int32


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 50])
def test_few_texts_are_put_in_order_and_looked_up_as_many_are(count: int) -> None:
    texts = [None if place % 7 == 2 else f"{'zZé𝄞ﬀ'[place % 5]}{place % 11 or ''}" for place in range(count)]
    found = distinct(pl.Series("name", texts, pl.String))
    assert found.to_list() == sorted({text for text in texts if text is not None}) and found.name == "name" and found.dtype == pl.String
    codes = as_codes(pl.Series(texts, dtype=pl.String), found[1:])
    assert codes.to_list() == [found.to_list().index(text) - 1 if text in found[1:].to_list() else None for text in texts]


def test_fields_that_share_a_column_have_the_same_cells_and_the_first_of_them_is_named_where_it_is_missing() -> None:
    fields = (
        Field(name="paid", column="size", transform="signed_log"),
        Field(name="most", column="size", transform="signed_log", of="all", summary="max"),
        Field(name="size", column="size", transform="number"),
    )
    found = built([{"size": 3.0}, {"size": 7.0}], [{}], task(*fields))
    assert same(number(found, "paid"), [NAN, NAN, np.log1p(3), np.log1p(7)]) and same(number(found, "size"), [NAN, NAN, 3, 7])
    assert same(number(found, "most"), [np.log1p(7), NAN, NAN, NAN]) and found.events.numbers.shape == (3, 2)
    with pytest.raises(TaskError, match="no column 'size', which field 'paid' reads"):
        built([{}], [{}], task(*fields))


@pytest.mark.parametrize("summary", ["min", "max"])
@pytest.mark.parametrize("values", [[0.0, -0.0], [-0.0, 0.0], [-0.0]])
def test_a_zero_has_no_sign_in_whatever_order_it_comes(summary: str, values: list[float]) -> None:
    found = summed_up(summary, np.array([[NAN, *values]], np.float32))
    assert found.tolist() == [0] and not np.signbit(found).any()


def test_late_columns_that_become_known_together_are_hidden_until_then_and_others_by_their_own_time() -> None:
    names = ("one", "two", "other")
    asked = task(*(Field(name=name, column=name, transform="number") for name in names))
    known = {"one_known_at": at(5), "two_known_at": at(5), "other_known_at": at(8)}
    found = built([{**dict.fromkeys(names, 1.0), **known}], [{"sample_id": str(day), "as_of": at(day)} for day in (4, 6, 9)], asked)
    assert found.events.late["one"] == found.events.late["two"] != found.events.late["other"]
    seen = [[number(found, name, row)[-1] for name in names] for row in range(3)]
    assert np.array_equal(seen, [[NAN, NAN, NAN], [1, 1, NAN], [1, 1, 1]], equal_nan=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((Field(name="f", column="sise", transform="number"),), "events: no column 'sise', which field 'f' reads; found .*size"),
        ((Field(name="f", column="name", transform="number"),), "events, column name: String; field 'f' .number. reads money or number"),
        ((Field(name="f", column="size", transform="hour_of_day"),), "events, column size: Float64; field 'f' .* reads time"),
        ((Field(name="f", column="size", transform="ratio", against="sample.client"),), "samples, column client: String; field 'f'"),
        ((Field(name="f", column="size", transform="same", against="sample.client"),), "compares number 'size' with text 'client'"),
        ((Field(name="f", column="cents", transform="ratio", against="previous.size"),), "compares money 'cents' with number 'size'"),
    ],
)
def test_a_field_that_does_not_fit_the_data_is_named(fields: tuple[Field, ...], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        built([{"size": 1.0, "name": "x", "cents": 5}], [{}], task(*fields, money=("cents",)))


def test_money_must_be_whole_minor_units() -> None:
    with pytest.raises(TaskError, match="column size: Float64 money; .* money as integers"):
        built([{"size": 1.5}], [{}], task(Field(name="f", column="size", transform="number"), money=("size",)))


@pytest.mark.parametrize(("value", "money"), [(1e39, ()), (2**62 + 1, ("size",))])
def test_a_value_beyond_what_is_exact_or_float32_is_refused(value: float, money: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="events, column size: 1 of 2 values are infinite or beyond .* row 1"):
        built([{"size": type(value)(1)}, {"size": value}], [{}], task(Field(name="f", column="size", transform="number"), money=money))


def test_the_group_must_be_a_column_without_nulls() -> None:
    with pytest.raises(TaskError, match="no column 'region', the group"):
        built([{}], [{}], task(group="region"))
    with pytest.raises(DataError, match="column region: 1 of 2 are null"):
        built([{}], [{"region": "n"}, {"sample_id": "t", "region": None}], task(group="region"))


def test_aligned_codes_are_the_vocabularys_and_what_training_did_not_see_is_unknown() -> None:
    fields = (
        Field(name="kind", column="kind", transform="category"),
        Field(name="again", column="kind", transform="same", against="previous.kind"),
    )
    sequences = built([{"kind": k} for k in ("b", "a", None, "c", "c")], [{"as_of": at(10)}], task(*fields, length=5))
    fitted = Fitted(edges={}, vocabulary={"kind": ("c", "b"), "again": ("same",)}, fit_until="", task_sha256=sequences.task.sha256)
    assert sequences.aligned(fitted).batch([0]).codes[0].T.tolist() == [[0, 3, 1, 0, 2, 2], [0, 0, 1, 0, 0, 2]]
    assert sequences.batch([0]).codes[0].T.tolist() == [[0, 3, 2, 0, 4, 4], [0, 0, 2, 0, 0, 3]]


def test_alignment_belongs_to_one_task_and_one_vocabulary() -> None:
    sequences = build(*monthly_panel())
    fitted = Fitted.fit(sequences, np.arange(20), bins=4)
    aligned = sequences.aligned(fitted)
    assert aligned.aligned(fitted) is aligned
    with pytest.raises(TaskError, match="fitted belongs to"):
        sequences.aligned(replace(fitted, task_sha256="0" * 64))
    with pytest.raises(TaskError, match="aligned to another vocabulary"):
        aligned.aligned(replace(fitted, vocabulary={**fitted.vocabulary, "status": ("0",)}))
    with pytest.raises(TaskError, match="not aligned to the given vocabulary"):
        sequences.batch([0], fitted)
    assert isinstance(aligned.batch([0], fitted), Batch)
