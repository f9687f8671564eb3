"""What the code takes for a record is what the published schema says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.explaining.runs import Made, explained, records_of
from trmfin.explaining.reasons import Checks
from trmfin.explaining.shape import CELL, SHAPE, faults

SCHEMA = Path(__file__).parents[2] / "docs" / "record.schema.json"
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", None: "null"}


def unlike(shape: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Where the two do not name the same parts, of the same types."""
    if isinstance(shape, dict) and ... in shape:
        if isinstance(schema["additionalProperties"], dict):
            yield from unlike(shape[...], schema["additionalProperties"], f"{path}.*")
        elif not all("enum" in each for each in schema["properties"].values()):
            yield path
    elif isinstance(shape, dict):
        needed = {name for name in shape if not name.endswith("?")}
        if {name.rstrip("?") for name in shape} != schema["properties"].keys() or needed != set(schema["required"]):
            yield path
            return
        for name, part in shape.items():
            yield from unlike(part, schema["properties"][name.rstrip("?")], f"{path}.{name}")
    elif isinstance(shape, list):
        yield from unlike(shape[0], schema["items"], f"{path}[]") if schema["type"] == "array" else [path]
    elif types(shape) != found(schema):
        yield path


def types(shape: Any) -> set[str]:
    if shape is CELL:
        return {"string", "number", "boolean", "null"}
    return {"object" if isinstance(each, dict) else TYPES[each] for each in (shape if isinstance(shape, tuple) else (shape,))}


def found(schema: dict[str, Any]) -> set[str]:
    """Names of types; a list of one or more values is of theirs."""
    if "const" in schema or "enum" in schema:
        return {TYPES[type(each)] for each in schema.get("enum", [schema.get("const")])}
    kinds = schema["type"] if "type" in schema else [each["type"] for each in schema["anyOf"]]
    return {kinds} if isinstance(kinds, str) else set(kinds)


def test_the_shape_is_the_published_schemas() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert list(unlike(SHAPE, schema, "")) == []
    assert list(unlike({**SHAPE, "sample_id": int}, schema, "")) == [".sample_id"]
    assert list(unlike({**SHAPE, "more": int}, schema, "")) == [""]


def test_the_published_checks_are_those_that_are_made() -> None:
    checks = json.loads(SCHEMA.read_text())["properties"]["checks"]
    made = Checks(residual=0.0, unmapped=(), unfilled=(), stability=1.0, protected=(), silent=False, unsure=None, average=None)
    assert set(checks["required"]) == set(made.passed)
    assert set(checks["properties"]) == set(replace(made, unsure=(), average=1.0).passed)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made: Made = explained(tmp_path_factory.mktemp("explained"), clients=6)
    return records_of(made.run)[4]


def test_a_record_has_its_shape(record: dict[str, Any]) -> None:
    assert faults(record) == []


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("sample_id", 7, "sample_id is '7', expected a text"),
        ("needs_human", [None], "needs_human[0] is 'None', expected a text"),
        ("counterfactual", 7, "counterfactual is '7', expected an object"),
        ("inference", None, "inference is 'None', expected an object"),
        ("checks", {"residual": True}, "checks.residual is 'True', expected a text"),
        ("schema_version", True, "schema_version is 'True', expected a whole number"),
        ("reasons", "none", "reasons is 'none', expected a list"),
        ("reasons", [{}], "reasons[0].rank is missing"),
        ("schema_version", 2**63, "schema_version is '9223372036854775808', expected a whole number"),
    ],
)
def test_what_has_not_its_shape_is_said(part: str, value: Any, said: str, record: dict[str, Any]) -> None:
    assert faults(record | {part: value})[0] == said
    assert faults({key: each for key, each in record.items() if key != part}) == [f"{part} is missing"]


def test_numbers_that_are_none_have_not_the_shape(record: dict[str, Any]) -> None:
    for value in (float("nan"), float("inf"), 1e301):
        assert faults(record | {"attribution": record["attribution"] | {"base": value}})[0].startswith("attribution.base is ")
