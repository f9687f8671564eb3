"""The shape of a record: which parts it has, of which kinds. What has it can be printed and worked out again, whatever it says.

`docs/record.schema.json` says the same to others, and what values mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from trmfin.explaining.case import MOMENT

LARGEST = 1e300  # of any number, so that a bar or a mean of it is a number too
LARGEST_WHOLE = 2**63 - 1
CELL = object()  # a text, a number, yes or no, or nothing
ROW = {...: CELL}
REASON = {"rank": int, "code": str, "player": str, "text": str, "contribution": float, "event_ids": [str]}
COMPARED = {"group": str, "form": str, "rows": int, "sha256": str, "alike": (None, float)}
CHANGE = {"column": str, "event_id": (None, str), "before": CELL, "after": CELL}
# A dict: exactly these entries, "name?" may be missing, and under ... any names; a list: any number of its item; a tuple: one of them;
# float: any number.
SHAPE: dict[Any, Any] = {
    "schema_version": int,
    "record_id": str,
    "application": str,
    "sample_id": str,
    "subject": str,
    "as_of": str,
    "data": {
        "inputs": {...: str},
        "task_sha256": str,
        "money": [str],
        "case": {"types": {...: {...: str}}, "sample": ROW, "events": [ROW], "links?": [ROW]},
    },
    "model": {"name": str, "bundle_sha256": str, "dtype": str, "threads": int, "trmfin": str, "torch": str},
    "inference": {
        **{"logits": [float], "halts": [float], "step": int, "score": float, "band": str},
        **{"cutoff": float, "policy_version": str, "decision": str, "decided_by": str},
    },
    "attribution": {
        **{"method": str, "view": str, "comparison": COMPARED},
        **{"base": float, "values": {...: float}, "base_by_step": [float], "values_by_step": {...: [float]}},
        **{"standard_errors": (None, {...: float}), "residual": float, "evaluations": int, "seed": (int, str)},
    },
    "reasons": [REASON],
    "mitigating": [REASON],
    "counterfactual": (None, {"found": bool, "score": float, "size": float, "changes": [CHANGE]}),
    "stability": {"jaccard": float, "noise": float, "agreement?": float, "groups?": {...: float}},
    "checks": {...: str},
    "needs_human": [str],
    "prev_sha256": str,
    "sha256": str,
}
NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", None: "null", CELL: "a single value"}


def faults(record: Mapping[str, Any]) -> list[str]:
    """In words, where a record has not the shape of one; empty where it has."""
    return list(_faults(record, SHAPE, "")) or list(_contradictions(record))


def _faults(value: Any, shape: Any, path: str) -> Iterator[str]:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield _is(path, value, "an object")
        elif ... in shape:
            yield from _faults_of_items(value.items(), shape[...], (f"{path}.", ""))
        else:
            yield from _faults_of_parts(value, shape, f"{path}." if path else "")
    elif isinstance(shape, list):
        if isinstance(value, list):
            yield from _faults_of_items(enumerate(value), shape[0], (f"{path}[", "]"))
        else:
            yield _is(path, value, "a list")
    elif isinstance(shape, tuple):
        tried = [list(_faults(value, each, path)) for each in shape]
        if all(tried):
            yield from tried[-1]
    elif not _fits(value, shape):
        yield _is(path, value, NAMES[shape])


def _faults_of_items(items: Iterable[tuple[Any, Any]], shape: Any, around: tuple[str, str]) -> Iterator[str]:
    plain = not isinstance(shape, dict | list | tuple)
    for name, item in items:
        if not (plain and _fits(item, shape)):
            yield from _faults(item, shape, f"{around[0]}{name}{around[1]}")


def _faults_of_parts(value: dict[str, Any], shape: Mapping[Any, Any], before: str) -> Iterator[str]:
    kinds = {name.rstrip("?"): kind for name, kind in shape.items()}
    yield from (f"{before}{name} is missing" for name in shape if not name.endswith("?") and name not in value)
    yield from (f"{before}{name} is no part of a record" for name in value if name not in kinds)
    for name, part in value.items():
        if name in kinds:
            yield from _faults(part, kinds[name], f"{before}{name}")


def _fits(value: Any, kind: Any) -> bool:
    found = type(value)
    if found is int or found is float:
        return (kind is float or kind is found or kind is CELL) and abs(value) <= (LARGEST if found is float else LARGEST_WHOLE)
    return value is None if kind is None else found is kind or (kind is CELL and (value is None or found in (str, bool)))


def _is(path: str, value: Any, expected: str) -> str:
    return f"{path} is {str(value)[:40]!r}, expected {expected}"


def _contradictions(record: Mapping[str, Any]) -> Iterator[str]:
    """Where parts that have their shape do not go together."""
    told, found = record["inference"], record["attribution"]
    steps = {"inference.logits": told["logits"], "inference.halts": told["halts"], "attribution.base_by_step": found["base_by_step"]}
    steps |= {f"attribution.values_by_step.{name}": values for name, values in found["values_by_step"].items()}
    if told["step"] < 1:
        yield f"inference.step is {told['step']}, expected at least 1"
    yield from (
        f"{name} has {len(each)} entries, inference.step is {told['step']}" for name, each in steps.items() if len(each) != told["step"]
    )
    if not found["values"]:
        yield "attribution.values is empty"
    for name in ("values_by_step", "standard_errors"):
        if found[name] is not None and found[name].keys() != found["values"].keys():
            yield f"attribution.{name} is of {', '.join(found[name]) or 'nobody'}, attribution.values of {', '.join(found['values'])}"
    try:
        datetime.strptime(record["as_of"], MOMENT)
    except ValueError:
        yield f"as_of is {record['as_of'][:40]!r}, expected a time such as 2024-05-01T00:00:00.000000Z"
    yield from _amounts(record)


def _amounts(record: Mapping[str, Any]) -> Iterator[str]:
    """Money that is no number."""
    case, money, changes = record["data"]["case"], record["data"]["money"], (record["counterfactual"] or {}).get("changes", [])
    cells = [("data.case.sample", name, case["sample"].get(name)) for name in money]
    cells += [(f"data.case.events[{place}]", name, row.get(name)) for place, row in enumerate(case["events"]) for name in money]
    cells += [
        (f"counterfactual.changes[{place}]", when, change[when])
        for place, change in enumerate(changes)
        for when in ("before", "after")
        if change["column"] in money
    ]
    yield from (f"{at}.{name} is {str(value)[:40]!r}, expected a number" for at, name, value in cells if isinstance(value, str | bool))
