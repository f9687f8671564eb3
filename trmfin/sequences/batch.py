"""Batches: the tokens of some samples, gathered from columns kept once, with what compares rows worked out on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    task, events, samples = sequences.task, sequences.events, sequences.samples
    tokens = event_tokens(sequences.windows.values(), rows, len(events))  # (B, L)
    as_of = samples.known_at.take(rows)
    numbers = events.numbers.take(tokens, axis=0)  # (B, L, F)
    codes = events.codes.take(tokens, axis=0).astype(np.int64)  # (B, L, C)
    numbers[:, 0] = samples.numbers.take(rows, axis=0)
    codes[:, 0] = samples.codes.take(rows, axis=0)
    _hide_late(sequences, numbers, codes, tokens, as_of)
    _compare(sequences, numbers, codes, tokens, rows)
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


def token_tags(task: Task) -> Int:
    """(L,) 0 for the leading token, 1 + h for the tokens of history h."""
    return np.repeat(np.arange(1 + len(task.histories)), [1, *(h.length for h in task.histories)])


def _hide_late(sequences: Sequences, numbers: NDArray[np.float32], codes: Int, tokens: Int, as_of: Int) -> None:
    """Make absent, in place, what a late column would tell before it was known."""
    late = sequences.events.late
    hidden: dict[str, NDArray[np.bool_]] = {}
    for fields, table, absent in ((sequences.task.numbers, numbers, np.nan), (sequences.task.codes, codes, 0)):
        for axis, item in enumerate(fields):
            if item.of == "event" and not item.against and item.column in late:
                if item.column not in hidden:
                    hidden[item.column] = _unknown_yet(late[item.column], tokens, as_of)
                table[..., axis][hidden[item.column]] = absent


def _unknown_yet(known_at: Int, tokens: Int, as_of: Int) -> NDArray[np.bool_]:
    return np.greater_equal(known_at.take(tokens), as_of[:, None])


def _compare(sequences: Sequences, numbers: NDArray[np.float32], codes: Int, tokens: Int, rows: Int) -> None:
    """Fill in the relative fields of event tokens, in place."""
    operands: dict[str, Exact] = {}
    for fields, table in ((sequences.task.numbers, numbers), (sequences.task.codes, codes)):
        for axis, item in enumerate(fields):
            if item.of == "event" and item.against:
                left = _operand(sequences, item.column, tokens, rows, operands)
                right = _other(sequences, item, tokens, rows, operands)
                result = relative(item, left[:, 1:], right)
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
    values[:, np.diff(token_tags(sequences.task), prepend=0)[1:] > 0] = _absent(values)  # a history's first place has no previous
    return values


def _absent(values: Exact) -> float | int:
    return ABSENT if values.dtype == np.int64 else np.nan
