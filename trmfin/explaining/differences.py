"""In what a record differs from what is worked out again of its data: everything it says is compared, except its place in the chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trmfin.explaining.reasons import RESIDUAL
from trmfin.explaining.record import OWN, PREVIOUS

WITHIN = {  # what the network's rounding moves, and how far it may: log-odds; of probabilities a quarter, their steepest slope
    **dict.fromkeys([("inference", "logits"), ("reasons", "contribution"), ("mitigating", "contribution")], RESIDUAL),
    **dict.fromkeys([("attribution", name) for name in ("base", "values", "residual", "standard_errors")], RESIDUAL),
    **dict.fromkeys([("attribution", name) for name in ("base_by_step", "values_by_step")], RESIDUAL),
    **dict.fromkeys([("inference", "halts"), ("inference", "score"), ("counterfactual", "score")], RESIDUAL / 4),
}
FIRST = ("inference", "reasons", "mitigating", "needs_human", "checks")  # told first
MOST = 20  # differences that are told of a record
SHORT = 60  # letters of a value that are shown
Path = tuple[str | int, ...]


def differences(record: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, at most MOST and how many more; empty where the record stands. again: a body, as JSON has it.

    Numbers of the network may differ by WITHIN, all else must be equal; no entry may be missing on either side.
    """
    found = list(_differences(_comparable(record), _comparable(again), ()))
    more = [f"and {len(found) - MOST} more differences"] if len(found) > MOST else []
    return (*found[:MOST], *more)


def _comparable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without the chain's hashes; where a text quotes the body's own residual, which is compared as a number, without its digits."""
    names = [name for name in FIRST if name in body] + sorted(body.keys() - {*FIRST, OWN, PREVIOUS})
    quoted = f"by {body['attribution']['residual']:.2g},"
    return {name: body[name] for name in names} | {"needs_human": [text.replace(quoted, "by #,") for text in body["needs_human"]]}


def _differences(old: Any, new: Any, at: Path) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*old, *(name for name in new if name not in old)):
            path = (*at, name)
            if name not in new:
                yield f"{_shown_path(path)} was {_shown(old[name])}, is not there"
            elif name not in old:
                yield f"{_shown_path(path)} was not there, is {_shown(new[name])}"
            else:
                yield from _differences(old[name], new[name], path)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _differences(was, now, (*at, place))
    elif isinstance(old, list) and isinstance(new, list):
        yield f"{_shown_path(at)} had {len(old)} entries, has {len(new)}"
    elif not _same(old, new, WITHIN.get(tuple(name for name in at if isinstance(name, str))[:2])):  # type: ignore[arg-type]
        yield f"{_shown_path(at)} was {_shown(old, new)}, is {_shown(new, old)}"


def _same(old: Any, new: Any, within: float | None) -> bool:
    if within is not None and isinstance(old, float) and isinstance(new, float):
        return abs(old - new) <= within
    return type(old) is type(new) and bool(old == new)


def _shown_path(at: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).removeprefix(".")


def _shown(value: Any, beside: Any = None) -> str:
    """A value in short, floats with as many digits as tell it from the one beside."""
    if isinstance(value, float) and isinstance(beside, float) and f"{value:.6g}" != f"{beside:.6g}":
        return f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"
