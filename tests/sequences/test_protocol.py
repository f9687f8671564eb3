"""A protocol is plain data that cannot contradict itself."""

from typing import Any

import numpy as np
import pytest

from trmfin import ConfigError, Protocol
from trmfin.sequences.splits import walk_forward

DAY = 86_400_000_000  # microseconds
FRAUD: dict[str, Any] = {"kind": "walk_forward", "folds": 1, "test_start": "2018-08-08", "test_days": 7, "train_days": 7, "delay_days": 7}


@pytest.mark.parametrize("protocol", [Protocol(kind="stratified", folds=3, seed=1), Protocol(**FRAUD, embargo_days=1, new_groups=True)])
def test_json_gives_an_equal_protocol_back(protocol: Protocol) -> None:
    assert Protocol.from_json(protocol.to_json()) == protocol


def test_test_windows_follow_one_another() -> None:
    starts = Protocol(**{**FRAUD, "folds": 3}).starts.view("datetime64[us]")
    assert starts.astype("datetime64[D]").astype(str).tolist() == ["2018-08-08", "2018-08-15", "2018-08-22"]
    assert Protocol(kind="stratified").starts.size == 0


def test_training_is_so_many_days_that_end_a_label_delay_before_the_test() -> None:
    protocol = Protocol(**FRAUD)
    days = np.arange(np.datetime64("2018-07-01"), np.datetime64("2018-08-20"))
    as_of = days.astype("datetime64[us]").astype(np.int64)
    (split,) = walk_forward(
        as_of,
        as_of,
        starts=protocol.starts,
        test_span=protocol.test_days * DAY,
        train_span=(protocol.train_days + protocol.delay_days) * DAY,
        delay=protocol.delay_days * DAY,
    )
    assert days[split.train[[0, -1]]].astype(str).tolist() == ["2018-07-25", "2018-07-31"]
    assert days[split.test[[0, -1]]].astype(str).tolist() == ["2018-08-08", "2018-08-14"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "random"}, "protocol, kind: found 'random'; expected 'stratified' or 'walk_forward'"),
        ({}, "protocol: no 'kind'"),
        ({"kind": "stratified", "fold": 5}, "protocol: found key 'fold'; expected kind, folds, "),
        ({"kind": "stratified", "folds": 1}, "protocol, folds: found 1; expected a whole number of at least 2"),
        ({"kind": "stratified", "folds": 2.5}, "protocol, folds: found 2.5"),
        ({"kind": "stratified", "seed": -1}, "protocol, seed: found -1"),
        ({"kind": "stratified", "test_days": 7}, "test_days: found 7 with kind 'stratified'; expected kind 'walk_forward' or no test_days"),
        ({**FRAUD, "across_time": True}, "across_time: found True with kind 'walk_forward'; expected kind 'stratified' or no across_time"),
        ({**FRAUD, "test_days": 0}, "test_days: found 0 with kind 'walk_forward'"),
        ({**FRAUD, "test_start": "8 August"}, "test_start: found '8 August'; expected a day such as '2018-08-08'"),
        ({**FRAUD, "train_days": -1}, "train_days: found -1"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Protocol.from_json(data)
