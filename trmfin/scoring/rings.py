"""The newest events of every key of a history, kept as they come: what `as_of_windows` finds in all events, for a stream.

Events stand by known_at, then by their tie, then in the order in which they came. A tie is 64 bits: the column `sequence` where
there is one, else the first eight bytes of the event_id.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.sequences.columns import EXACT, Columns, column_kind
from trmfin.sequences.task import History, Task

Rows = NDArray[Any]  # structured, of `event_dtype`
Key = tuple[str, ...]
SPARE = 8  # events kept beyond a window's length, for samples that are asked about after events of the same instant or later came
BLOCK = 1024  # keys whose windows lie in one array: growing copies nothing
SEQUENCE = "sequence"
TIE_BYTES = 8
SIGN = np.uint64(1 << 63)  # turns the order of int64 into that of uint64


def event_dtype(task: Task, events: pl.DataFrame, columns: Columns) -> np.dtype[Any]:
    """One event as a fixed number of bytes: identity, time, what it tells alone, what is compared, when late values were known.

    events: the frame of which `columns` were made. What the names say and the types do not (kinds, what ties are) tells frames apart.
    """
    schema = events.schema
    tie = f"tie {SEQUENCE if SEQUENCE in schema else 'event_id'}"
    parts: list[Any] = [("id", "u8"), ("keys", "u4"), ("known_at", "i8"), (tie, "u8")]
    parts += [("numbers", "f4", columns.numbers.shape[1:]), ("codes", "i4", columns.codes.shape[1:])]
    for name in sorted(columns.compared):
        parts.append((f"operand {column_kind(schema[name], name in task.money)} {name}", columns.records.dtype[f"{EXACT}{name}"]))
    return np.dtype(parts + [(f"late {name}", "i8") for name in sorted(columns.late)])


def columns_read(dtype: np.dtype[Any]) -> list[str]:
    """The columns that make an event's type what it is, such as `amount (money)`, `verdict_known_at`, `sequence`."""
    found = [SEQUENCE] if f"tie {SEQUENCE}" in (dtype.names or ()) else []
    for name in dtype.names or ():
        what, _, rest = name.partition(" ")
        if what == "operand":
            kind, _, column = rest.partition(" ")
            found.append(f"{column} ({kind})")
        elif what == "late":
            found.append(f"{rest}_known_at")
    return found


def event_rows(dtype: np.dtype[Any], events: pl.DataFrame, columns: Columns, keys: Sequence[Sequence[Key | None]]) -> Rows:
    """(E,) the events of columns whose codes are aligned to a vocabulary. keys: of each history, of each event."""
    rows = np.zeros(len(columns), dtype)
    rows["id"] = [identity(name) for name in columns.id_column]
    rows["keys"] = [zlib.crc32(repr(mine).encode()) for mine in zip(*keys, strict=True)]
    rows["known_at"] = columns.known_at
    rows["numbers"] = columns.numbers[:-1]
    rows["codes"] = columns.codes[:-1]
    for name in dtype.names or ():
        what, _, rest = name.partition(" ")
        if what == "tie":
            rows[name] = _ties(events[rest])
        elif what == "operand":
            rows[name] = columns.records[f"{EXACT}{rest.partition(' ')[2]}"][:-1]
        elif what == "late":
            rows[name] = columns.records[columns.late[rest]][:-1]
    return rows


def _ties(column: pl.Series) -> NDArray[np.uint64]:
    """64 bits that are in order where these values are; null first. Raises DataError where a sequence number is none."""
    if column.name != SEQUENCE:
        heads = (name.encode()[:TIE_BYTES].ljust(TIE_BYTES, b"\0") for name in column)
        return np.frombuffer(b"".join(heads), ">u8").astype(np.uint64)
    whole = column.cast(pl.Int64, strict=False)
    if not (column.dtype.is_integer() or column.dtype == pl.Null) or whole.null_count() > column.null_count():
        raise DataError(f"stream, column {SEQUENCE}: found {column.dtype}; expected whole numbers of 64 bits, number the events so")
    return whole.fill_null(np.iinfo(np.int64).min).to_numpy().astype(np.uint64) ^ SIGN


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
    lost: list[NDArray[np.bool_]] = field(default_factory=list)  # each (BLOCK,) whether older events than those held have come
    gone: dict[int, set[int]] = field(default_factory=dict)  # place → identities of lost events, of time and tie of the oldest held

    def __post_init__(self) -> None:
        self.tie = next(name for name in self.dtype.names or () if name.startswith("tie "))

    @property
    def width(self) -> int:
        """Events kept of a key."""
        return self.history.length + SPARE

    @property
    def bytes(self) -> int:
        """Of all windows; keys come on top."""
        return sum(array.nbytes for arrays in (self.blocks, self.counts, self.lost) for array in arrays)

    def put(self, key: Key, event: Any) -> None:
        """Take an event in at its place in time, or in place of what is held under its identity, which moves where its time is another.

        An event that is older than all that is held where older ones were lost is of no use to a window, and is lost too.
        """
        place = self.places.setdefault(key, len(self.places))
        ring, counts, lost, row = self._at(place)
        held = int(counts[row])
        after = self._after(ring[:held], event)
        oldest = not after
        again = np.flatnonzero(ring["id"][:held] == event["id"])
        if len(again):
            hit = int(again[0])
            if self._tied(ring[hit], event):
                ring[hit] = event
                return
            ring[hit : held - 1] = ring[hit + 1 : held].copy()
            held, after = held - 1, after - (hit < after)
            counts[row] = held
        elif place in self.gone and held and self._tied(ring[0], event) and int(event["id"]) in self.gone[place]:
            return
        if oldest and (lost[row] or held == self.width):
            lost[row] = True
        elif held < self.width:
            ring[after + 1 : held + 1] = ring[after:held].copy()
            ring[after] = event
            counts[row] = held + 1
        else:
            lost[row] = True
            self._evict(place, ring, after, event)

    def changed(self, key: Key, event: Any) -> bool:
        """Whether this event is held under its identity, but with other keys."""
        if key not in self.places:
            return False
        ring, counts, _, row = self._at(self.places[key])
        held = ring[: counts[row]]
        return bool((held["keys"][held["id"] == event["id"]] != event["keys"]).any())

    def window(self, key: Key, as_of: int) -> Rows:
        """(n,) the last `length` events known strictly before as_of, n ≤ length; a copy.

        Raises DataError where as_of lies so far before events already taken in that earlier ones are lost.
        """
        if key not in self.places:
            return np.zeros(0, self.dtype)
        ring, counts, lost, row = self._at(self.places[key])
        held, length = int(counts[row]), self.history.length
        stop = int(np.searchsorted(ring["known_at"][:held], as_of, side="left"))
        if lost[row] and stop < length:
            raise DataError(
                f"stream, history {self.history.name!r}: {held - stop} events of {'/'.join(key)} are not before this sample's as_of; as "
                f"{SPARE} are kept beyond a window, {stop} of the {length} before it are left; ask about samples in the order of as_of"
            )
        return ring[max(stop - length, 0) : stop].copy()

    def _at(self, place: int) -> tuple[Rows, NDArray[np.int16], NDArray[np.bool_], int]:
        while place >= len(self.blocks) * BLOCK:
            self.blocks.append(np.zeros((BLOCK, self.width), self.dtype))
            self.counts.append(np.zeros(BLOCK, np.int16))
            self.lost.append(np.zeros(BLOCK, np.bool_))
        block, row = divmod(place, BLOCK)
        return self.blocks[block][row], self.counts[block], self.lost[block], row

    def _tied(self, one: Any, other: Any) -> bool:
        return bool(one["known_at"] == other["known_at"] and one[self.tie] == other[self.tie])

    def _after(self, held: Rows, event: Any) -> int:
        """After how many of these an event stands; after those of its time and tie."""
        first = int(np.searchsorted(held["known_at"], event["known_at"], side="left"))
        last = int(np.searchsorted(held["known_at"], event["known_at"], side="right"))
        return first + int(np.searchsorted(held[self.tie][first:last], event[self.tie], side="right"))

    def _evict(self, place: int, ring: Rows, after: int, event: Any) -> None:
        """Put an event into a full ring and drop its oldest. A tie may be cut in two here: what is dropped of it is remembered."""
        dropped = ring[0].copy()
        ring[: after - 1] = ring[1:after].copy()
        ring[after - 1] = event
        if self._tied(dropped, ring[0]):
            self.gone.setdefault(place, set()).add(int(dropped["id"]))
        else:
            self.gone.pop(place, None)
