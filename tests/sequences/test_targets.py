"""Targets: names become places, and what is not known stays unknown."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.worlds import document_chain
from trmfin.errors import DataError
from trmfin.sequences.sequences import build
from trmfin.sequences.targets import IGNORE, Targets, read_targets
from trmfin.sequences.task import Target, Task
from trmfin.sequences.transforms import DAY, NEVER

KNOWN = pl.Series([DAY, 2 * DAY, 3 * DAY]).cast(pl.Datetime("us", "UTC"))
EVENT_IDS = pl.Series(["a", "b", "c"])
TOKENS = np.array([[3, 0, 1], [3, 3, 2], [3, 3, 3]])  # three samples: events a and b, event c, none
LEVELS = ("low", "middle", "high")


def read(target: Target, values: Any) -> Targets:
    task = Task(name="t", histories=(), fields=(), targets=(target,), primary="y", group="g", timeless=True)
    samples = pl.DataFrame({"sample_id": ["1", "2", "3"], "target_y": values, "target_y_known_at": KNOWN})
    return read_targets(samples, task, TOKENS, EVENT_IDS)


def make(head: Any, **parts: Any) -> Target:
    return Target(name="y", head=head, meaning="m", **parts)


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        (make("binary"), [1.0, 0.25, None], [1, 0.25, np.nan]),
        (make("binary"), [True, None, False], [1, np.nan, 0]),
        (make("classes", classes=LEVELS), ["high", "low", None], [2, 0, np.nan]),
        (make("classes", classes=("1", "2", "3")), [3, 1, None], [2, 0, np.nan]),
        (make("ordinal", classes=LEVELS), ["middle", None, "low"], [1, np.nan, 0]),
        (make("quantiles", levels=(0.1, 0.9)), [-3, None, 7], [-3, np.nan, 7]),
        (make("classes", classes=("a", "b")), [[0.25, 0.75], None, [1.0, 0.0]], [[0.25, 0.75], [np.nan, np.nan], [1, 0]]),
        (make("tokens", classes=("no", "yes")), [["yes", None], ["no"], []], [[IGNORE, 1, IGNORE], [IGNORE, IGNORE, 0], [IGNORE] * 3]),
        (make("tokens", classes=("no", "yes")), [None, ["yes"], None], [[IGNORE] * 3, [IGNORE, IGNORE, 1], [IGNORE] * 3]),
        (make("choice"), [["b", ""], [None], []], [[IGNORE, 2, 0], [IGNORE] * 3, [IGNORE] * 3]),
    ],
)
def test_answers_become_numbers(target: Target, given: list[Any], expected: Any) -> None:
    found = read(target, given)
    np.testing.assert_array_equal(found.values["y"], np.array(expected, np.float32))
    answered = [value is not None for value in given]
    assert (found.known_at["y"] != NEVER).tolist() == answered


def test_no_target_column_means_that_nothing_is_known() -> None:
    samples = pl.DataFrame({"sample_id": ["1", "2", "3"]})
    targets = (make("binary"), Target(name="z", head="tokens", classes=("no", "yes"), meaning="m"))
    task = Task(name="t", histories=(), fields=(), targets=targets, primary="y", group="g", timeless=True)
    found = read_targets(samples, task, TOKENS, EVENT_IDS)
    assert np.isnan(found.values["y"]).all() and (found.values["z"] == IGNORE).all() and found.values["z"].shape == (3, 3)
    assert (found.known_at["y"] == NEVER).all()


@pytest.mark.parametrize(
    ("target", "given", "words"),
    [
        (make("binary"), [2.0, 0.0, 1.0], r"1 answers lie outside \[0, 1\]"),
        (make("binary"), ["yes", "no", "no"], "String; a binary target is a number"),
        (make("classes", classes=LEVELS), ["high", "hihg", None], "no class of target 'y' .*'hihg'.*expected low, middle, high"),
        (make("classes", classes=LEVELS), [0, 1, 2], "no class of target 'y' .*first: 0"),
        (make("ordinal", classes=LEVELS), [0.5, 1.0, 2.0], "Float64; expected names among low"),
        (make("classes", classes=("a", "b")), [[0.5, 0.6], None, None], "not 2 shares that sum to 1"),
        (make("classes", classes=("a", "b")), [[1.0], None, None], "not 2 shares"),
        (make("tokens", classes=("no", "yes")), ["yes", "no", "no"], "a tokens target is a list"),
        (make("tokens", classes=("no", "yes")), [["yes"], ["no"], []], "1 lists do not have one answer .*row 0, 1 answers for 2 events"),
        (make("choice"), [["c", "a"], [""], []], "1 chosen events are not in their sample .*'c'"),
    ],
)
def test_an_answer_of_another_form_is_refused(target: Target, given: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=f"samples, column target_y: .*{words}"):
        read(target, given)


def test_answers_per_token_stand_at_their_documents() -> None:
    sequences = build(*document_chain())
    values, ids = sequences.batch([2]).targets, sequences.event_ids([2])[0].tolist()
    assert dict(zip(ids, values["cell"][0].tolist(), strict=True))["2.i1"] == 1
    assert values["settles"][0][ids.index("2.pay")] == ids.index("2.i0")
    assert values["settles"][0][ids.index("2.receipt")] == 0 and values["settles"][0][ids.index("2.order")] == IGNORE
