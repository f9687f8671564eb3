"""Scores of a stream: each entity's window is kept, one transaction is taken at a time, and answers equal those of a batch.

An event that is taken in again replaces itself, so that a verdict that arrives late is the same event with its late columns
filled, and nothing is counted twice however often it is sent. An event whose known_at is corrected moves to its new place. Its
keys stay as they were first sent: an event that comes with others is refused where it is still held under any of its keys, and
where all of them are other ones it cannot be recognised and counts anew.

Events of one key and instant stand as a batch has them, by `sequence` where the events have that column and else by the first
eight bytes of their event_id; where these are equal too, as they came (a batch then compares whole event_ids).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.errors import ConfigError, DataError, TrmfinError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.scoring.rings import SEQUENCE, Key, Rings, Rows, columns_read, event_dtype, event_rows
from trmfin.scoring.scores import Scores
from trmfin.sequences.columns import EXACT, KNOWN, Columns, compared_texts, event_columns, records_of, sample_columns, told_alone
from trmfin.sequences.links import read_links
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.targets import Targets
from trmfin.sequences.task import Task
from trmfin.sequences.transforms import ABSENT, NEVER, Exact, absent_of
from trmfin.sequences.windows import Window

TEXT = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True, kw_only=True)
class Coming:
    """E events and N samples, encoded, before the first is taken in and the second asked about."""

    both: Sequences  # columns of both; no windows
    rows: Rows  # (E,)
    order: list[int]  # in which events come: those of a frame by known_at, sequence, event_id, as a batch orders them
    keys: dict[str, list[Key | None]]  # history → each event's key
    asked: dict[str, list[Key | None]]  # history → each sample's key; empty where nothing is asked


class Stream:
    """A bundle that scores as events come. Not for several threads at once."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises ConfigError where the task gathers events through links, which a stream does not keep."""
        task = bundle.task
        if task.relations or any(history.links for history in task.histories):
            raise ConfigError(f"stream of task {task.name!r}: it gathers events through links, which a stream does not keep")
        self.bundle, self.rings = bundle, dict[str, Rings]()
        self.texts = dict[str, int]()  # compared text → what stands for it, in the order in which they were seen

    def step(self, events: pl.DataFrame, samples: pl.DataFrame) -> Scores:
        """Score samples and take events in, as they would have come: a sample sees what was known strictly before its as_of.

        events, samples: rows as a pipeline's `prepare` makes them, in any order. Scores are in the samples' order.
        """
        return self.answer(self.read(events, samples))

    def take(self, events: pl.DataFrame) -> None:
        """Take events in without scoring anything."""
        self.put(self.read(events))

    def take_each(self, frames: Sequence[pl.DataFrame]) -> None:
        """Take frames of one schema in as `take` would one after the other; where they are small, in a fraction of the time."""
        try:
            coming = self.read(pl.concat(frames, rechunk=True), sizes=[len(frame) for frame in frames])
        except TrmfinError:  # what cannot be used beside the others may be of use in its turn: a key is new once its event is forgotten
            for frame in frames:
                self.take(frame)
        else:
            self.put(coming)

    def read(self, events: pl.DataFrame, samples: pl.DataFrame | None = None, sizes: Sequence[int] = ()) -> Coming:
        """Make of rows what can be taken in and asked about; no window changes. Raises DataError and TaskError on unusable ones.

        sizes: of the parts that the events are of, where these come one after the other.
        """
        task, keys = self.bundle.task, _keys(events, self.bundle.task)
        asked = {} if samples is None else _keys(samples, task)
        both, dtype = self._encoded(events, samples)
        rows = event_rows(dtype, events, both.events, list(keys.values()))
        self._check_keys(events, rows, keys)
        return Coming(both=both, rows=rows, order=_order(events, sizes or [len(events)]), keys=keys, asked=asked)

    def answer(self, coming: Coming) -> Scores:
        """The scores of what was read with samples; its events are then taken in, all of them even where a question is refused."""
        return self.score(self.asked(coming))

    def score(self, asked: Sequences) -> Scores:
        """The scores of all these samples, as `asked` gives them; no window changes."""
        return score_rows(self.bundle, asked, np.arange(len(asked)))

    def asked(self, coming: Coming) -> Sequences:
        """What `answer` scores: the samples with their windows. Takes the events in."""
        as_of, found, taken = coming.both.as_of, dict[int, list[Rows]](), 0
        try:
            for place in np.argsort(as_of, kind="stable").tolist():
                taken = self.put(coming, taken, int(as_of[place]))
                found[place] = [self._window(name, key[place], int(as_of[place])) for name, key in coming.asked.items()]
        finally:
            self.put(coming, taken)
        windows = [found[place] for place in range(len(as_of))]
        return self._sequences(coming.both, windows)

    @property
    def entities(self) -> int:
        """Keys of all histories that have a window."""
        return sum(len(rings.places) for rings in self.rings.values())

    @property
    def bytes(self) -> int:
        """Of all windows."""
        return sum(rings.bytes for rings in self.rings.values())

    def put(self, coming: Coming, taken: int = 0, before: int = NEVER) -> int:
        """Take into every history what is known before a time, after the first `taken` events. → how many are taken now."""
        while taken < len(coming.order) and coming.rows["known_at"][row := coming.order[taken]] < before:
            for name, key in coming.keys.items():
                if (mine := key[row]) is not None:
                    self.rings[name].put(mine, coming.rows[row])
            taken += 1
        return taken

    def _window(self, history: str, key: Key | None, as_of: int) -> Rows:
        rings = self.rings[history]
        return np.zeros(0, rings.dtype) if key is None else rings.window(key, as_of)

    def _check_keys(self, events: pl.DataFrame, rows: Rows, keys: dict[str, list[Key | None]]) -> None:
        """Raises DataError where an event is held with other keys, or comes twice with unlike ones: it would stay under both."""
        moved = [
            place
            for name, found in keys.items()
            for place, key in enumerate(found)
            if key is not None and self.rings[name].changed(key, rows[place])
        ]
        if not moved and len(rows) > 1:
            order = np.argsort(rows["id"], kind="stable")
            alike = rows["id"][order[1:]] == rows["id"][order[:-1]]
            moved = order[1:][alike & (rows["keys"][order[1:]] != rows["keys"][order[:-1]])].tolist()
        if moved:
            first = moved[0]
            found = ", ".join(f"{name} {'/'.join(mine) if (mine := key[first]) else 'null'}" for name, key in keys.items())
            raise DataError(
                f"stream, event {events['event_id'][first]!r}: comes again with other keys, now {found}; expected those that it had, as it "
                "would stay under both; send it with its first keys, or what is new as an event of its own"
            )

    def _encoded(self, events: pl.DataFrame, samples: pl.DataFrame | None) -> tuple[Sequences, np.dtype[Any]]:
        """The columns of a few rows, their codes aligned to the bundle's vocabulary and compared texts to those seen before.

        With the type of an event; what is held must be of the same.
        """
        task, asked = self.bundle.task, events.head(0) if samples is None else samples
        texts = compared_texts(events, asked, task)
        columns, categories = event_columns(events, task, texts)
        if samples is None:
            own, more = _no_samples(task), dict[str, tuple[str, ...]]()
        else:
            own, more = sample_columns(samples, task, texts)
        nothing = Targets(values={}, known_at={})
        both = Sequences(
            task=task,
            events=columns,
            samples=own,
            windows={},
            group=np.zeros(len(own), np.int32),
            targets=nothing,
            links=read_links(None, events["event_id"]),
            categories={field.name: () for field in task.codes} | categories | more,
        ).aligned(self.bundle.fitted)
        dtype = event_dtype(task, events, both.events)
        self._check_columns(dtype)
        places = np.array([self.texts.setdefault(text, len(self.texts)) for text in texts], np.int64)
        for frame, part in ((events, both.events), (samples, both.samples)):
            if frame is None:
                continue
            for name in part.compared:
                if frame.schema.get(name) in TEXT:
                    values = part.records[f"{EXACT}{name}"]
                    known = values != ABSENT
                    values[known] = places[values[known]]
        return both, dtype

    def _check_columns(self, dtype: np.dtype[Any]) -> None:
        """Raises DataError where events of this type cannot stand beside those that are held."""
        if all(rings.dtype == dtype for rings in self.rings.values()) and self.rings:
            return
        if self.entities:
            found, held = (set(columns_read(one)) for one in (dtype, next(iter(self.rings.values())).dtype))
            more, less = (", ".join(sorted(some)) or "nothing" for some in (found - held, held - found))
            raise DataError(
                f"stream, events: found {more} where those taken in before have {less}; expected the same columns of the same kinds; "
                "send all events as one `prepare` makes them"
            )
        self.rings = {history.name: Rings(history=history, dtype=dtype) for history in self.bundle.task.histories}

    def _sequences(self, both: Sequences, windows: Sequence[Sequence[Rows]]) -> Sequences:
        """The samples with their windows, as a batch has them. windows: of each sample, one a history."""
        parts = [part for sample in windows for part in sample]
        rows = np.concatenate(parts) if parts else np.zeros(0, next(iter(self.rings.values())).dtype)
        ends = np.cumsum([len(part) for part in parts]).reshape(len(windows), -1)  # (N, histories)
        starts = ends - np.array([len(part) for part in parts], np.int64).reshape(ends.shape)
        order = np.arange(len(rows) + 1)
        kept = {
            history.name: Window(order=order, start=starts[:, place], stop=ends[:, place], length=history.length)
            for place, history in enumerate(both.task.histories)
        }
        fields = {"task": both.task, "samples": both.samples, "group": both.group, "targets": both.targets, "links": both.links}
        return Sequences(events=_columns(rows), windows=kept, categories=both.categories, fitted=both.fitted, **fields)  # type: ignore[arg-type]


def _no_samples(task: Task) -> Columns:
    """The absent row alone."""
    numbers, codes = (len(set(told_alone(fields, "sample").values())) for fields in (task.numbers, task.codes))
    records = records_of(np.full((1, numbers), np.nan, np.float32), np.zeros((1, codes), np.int32), {}, {})
    return Columns(id_column=pl.Series("id", [], pl.String), known_at=np.zeros(0, np.int64), records=records, late={})


def _columns(rows: Rows) -> Columns:
    """Events that were kept, as columns with the absent row at their end."""
    numbers, codes = (
        np.concatenate((rows[name], np.full((1, *rows[name].shape[1:]), absent, rows[name].dtype)))
        for name, absent in (("numbers", np.nan), ("codes", 0))
    )
    exact, late = dict[str, Exact](), dict[str, NDArray[np.int64]]()
    for name in rows.dtype.names or ():
        what, _, column = name.partition(" ")
        if what == "operand":
            exact[column.partition(" ")[2]] = np.append(rows[name], absent_of(rows[name]))
        elif what == "late":
            late[column] = np.append(rows[name], NEVER)
    ids, times = pl.Series("id", [""] * len(rows), pl.String), {f"{KNOWN}{column}": known_at for column, known_at in late.items()}
    records = records_of(numbers, codes, exact, times)
    return Columns(id_column=ids, known_at=rows["known_at"].copy(), records=records, late={column: f"{KNOWN}{column}" for column in late})


def _order(events: pl.DataFrame, sizes: Sequence[int]) -> list[int]:
    """In which events come: those of each part, which has so many, after those of the part before it."""
    if max(sizes) <= 1:  # a query takes longer than all else that is read of one event
        return list(range(len(events)))
    part = pl.Series("part", np.repeat(np.arange(len(sizes)), sizes))
    ties = events.select(part, *(name for name in ("known_at", SEQUENCE, "event_id") if name in events.columns))
    return ties.select(pl.arg_sort_by(ties.columns, nulls_last=False, maintain_order=True)).to_series().to_list()


def _keys(frame: pl.DataFrame, task: Task) -> dict[str, list[Key | None]]:
    """History → each row's key, None where any part of it is null. Raises DataError where a column is missing."""
    found: dict[str, list[Key | None]] = {}
    for history in task.histories:
        if missing := [name for name in history.keys if name not in frame.columns]:
            raise DataError(f"stream: no key column {missing[0]!r}, which history {history.name!r} needs; found {', '.join(frame.columns)}")
        texts: Iterable[tuple[str | None, ...]] = zip(*(frame[name].cast(pl.String).to_list() for name in history.keys), strict=True)
        found[history.name] = [None if None in row else row for row in texts]  # type: ignore[misc]
    return found
