"""A policy says what is done with scores; a wrong one is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from trmfin.errors import ConfigError
from trmfin.learn.policy import Costs, Policy, read_policy

MINE = Policy(
    version="2026-04", bands=(("green", 0.2), ("red", 1.0)), cutoff=0.2, costs=Costs(false_negative=9.0), capacity=40, halt_epsilon=0.01
)


def test_a_policy_comes_back_equal_from_json() -> None:
    assert Policy.from_json(json.loads(json.dumps(MINE.to_json()))) == MINE


def test_what_a_file_leaves_out_keeps_its_default() -> None:
    assert Policy.from_json({"cutoff": 0.4}) == Policy(cutoff=0.4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"cutof": 0.4}, "unknown key 'cutof'"),
        ({"cutoff": "high"}, "cutoff is 'high'; expected a number"),
        ({"cutoff": 1.5}, "cutoff is 1.5; it must lie in"),
        ({"cutoff": True}, "cutoff is True; expected a number"),
        ({"bands": []}, "bands end at"),
        ({"bands": {"low": 0.1}}, "bands is {'low': 0.1}; expected list"),
        ({"bands": [{"name": "low"}]}, "a band has the keys"),
        ({"bands": [{"name": "low", "upper": 0.5}]}, "bands end at"),
        ({"bands": [{"name": "a", "upper": 0.5}, {"name": "b", "upper": 0.4}, {"name": "c", "upper": 1}]}, "bands end at"),
        ({"bands": [{"name": "a", "upper": float("nan")}, {"name": "b", "upper": 1}]}, "bands end at"),
        ({"bands": [{"name": "a", "upper": 0.5}, {"name": "a", "upper": 1}]}, "needs a name of its own"),
        ({"bands": [{"name": 3, "upper": 1}]}, "a band's name is 3; expected str"),
        ({"costs": {"false_negative": 0}}, "costs.false_negative is 0.0; it must be above 0"),
        ({"costs": {"fn": 1}}, "costs: unknown key 'fn'"),
        ({"capacity": 0}, "capacity is 0; it must be at least 1"),
        ({"capacity": 1.5}, "capacity is 1.5; expected int"),
        ({"halt_epsilon": -0.1}, "halt_epsilon is -0.1"),
        ({"halt_epsilon": float("inf")}, "halt_epsilon is inf"),
        ({"version": 2}, "version is 2; expected str"),
    ],
)
def test_a_wrong_policy_is_refused_by_name(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="policy") as caught:
        Policy.from_json(data)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("{", "is not JSON"), ("[]", "expected dict"), ('{"cutoff": 2}', "cutoff is 2")]
)
def test_a_file_that_is_no_policy_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert str(path) in str(caught.value) and said in str(caught.value)
