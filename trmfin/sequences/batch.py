"""Batches: the tokens of some samples, gathered from columns kept once, with what compares rows worked out on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trmfin.sequences.columns import EXACT, relative, same_cells, told_alone
from trmfin.sequences.links import relation
from trmfin.sequences.task import Field, Task
from trmfin.sequences.transforms import Exact, absent_of
from trmfin.sequences.windows import event_places

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
    task, seen = sequences.task, Seen(sequences, rows)
    tokens = token_events(task, seen.events, len(sequences.events))
    mask = tokens != len(sequences.events)
    mask[:, 0] = True
    numbers = np.full((*tokens.shape, len(task.numbers)), np.nan, np.float32)
    codes = np.zeros((*tokens.shape, len(task.codes)), np.int64)
    _write(numbers, "numbers", task.numbers, seen)
    _write(codes, "codes", task.codes, seen)
    return Batch(
        numbers=numbers,
        codes=codes,
        tag=np.tile(token_tags(task), (len(rows), 1)),
        mask=mask,
        rows=rows,
        relation=relation(sequences.links, task.relations, tokens, seen.as_of[:, 0], len(sequences.events)) if task.relations else None,
        targets={name: values.take(rows, axis=0) for name, values in sequences.targets.values.items()},
    )


def _write(table: NDArray[Any], part: str, fields: Sequence[Field], seen: Seen) -> None:
    """The cells of number or category fields into `table` (B, L, fields), absent so far. part: of a record, what a row tells alone."""
    task, late = seen.sequences.task, seen.sequences.events.late
    places, read = window_places(task), read_places(task)
    tokens = slice(None) if len(read) == seen.events.shape[1] else read  # a slice copies nothing
    for axes, kept in _runs(told_alone(fields, "sample")):
        table[:, 0, axes] = seen.own[part][:, kept]
    plain = {
        axis: place for axis, place in told_alone(fields, "event").items() if not fields[axis].summary and fields[axis].column not in late
    }
    for axes, kept in _runs(plain):
        table[:, 1:, axes] = seen.records[part][:, tokens, kept]
    for axis, item in enumerate(fields):
        if item.summary:
            table[:, 0, axis] = summed_up(item.summary, seen.cells(item)[:, places[item.of]])
        elif item.side == "event" and axis not in plain:
            table[:, 1:, axis] = seen.cells(item)[:, tokens]


def _runs(places: Mapping[int, int]) -> Iterator[tuple[slice, slice]]:
    """Neighbours that go to neighbours, which are copied at once: of a task of many columns one or a few. places: axis → place."""
    numbered = enumerate(places.items())
    for _, run in groupby(numbered, lambda pair: (pair[1][0] - pair[0], pair[1][1] - pair[0])):
        pairs = [pair for _, pair in run]
        (axis, place), count = pairs[0], len(pairs)
        yield slice(axis, axis + count), slice(place, place + count)


def token_events(task: Task, events: Int, absent: int) -> Int:
    """(B, L) row of each token's event, of all those in the windows (B, W); `absent` (E) on the leading token and on padding."""
    return np.concatenate((np.full((len(events), 1), absent), events[:, read_places(task)]), axis=1)


def summed_events(sequences: Sequences, rows: Int, fields: Collection[str]) -> list[list[str]]:
    """Of each sample, ids of the events that summaries among these fields sum up, oldest first within a history. rows: (B,)."""
    seen = Seen(sequences, rows)
    there, places = np.zeros(seen.events.shape, bool), window_places(sequences.task)
    for item in sequences.task.numbers:
        if item.summary and item.name in fields:
            there[:, places[item.of]] |= ~np.isnan(seen.cells(item)[:, places[item.of]])
    return [sequences.events.id_column[mine[kept].tolist()].to_list() for mine, kept in zip(seen.events, there, strict=True)]


def window_events(sequences: Sequences, row: int) -> dict[str, list[str]]:
    """History → ids of all events of one sample's window, oldest first, those without a token of their own included."""
    (events,), ids = Seen(sequences, np.array([row])).events, sequences.events.id_column
    windows = {name: events[places] for name, places in window_places(sequences.task).items()}
    return {name: ids[mine[mine != len(sequences.events)].tolist()].to_list() for name, mine in windows.items()}


class Seen:
    """All events in the windows of B samples, those without a token of their own included, and what is known of them as of each sample.

    W places, history after history, each oldest first; what lies before a window's first event is padding, and absent.
    """

    def __init__(self, sequences: Sequences, rows: Int) -> None:
        """rows: (B,) of the samples."""
        self.sequences = sequences
        self.as_of = sequences.as_of.take(rows)[:, None]
        self.events = event_places(sequences.windows.values(), rows, len(sequences.events))  # (B, W), E on padding
        self.records = sequences.events.records.take(self.events)  # (B, W)
        self.own = sequences.samples.records.take(rows)  # (B,)
        self._cells = dict[tuple[str, ...], NDArray[Any]]()  # several fields may sum up the same ones
        self._exact = dict[str, Exact]()
        self._hidden = dict[str, NDArray[np.bool_]]()  # by the part of a record, which late columns may share

    def cells(self, item: Field) -> NDArray[Any]:
        """(B, W) what an event field says: float32, NaN where absent, or codes, 0 where absent. Not to be written to."""
        if item.is_code and item.against:
            return self.sequences.same_codes[item.name].take(self._relative(item))
        if (asked := same_cells(item)) not in self._cells:
            self._cells[asked] = self._relative(item) if item.against else self._alone(item)
        return self._cells[asked]

    def _alone(self, item: Field) -> NDArray[Any]:
        """(B, W) of what the events tell alone, a field's, absent while a late column is not known."""
        task = self.sequences.task
        part, fields, absent = ("codes", task.codes, 0) if item.is_code else ("numbers", task.numbers, np.nan)
        cells: NDArray[Any] = self.records[part][..., told_alone(fields, "event")[fields.index(item)]]
        if item.column in self.sequences.events.late:
            cells = np.where(self._unknown_yet(item.column), cells.dtype.type(absent), cells)
        return cells

    def _relative(self, item: Field) -> NDArray[Any]:
        """(B, W) a relative field's numbers, or of `same` which of its values."""
        return relative(item, self._column(item.column), self._other(item))

    def _column(self, column: str) -> Exact:
        """(B, W) exact values of an event column, absent on padding and while a late value is unknown."""
        if column not in self._exact:
            values: Exact = self.records[f"{EXACT}{column}"]
            if column in self.sequences.events.late:
                values = np.where(self._unknown_yet(column), absent_of(values), values)
            self._exact[column] = values
        return self._exact[column]

    def _unknown_yet(self, column: str) -> NDArray[np.bool_]:
        """(B, W) where a late column's value is not known yet."""
        part = self.sequences.events.late[column]
        if part not in self._hidden:
            self._hidden[part] = np.greater_equal(self.records[part], self.as_of)
        return self._hidden[part]

    def _other(self, item: Field) -> Exact:
        """What a relative field is compared with: (B, 1) or (B, W)."""
        form, _, column = item.against.partition(".")
        if form == "as_of":
            return self.as_of
        if form == "sample":
            return self.own[f"{EXACT}{column}"][:, None]
        values = np.roll(self._column(column or item.column), 1, axis=1)
        values[:, np.diff(window_tags(self.sequences.task), prepend=0) > 0] = absent_of(values)  # a history's first place has no previous
        return values


def token_tags(task: Task) -> Int:
    """(L,) 0 for the leading token, 1 + h for the tokens of history h."""
    return np.repeat(np.arange(1 + len(task.histories)), [1, *(h.tokens for h in task.histories)])


def window_tags(task: Task) -> Int:
    """(W,) 1 + h for the places of history h in the windows, those without a token of their own included."""
    return np.repeat(np.arange(1, 1 + len(task.histories)), [h.length for h in task.histories])


def window_places(task: Task) -> dict[str, slice]:
    """History → which of the W places of `window_tags` are its own."""
    ends = np.cumsum([h.length for h in task.histories]).tolist()
    return {h.name: slice(end - h.length, end) for h, end in zip(task.histories, ends, strict=True)}


def read_places(task: Task) -> Int:
    """(L - 1,) which of the W places of `window_tags` are tokens, in their order."""
    ends = np.cumsum([h.length for h in task.histories])
    parts = [np.arange(end - h.tokens, end) for h, end in zip(task.histories, ends, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def summed_up(summary: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B,) one of SUMMARIES over the present ones of (B, n) values; absent where none is, but a count is 0 then."""
    if summary in ("min", "max"):
        return np.asarray((np.fmin if summary == "min" else np.fmax).reduce(values, axis=1) + np.float32(0))  # of 0 and -0 always 0
    present = ~np.isnan(values)
    count = present.sum(1)
    if summary == "count":
        return np.asarray(count, np.float32)
    total = np.where(present, values, 0).sum(1, dtype=np.float64)  # in float64, so that no digit depends on the order of adding
    return np.asarray(total / np.where(count > 0, count, np.nan), np.float32)
