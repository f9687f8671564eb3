"""Tasks: plain data that contradict neither themselves nor the law."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.worlds import WORLDS
from trmfin.errors import TaskError
from trmfin.sequences.explained import Player, Reason
from trmfin.sequences.task import Field, History, Target, Task

TARGET = Target(name="default", head="binary", meaning="does not pay")
FIELD = Field(name="billed", column="billed", transform="number")
AGAINST_SEX = Field(name="r", column="b", transform="ratio", against="sample.sex")
HISTORY = History(name="statements", keys=("client",), length=6)


def task(**changes: Any) -> Task:
    return replace(Task(name="t", histories=(HISTORY,), fields=(FIELD,), targets=(TARGET,), primary="default", group="client"), **changes)


@pytest.mark.parametrize("world", WORLDS)
def test_a_task_survives_json(world: Any) -> None:
    original = world()[1]
    again = Task.from_json(json.loads(json.dumps(original.to_json())))
    assert again == original and again.sha256 == original.sha256


def test_another_task_has_another_hash() -> None:
    assert task().sha256 != task(money=("billed",)).sha256


def test_length_counts_the_leading_token_and_all_histories() -> None:
    assert task(histories=(HISTORY, History(name="shop", keys=("shop",), length=3))).length == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": (FIELD, FIELD)}, "field 'billed' is named twice"),
        ({"relations": ("a", "a")}, "relation 'a' is named twice"),
        ({"primary": "fraud"}, "primary target 'fraud' is not among its targets"),
        ({"halt": "never"}, "halt is 'never'"),
        ({"protected": ("billed",)}, "protected attribute is never a feature"),
        ({"fields": (AGAINST_SEX,), "protected": ("sex",)}, "protected column 'sex'"),
        ({"fields": (Field(name="r", column="target_default", transform="number", of="sample"),)}, "a target is never a feature"),
        ({"targets": (Target(name="default", head="tokens", classes=("a", "b"), meaning="m"),)}, "the core would look ahead"),
        ({"players": (Player(name="bills", fields=("paid",)),)}, "player 'bills' names field 'paid'"),
        ({"reasons": (Reason(code="R1", player="bills", text="t"),)}, "reason 'R1' names player 'bills'"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        task(**changes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Field(name="f", column="c", transform="cube"), "transform 'cube' is unknown"),
        (lambda: Field(name="f", column="c", transform="ratio"), "expected 'sample.' or 'previous.'"),
        (lambda: Field(name="f", column="c", transform="number", against="as_of"), "number against 'as_of'"),
        (lambda: Field(name="f", column="c", transform="ratio", of="sample", against="previous.c"), "no previous event"),
        (lambda: Field(name="f", column="c", transform="number", of="client"), "of is 'client'"),  # type: ignore[arg-type]
        (lambda: History(name="h", keys=(), length=3), "0 key columns"),
        (lambda: History(name="h", keys=("k",), length=0), "length 0"),
        (lambda: Target(name="t", head="rank", meaning="m"), "head 'rank' is unknown"),  # type: ignore[arg-type]
        (lambda: Target(name="t", head="classes", classes=("a",), meaning="m"), "1 classes"),
        (lambda: Target(name="t", head="quantiles", levels=(0.5, 0.1), meaning="m"), "increasing numbers between 0 and 1"),
        (lambda: Target(name="t", head="binary", meaning=""), "no meaning"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        make()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"format": 2}, "format 2 is newer"),
        ({"format": "1"}, "format '1' is newer"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"name": 3}, "name is '3'; expected str"),
        ({"timeless": "no"}, "timeless is 'no'; expected bool"),
        ({"money": [1]}, "expected tuple"),
        ({"fields": "billed"}, "fields is 'billed'; expected a list of objects"),
        ({"histories": [{"name": "h", "keys": ["k"], "length": "6"}]}, "history: length is '6'; expected int"),
        ({"histories": [{"name": "h", "keys": ["k"]}]}, "history: .*missing.*length"),
    ],
)
def test_json_of_another_form_is_refused_by_name(data: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        Task.from_json({**json.loads(json.dumps(task().to_json())), **data})
