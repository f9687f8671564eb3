"""Batches: the tokens of some samples, gathered from columns kept once, with what compares rows worked out on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trmfin.sequences.columns import relative
from trmfin.sequences.links import relation
from trmfin.sequences.task import Field, Task
from trmfin.sequences.transforms import ABSENT, Exact
from trmfin.sequences.windows import event_tokens

if TYPE_CHECKING:
    from trmfin.sequences.sequences import Sequences

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the network eats, and the only thing it knows. B samples of L tokens; token 0 is the leading token."""

    numbers: NDArray[np.float32]  # (B, L, F) NaN = absent
    codes: Int  # (B, L, C) 0 = absent, 1 = unknown
    tag: Int  # (B, L) 0 = leading token, 1 + h = history h; also on padding
    mask: NDArray[np.bool_]  # (B, L) False = padding
    rows: Int  # (B,) which samples of the Sequences these are
    relation: Int | None = None  # (B, L, L) 0 = none, k = the task's relation k - 1
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def gather(sequences: Sequences, rows: Int) -> Batch:
    """The batch of the samples `rows` (B,). Each sample's part depends on that sample alone."""
    task, events, as_of = sequences.task, sequences.events, sequences.as_of.take(rows)
    tokens, numbers, codes = _windows(sequences, rows)
    _sum_up(task, numbers)
    if task.length < tokens.shape[1]:
        read = read_places(task)
        tokens, numbers, codes = tokens[:, read], numbers[:, read], codes[:, read]
    mask = tokens != len(events)
    mask[:, 0] = True
    return Batch(
        numbers=numbers,
        codes=codes,
        tag=np.tile(token_tags(task), (len(rows), 1)),
        mask=mask,
        rows=rows,
        relation=relation(sequences.links, task.relations, tokens, as_of, len(events)) if task.relations else None,
        targets={name: values.take(rows, axis=0) for name, values in sequences.targets.values.items()},
    )


def summed_events(sequences: Sequences, rows: Int, fields: Collection[str]) -> list[list[str]]:
    """Of each sample, ids of the events that summaries among these fields sum up, oldest first within a history. rows: (B,)."""
    tokens, numbers, _ = _windows(sequences, rows)
    tags, names = window_tags(sequences.task), ["", *(history.name for history in sequences.task.histories)]
    there = np.zeros(tokens.shape, bool)
    for axis, item in enumerate(sequences.task.numbers):
        if item.summary and item.name in fields:
            there |= ~np.isnan(numbers[..., axis]) & (tags == names.index(item.of))
    return [sequences.events.id_column[mine[kept].tolist()].to_list() for mine, kept in zip(tokens, there, strict=True)]


def window_events(sequences: Sequences, row: int) -> dict[str, list[str]]:
    """History → ids of all events of one sample's window, oldest first, those without a token of their own included."""
    (tokens,) = event_tokens(sequences.windows.values(), np.array([row]), len(sequences.events))
    tags = window_tags(sequences.task)
    inside = tokens != len(sequences.events)
    ids = sequences.events.id_column
    return {history.name: ids[tokens[inside & (tags == tag)].tolist()].to_list() for tag, history in enumerate(sequences.task.histories, 1)}


def _windows(sequences: Sequences, rows: Int) -> tuple[Int, NDArray[np.float32], Int]:
    """Which event stands where (B, W), the leading token first, then all events of the windows, and their cells, not yet summed up."""
    events, samples = sequences.events, sequences.samples
    tokens = event_tokens(sequences.windows.values(), rows, len(events))
    numbers = events.numbers.take(tokens, axis=0)  # (B, W, F)
    codes = events.codes.take(tokens, axis=0).astype(np.int64)  # (B, W, C)
    numbers[:, 0] = samples.numbers.take(rows, axis=0)
    codes[:, 0] = samples.codes.take(rows, axis=0)
    _hide_late(sequences, numbers, codes, tokens, samples.known_at.take(rows))
    _compare(sequences, numbers, codes, tokens, rows)
    return tokens, numbers, codes


def token_tags(task: Task) -> Int:
    """(L,) 0 for the leading token, 1 + h for the tokens of history h."""
    return np.repeat(np.arange(1 + len(task.histories)), [1, *(h.tokens for h in task.histories)])


def window_tags(task: Task) -> Int:
    """(W,) the same for the leading token and all events of the windows, those without a token of their own included."""
    return np.repeat(np.arange(1 + len(task.histories)), [1, *(h.length for h in task.histories)])


def read_places(task: Task) -> Int:
    """(L,) which of the W places of `window_tags` are tokens."""
    ends = np.cumsum([1, *(h.length for h in task.histories)])
    parts = [np.arange(end - h.tokens, end) for h, end in zip(task.histories, ends[1:], strict=True)]
    return np.concatenate([np.zeros(1, np.int64), *parts])


def _hide_late(sequences: Sequences, numbers: NDArray[np.float32], codes: Int, tokens: Int, as_of: Int) -> None:
    """Make absent, in place, what a late column would tell before it was known."""
    late = sequences.events.late
    hidden: dict[str, NDArray[np.bool_]] = {}
    for fields, table, absent in ((sequences.task.numbers, numbers, np.nan), (sequences.task.codes, codes, 0)):
        for axis, item in enumerate(fields):
            if item.side == "event" and not item.against and item.column in late:
                if item.column not in hidden:
                    hidden[item.column] = _unknown_yet(late[item.column], tokens, as_of)
                table[..., axis][hidden[item.column]] = absent


def _unknown_yet(known_at: Int, tokens: Int, as_of: Int) -> NDArray[np.bool_]:
    return np.greater_equal(known_at.take(tokens), as_of[:, None])


def _compare(sequences: Sequences, numbers: NDArray[np.float32], codes: Int, tokens: Int, rows: Int) -> None:
    """Fill in the relative fields of event tokens, in place."""
    operands: dict[str, Exact] = {}
    compared: dict[tuple[str, str, str], NDArray[np.float32] | Int] = {}  # several fields may sum up the same comparison
    for fields, table in ((sequences.task.numbers, numbers), (sequences.task.codes, codes)):
        for axis, item in enumerate(fields):
            if item.side == "event" and item.against:
                if (asked := (item.transform, item.column, item.against)) not in compared:
                    left = _operand(sequences, item.column, tokens, rows, operands)
                    compared[asked] = relative(item, left[:, 1:], _other(sequences, item, tokens, rows, operands))
                result = compared[asked]
                table[:, 1:, axis] = sequences.same_codes[item.name][result] if item.is_code else result


def _operand(sequences: Sequences, column: str, tokens: Int, rows: Int, operands: dict[str, Exact]) -> Exact:
    """(B, L) exact values of an event column, absent on padding, on the leading token, and while a late value is unknown."""
    if column not in operands:
        values = sequences.events.operands[column].take(tokens)
        if column in sequences.events.late:
            values[_unknown_yet(sequences.events.late[column], tokens, sequences.as_of.take(rows))] = _absent(values)
        operands[column] = values
    return operands[column]


def _other(sequences: Sequences, item: Field, tokens: Int, rows: Int, operands: dict[str, Exact]) -> Exact:
    """What a relative field is compared with: (B, 1) or (B, L - 1)."""
    form, _, column = item.against.partition(".")
    if form == "as_of":
        return sequences.as_of.take(rows)[:, None]
    if form == "sample":
        return sequences.samples.operands[column].take(rows)[:, None]
    values = _operand(sequences, column or item.column, tokens, rows, operands)[:, :-1].copy()
    values[:, np.diff(window_tags(sequences.task), prepend=0)[1:] > 0] = _absent(values)  # a history's first place has no previous
    return values


def _sum_up(task: Task, numbers: NDArray[np.float32]) -> None:
    """Turn what the events say into summaries on the leading token, in place. numbers: (B, W, F)."""
    tags = window_tags(task)
    place = {history.name: slice(*np.searchsorted(tags, (1 + h, 2 + h))) for h, history in enumerate(task.histories)}
    for axis, item in enumerate(task.numbers):
        if item.summary:
            numbers[:, 0, axis] = summed_up(item.summary, numbers[:, place[item.of], axis])
            numbers[:, 1:, axis] = np.nan


def summed_up(summary: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B,) one of SUMMARIES over the present ones of (B, n) values; absent where none is, but a count is 0 then."""
    present = ~np.isnan(values)
    count = present.sum(1)
    if summary == "count":
        return np.asarray(count, np.float32)
    found: NDArray[Any]
    if summary == "mean":  # in float64, so that no digit depends on the order of adding
        found = np.where(present, values, 0).sum(1, dtype=np.float64) / np.maximum(count, 1)
    else:
        found = np.where(present, values, np.inf).min(1) if summary == "min" else np.where(present, values, -np.inf).max(1)
    return np.asarray(np.where(count > 0, found, np.nan), np.float32)


def _absent(values: Exact) -> float | int:
    return ABSENT if values.dtype == np.int64 else np.nan
