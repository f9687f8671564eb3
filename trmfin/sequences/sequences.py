"""Sequences: all events' columns kept once, and per sample only where its windows start and stop. `batch` gathers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError, TaskError
from trmfin.sequences.batch import Batch, gather, token_events
from trmfin.sequences.columns import (
    FIRST_CODE,
    UNKNOWN,
    Columns,
    Reader,
    Side,
    as_codes,
    compared_texts,
    distinct,
    event_columns,
    sample_columns,
    told_alone,
)
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.links import Links, read_links
from trmfin.sequences.targets import IGNORE, Targets, read_targets
from trmfin.sequences.task import TOKEN_HEADS, History, Task
from trmfin.sequences.transforms import NEVER, TRANSFORMS
from trmfin.sequences.windows import Members, Window, as_of_windows, event_places, key_codes, through_links

if TYPE_CHECKING:
    from trmfin.data.prepared import Prepared

__all__ = ["IGNORE", "Batch", "Columns", "Links", "Sequences", "Targets", "Window", "build"]

Int = NDArray[np.int64]
Code = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """N samples over E events. Nothing here is fitted, unless `aligned`: then category codes are the vocabulary's."""

    task: Task
    events: Columns  # E rows
    samples: Columns  # N rows; known_at is as_of
    windows: Mapping[str, Window]  # history → where each sample's events stand
    group: Code  # (N,) code of the task's group column: the unit of splits and of the bootstrap
    targets: Targets
    links: Links
    categories: Mapping[str, tuple[str, ...]]  # category field → its values, codes 2, 3, …: of this data set, or the vocabulary
    fitted: Fitted | None = None  # what the codes are aligned to

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def sample_ids(self) -> NDArray[np.object_]:
        """(N,) strings."""
        return self.samples.ids

    @property
    def as_of(self) -> Int:
        """(N,) microseconds since 1970 UTC."""
        return self.samples.known_at

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether the primary target of a sample is known."""
        return np.asarray(self.targets.known_at[self.task.primary] != NEVER)

    def arrays(self) -> list[NDArray[Any]]:
        """All that samples are made of: identities, values, what the values are, windows, links, answers."""
        found: list[NDArray[Any]] = [_bytes("\n".join(map(str, self.sample_ids))), self.group]
        for columns in (self.events, self.samples):
            found += [columns.known_at, columns.records, _bytes(f"{columns.records.dtype} {sorted(columns.late.items())}")]
        for window in self.windows.values():
            found += [window.order, window.start, window.stop]
        links = self.links
        found += [*self.targets.values.values(), *self.targets.known_at.values()]
        return [*found, links.source, links.target, links.kind, links.known_at]

    @cached_property
    def same_codes(self) -> Mapping[str, Int]:
        """`same` field → (4,) its code for absent, unknown, different, same."""
        return {
            f.name: np.array([0, UNKNOWN, *_places(TRANSFORMS["same"].values, self.categories[f.name])])
            for f in self.task.codes
            if f.transform == "same"
        }

    def batch(self, rows: ArrayLike, fitted: Fitted | None = None) -> Batch:
        """Gather the samples `rows` (B,). Which rows stand together, and in what order, changes no sample's part.

        fitted: what the codes must be aligned to, where the caller wants that checked. Raises TaskError where they are
        not, and DataError on a row that does not exist.
        """
        if fitted is not None and fitted != self.fitted:
            raise TaskError(f"batch of task {self.task.name!r}: category codes are not aligned to the given vocabulary; call aligned first")
        return gather(self, self._checked(rows))

    def event_ids(self, rows: ArrayLike) -> NDArray[np.object_]:
        """(B, L) event_id of each token; None on the leading token and on padding."""
        tokens = self.tokens(rows)
        padded = self.events.id_column.extend_constant(None, 1)
        return padded[tokens.ravel()].to_numpy().reshape(tokens.shape)

    def tokens(self, rows: ArrayLike) -> Int:
        """(B, L) row of `events` of each token; E on the leading token and on padding."""
        return token_events(self.task, event_places(self.windows.values(), self._checked(rows), len(self.events)), len(self.events))

    def aligned(self, fitted: Fitted) -> Sequences:
        """The same samples with category codes of `fitted`'s vocabulary: 0 absent, 1 unknown, 2, 3, … its values.

        Raises TaskError where `fitted` belongs to another task, or these codes are aligned to another vocabulary.
        """
        if fitted.task_sha256 != self.task.sha256:
            raise TaskError(
                f"task {self.task.name!r} has hash {self.task.sha256[:12]}, but fitted belongs to {fitted.task_sha256[:12]}; fit it again"
            )
        if self.fitted is not None and self.fitted != fitted:
            raise TaskError(f"task {self.task.name!r}: sequences are aligned to another vocabulary; align freshly built ones")
        if self.fitted is not None:
            return self
        events, samples = self._translated(self.events, "event", fitted), self._translated(self.samples, "sample", fitted)
        return replace(self, events=events, samples=samples, categories=fitted.vocabulary, fitted=fitted)

    def _translated(self, columns: Columns, side: Side, fitted: Fitted) -> Columns:
        places = told_alone(self.task.codes, side)
        translated = replace(columns, records=columns.records.copy()) if places else columns
        for axis, place in places.items():
            name = self.task.codes[axis].name
            table = np.array([0, UNKNOWN, *_places(self.categories[name], fitted.vocabulary[name])], np.int32)
            translated.codes[:, place] = table[columns.codes[:, place]]
        return translated

    def _checked(self, rows: ArrayLike) -> Int:
        places = np.asarray(rows, np.int64)
        if places.ndim != 1 or (places.size and (places.min() < 0 or places.max() >= len(self))):
            raise DataError(f"batch: rows of shape {places.shape}; expected (B,) numbers from 0 to {len(self) - 1}")
        return places


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _places(values: tuple[str, ...], vocabulary: tuple[str, ...]) -> list[int]:
    """Code of each value in the vocabulary, UNKNOWN where it is not in it."""
    code = {value: FIRST_CODE + place for place, value in enumerate(vocabulary)}
    return [code.get(value, UNKNOWN) for value in values]


def build(prepared: Prepared, task: Task) -> Sequences:
    """Encode every column once and find every window. Samples keep the order of `prepared.samples`.

    `Prepared` has seen to it that a sample's trigger is not known before its as_of: so it stands in none of its windows.
    Raises TaskError where the task asks for columns the data do not have, or compares unlike ones, and DataError where
    values cannot be used.
    """
    events, samples = prepared.events, prepared.samples
    texts = compared_texts(events, samples, task)
    _check_comparisons(task, Reader(events, "event", task, texts), Reader(samples, "sample", task, texts))
    event_part, event_categories = event_columns(events, task, texts)
    sample_part, sample_categories = sample_columns(samples, task, texts)
    links = read_links(prepared.links, events["event_id"])
    ties = events.select([c for c in ("sequence", "event_id") if c in events.columns])
    windows = {h.name: _window(h, prepared, event_part.known_at, sample_part.known_at, links, ties) for h in task.histories}
    per_token = any(t.head in TOKEN_HEADS for t in task.targets)
    tokens = np.zeros((0, task.length), np.int64)
    if per_token:
        tokens = token_events(task, event_places(windows.values(), np.arange(len(samples)), len(events)), len(events))
    return Sequences(
        task=task,
        events=event_part,
        samples=sample_part,
        windows=windows,
        group=_groups(samples, task),
        targets=read_targets(samples, task, tokens, events["event_id"]),
        links=links,
        categories=event_categories | sample_categories,
    )


def _window(history: History, prepared: Prepared, known_at: Int, as_of: Int, links: Links, ties: pl.DataFrame) -> Window:
    event_key, sample_key = key_codes(prepared.events, prepared.samples, history.keys)
    members = Members(row=np.arange(len(known_at)), key=event_key, known_at=known_at)
    if history.links:
        joining = np.isin(links.kind, history.links)
        members = through_links(members, links.source[joining], links.target[joining], links.known_at[joining])
    return as_of_windows(members, ties, key=sample_key, as_of=as_of, length=history.length)


def _groups(samples: pl.DataFrame, task: Task) -> Code:
    if task.group not in samples.columns:
        raise TaskError(f"samples: no column {task.group!r}, the group of task {task.name!r}; found {', '.join(samples.columns)}")
    column = samples[task.group]
    if nulls := column.null_count():
        raise DataError(f"samples, column {task.group}: {nulls} of {len(column)} are null; splits need a group for every sample")
    codes = as_codes(column, distinct(column)) if column.dtype == pl.String else column.rank("dense") - 1  # the same; ranking texts is slow
    return codes.cast(pl.Int32).to_numpy()


def _check_comparisons(task: Task, events: Reader, samples: Reader) -> None:
    """Both sides of a comparison must be of one kind: cents against cents, times against times."""
    for field in task.fields:
        form, _, other = field.against.partition(".")
        if other:
            kind = (events if field.side == "event" else samples).kind(field.column, field)
            against = (samples if form == "sample" else events).kind(other, field)
            if kind != against:
                raise TaskError(f"field {field.name!r}: compares {kind} {field.column!r} with {against} {other!r}; compare like with like")
