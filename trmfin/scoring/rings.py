"""The newest events of every key of a history, kept as they come: what `as_of_windows` finds in all events, for a stream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.sequences.columns import Columns
from trmfin.sequences.task import History, Task

Rows = NDArray[Any]  # structured, of `event_dtype`
Key = tuple[str, ...]
SPARE = 8  # events kept beyond a window's length, for samples that are asked about after events of the same instant or later came
BLOCK = 1024  # keys whose windows lie in one array: growing copies nothing


def static_axes(task: Task) -> tuple[list[int], list[int]]:
    """Which number and code fields of an event need no other row: the others are worked out when a sample is asked about."""
    numbers, codes = (
        [axis for axis, item in enumerate(fields) if item.side == "event" and not item.against] for fields in (task.numbers, task.codes)
    )
    return numbers, codes


def event_dtype(task: Task, columns: Columns) -> np.dtype[Any]:
    """One event as a fixed number of bytes: identity, time, static fields, operands of relative ones, when late values were known."""
    numbers, codes = static_axes(task)
    parts: list[Any] = [("id", "u8"), ("known_at", "i8"), ("numbers", "f4", (len(numbers),)), ("codes", "i4", (len(codes),))]
    parts += [(f"operand {name}", values.dtype.str) for name, values in sorted(columns.operands.items())]
    return np.dtype(parts + [(f"late {name}", "i8") for name in sorted(columns.late)])


def event_rows(task: Task, columns: Columns) -> Rows:
    """(E,) the events of columns whose codes are aligned to a vocabulary."""
    numbers, codes = static_axes(task)
    rows = np.zeros(len(columns), event_dtype(task, columns))
    rows["id"] = [identity(name) for name in columns.id_column]
    rows["known_at"] = columns.known_at
    rows["numbers"], rows["codes"] = columns.numbers[:-1, numbers], columns.codes[:-1, codes]
    for kind, values in (("operand", columns.operands), ("late", columns.late)):
        for name, array in values.items():
            rows[f"{kind} {name}"] = array[:-1]
    return rows


def identity(event_id: str) -> int:
    """64 bits that stand for an event_id: equal ones are equal, unlike ones are alike once in 10^19."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "little")


@dataclass(eq=False)
class Rings:
    """One history's newest events of every key, oldest first."""

    history: History
    dtype: np.dtype[Any]
    places: dict[Key, int] = field(default_factory=dict)  # key → its row over all blocks
    blocks: list[Rows] = field(default_factory=list)  # each (BLOCK, width)
    counts: list[NDArray[np.int16]] = field(default_factory=list)  # each (BLOCK,) events held

    @property
    def width(self) -> int:
        """Events kept of a key."""
        return self.history.length + SPARE

    @property
    def bytes(self) -> int:
        """Of all windows; keys come on top."""
        return sum(block.nbytes for block in self.blocks) + sum(count.nbytes for count in self.counts)

    def put(self, key: Key, event: Any) -> None:
        """Take an event in at its place in time, after those of the same instant, or in place of what is held under its identity.

        An event that is older than all that a full window holds is of no use to it and is left out.
        """
        ring, counts, row = self._at(key)
        held = int(counts[row])
        again = np.flatnonzero(ring["id"][:held] == event["id"])
        if len(again):
            ring[again[0]] = event
            return
        place = int(np.searchsorted(ring["known_at"][:held], event["known_at"], side="right"))
        if held < self.width:
            ring[place + 1 : held + 1] = ring[place:held].copy()
            ring[place] = event
            counts[row] = held + 1
        elif place:
            ring[: place - 1] = ring[1:place].copy()
            ring[place - 1] = event

    def window(self, key: Key, as_of: int) -> Rows:
        """(n,) the last `length` events known strictly before as_of, n ≤ length; a copy.

        Raises DataError where as_of lies so far before events already taken in that earlier ones are lost.
        """
        if key not in self.places:
            return np.zeros(0, self.dtype)
        ring, counts, row = self._at(key)
        held = int(counts[row])
        stop = int(np.searchsorted(ring["known_at"][:held], as_of, side="left"))
        if held == self.width and stop < self.history.length:
            raise DataError(
                f"stream, history {self.history.name!r}: {held - stop} events of {'/'.join(key)} are not before this sample's as_of, "
                f"but only {SPARE} are kept beyond a window; ask about samples in the order of their as_of"
            )
        return ring[max(stop - self.history.length, 0) : stop].copy()

    def _at(self, key: Key) -> tuple[Rows, NDArray[np.int16], int]:
        place = self.places.setdefault(key, len(self.places))
        while place >= len(self.blocks) * BLOCK:
            self.blocks.append(np.zeros((BLOCK, self.width), self.dtype))
            self.counts.append(np.zeros(BLOCK, np.int16))
        block, row = divmod(place, BLOCK)
        return self.blocks[block][row], self.counts[block], row
