"""Counterfactuals: the smallest change of what could have been otherwise that moves a score across the cut-off.

Values are tried between the lowest and the highest bin edge of training: edges to three digits, or every whole number of a short
range, or the categories that training had. Raw columns are changed and the case is encoded and scored again, so that ratios and gaps
follow; other columns stay as they are, so that the case need be no possible one. A change is as large as the share of these values
that it passes over; one category for another passes over one. "None within these bounds" is an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.prepared import Prepared
from trmfin.explaining.case import Case, build_copies, plain
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.sequences.explained import Change
from trmfin.sequences.task import PLAIN, Field
from trmfin.sequences.transforms import MINOR_UNITS

MOST = 4  # cells that are changed
TOGETHER = 512  # changed cases scored at once
MOST_VALUES = 16  # of a column that are tried
DIGITS = 3  # to which they are rounded, so that they can be told
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """One cell that is otherwise."""

    column: str
    event_id: str | None  # None: the sample's own column
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """What would have been on the other side of the cut-off; no changes where nothing was found."""

    changes: tuple[Changed, ...]
    score: float  # with the changes; without any where nothing was found
    size: float  # sum over cells of the share of the values tried that lie between before and after

    def to_json(self) -> dict[str, Any]:
        cells = [{"column": c.column, "event_id": c.event_id, "before": plain(c.before), "after": plain(c.after)} for c in self.changes]
        return {"found": bool(cells), "changes": cells, "score": self.score, "size": self.size}


@dataclass(frozen=True)
class _Cell:
    """A place that may change: a row of a table and one of its changeable columns."""

    change: Change
    row: int
    values: tuple[Any, ...]  # to try, rising
    before: Any


Plan = dict[_Cell, Any]  # cell → its new value


def counterfactual(bundle: Bundle, case: Case, steps: int | None = None) -> Counterfactual:
    """The smallest change found for a case: greedily one cell more at a time, then without those that were not needed.

    The search is not exhaustive: a smaller change of several cells at once may exist.
    """
    cells, cutoff = list(_cells(bundle, case)), bundle.policy.cutoff
    start = float(_scores(bundle, case, [{}], steps)[0])
    down = start >= cutoff
    plan: Plan = {}
    for _ in range(MOST):
        tried = [plan | {cell: value} for cell in cells if cell not in plan for value in _tried(cell)]
        if not tried:
            break
        found = _scores(bundle, case, tried, steps)
        over = np.flatnonzero((found >= cutoff) != down)
        if over.size:
            plan = min((tried[place] for place in over), key=_size)
            return _told(case, *_pruned(bundle, case, plan, steps, down))
        gain = (start - found if down else found - start) / np.array([_size(each) for each in tried])
        if not gain.max(initial=0.0) > 0:
            break
        plan = tried[int(gain.argmax())]
    return Counterfactual(changes=(), score=start, size=0.0)


def values_of(bundle: Bundle, change: Change, dtype: pl.DataType) -> tuple[Any, ...]:
    """Values of a column to try, rising, in its own units: within training's and the change's bounds, or a vocabulary."""
    task = bundle.task
    readers = [f for f in task.fields if f.column == change.column and f.of == change.of and f.transform in PLAIN]
    field = min(readers, key=lambda f: PLAIN.index(f.transform))
    if field.transform == "category":
        return bundle.fitted.vocabulary[field.name] if dtype == pl.String else ()
    edges = _in_units(field, np.array(bundle.fitted.edges[field.name], np.float64), change.column in task.money)
    distinct = _whole_numbers(edges) if dtype.is_integer() and change.column not in task.money else _rounded(edges)
    distinct = distinct[(distinct >= (-np.inf if change.least is None else change.least))]
    distinct = distinct[(distinct <= (np.inf if change.most is None else change.most))]
    if len(distinct) > MOST_VALUES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, MOST_VALUES).round().astype(np.int64)]
    return tuple(int(value) if dtype.is_integer() else float(value) for value in distinct)


def _in_units(field: Field, edges: Float, money: bool) -> Float:
    """Edges of a field in its column's own units; money in minor ones."""
    plain_edges = np.sign(edges) * np.expm1(np.abs(edges)) if field.transform == "signed_log" else edges
    return plain_edges * MINOR_UNITS if money else plain_edges


def _whole_numbers(edges: Float) -> Float:
    """All from the lowest to the highest, or where these are many those next to edges."""
    if not edges.size or edges.max() - edges.min() >= MOST_VALUES:
        return np.unique(edges.round())
    return np.arange(edges.min().round(), edges.max().round() + 1)


def _rounded(edges: Float) -> Float:
    """To DIGITS digits, none below the lowest or above the highest."""
    near = np.array([float(f"{edge:.{DIGITS}g}") for edge in edges])
    return np.unique(near.clip(edges.min(), edges.max())) if edges.size else near


def _cells(bundle: Bundle, case: Case) -> Iterator[_Cell]:
    for change in bundle.task.changes:
        table = case.sample if change.of == "sample" else case.events
        if change.column not in table.columns:
            continue
        values = values_of(bundle, change, table.schema[change.column])
        for row, before in enumerate(table[change.column].to_list()):
            if before is not None and values:
                yield _Cell(change, row, values, before)


def _tried(cell: _Cell) -> Iterator[Any]:
    for value in cell.values:
        if value == cell.before or (cell.change.direction == "up" and value < cell.before):
            continue
        if not (cell.change.direction == "down" and value > cell.before):
            yield value


def _size(plan: Plan) -> float:
    """Sum over cells of the share of the values tried that lie between before and after, at least one; categories have no between."""
    total = 0.0
    for cell, value in plan.items():
        passed = 1
        if not isinstance(value, str):
            before, after = (int(np.searchsorted(np.array(cell.values), each)) for each in (cell.before, value))
            passed = max(abs(before - after), 1)
        total += passed / len(cell.values)
    return total


def _pruned(bundle: Bundle, case: Case, plan: Plan, steps: int | None, down: bool) -> tuple[Plan, float]:
    """The plan without cells that are not needed, and its score."""
    for cell in sorted(plan, key=lambda each: -_size({each: plan[each]})):
        fewer = {each: value for each, value in plan.items() if each != cell}
        if fewer and (float(_scores(bundle, case, [fewer], steps)[0]) >= bundle.policy.cutoff) != down:
            plan = fewer
    return plan, float(_scores(bundle, case, [plan], steps)[0])


def _told(case: Case, plan: Plan, score: float) -> Counterfactual:
    changes = tuple(
        Changed(
            column=cell.change.column,
            event_id=None if cell.change.of == "sample" else case.events["event_id"][cell.row],
            before=cell.before,
            after=value,
        )
        for cell, value in plan.items()
    )
    return Counterfactual(changes=changes, score=score, size=_size(plan))


def _scores(bundle: Bundle, case: Case, plans: Sequence[Plan], steps: int | None) -> Float:
    """The score of the case with each plan."""
    out = np.empty(len(plans))
    for first in range(0, len(plans), TOGETHER):
        some = plans[first : first + TOGETHER]
        prepared = case.copies(len(some))
        tables = {"event": prepared.events, "sample": prepared.samples}
        heights = {"event": case.events.height, "sample": 1}
        for change in bundle.task.changes:
            table = tables[change.of]
            if change.column in table.columns:
                values = table[change.column].to_list()
                for copy, plan in enumerate(some):
                    for cell, value in plan.items():
                        if cell.change == change:
                            values[copy * heights[change.of] + cell.row] = value
                tables[change.of] = table.with_columns(pl.Series(change.column, values, table.schema[change.column]))
        changed = Prepared(events=tables["event"], samples=tables["sample"], links=prepared.links)
        sequences = build_copies(changed, bundle.task).aligned(bundle.fitted)
        out[first : first + len(some)] = score_rows(bundle, sequences, np.arange(len(some)), steps=steps).score
    return out
