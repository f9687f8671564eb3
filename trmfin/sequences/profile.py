"""Profiles: how the cells that a network sees fall into bins, field by field. Counts of parts add up to the counts of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import BundleError, DataError, TaskError
from trmfin.sequences.batch import Batch, token_tags, window_tags
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.task import Field, Task
from trmfin.sequences.transforms import TRANSFORMS

SAMPLE = "sample"  # where fields of the leading token are, one cell a sample
SHARES = 10  # that bins part a number's cells of training into, about equal ones
WORDS = 24  # of a vocabulary that have a bin each, the most frequent ones; enough for the hours of a day
TOKENS = 2**17  # gathered at once, those without a token of their own included
Int = NDArray[np.int64]
Count = Callable[[Batch], Int]  # a batch → how many cells each bin has, and last how many are missing


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one field in one place. Cells exist where a token is, not on padding; `counts` and `missing` are all of them."""

    field: str
    at: str  # SAMPLE, or the history whose events have it
    transform: str  # what edges are under
    edges: tuple[float, ...] = ()  # of numbers, rising: bins lie below the first, from each up to the next, and from the last on
    words: tuple[str, ...] = ()  # of categories: a bin each, then one for the rest of the vocabulary and one for what is unknown to it
    counts: tuple[int, ...]
    missing: int = 0

    def __post_init__(self) -> None:
        bins = len(self.words) + 2 if self.is_code else len(self.edges) + 1
        if len(self.counts) != bins or list(self.edges) != sorted(set(self.edges)):
            raise BundleError(
                f"profile: field {self.field!r} has {len(self.counts)} counts and edges {list(self.edges)[:3]}…; "
                f"expected {bins} counts and rising edges; copy the bundle again"
            )

    @property
    def is_code(self) -> bool:
        """Whether bins are of categories, not of numbers."""
        return TRANSFORMS[self.transform].gives == "code"

    @property
    def total(self) -> int:
        return sum(self.counts) + self.missing


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cells of every field of a task, over some samples."""

    samples: int
    cells: tuple[Cells, ...]  # in the task's order of fields, then of histories

    def __add__(self, other: Profile) -> Profile:
        """The profile of both together. Raises DataError where they have other bins."""
        if not self.fits(other):
            raise DataError("profile: the two have other fields or bins; add up profiles of one bundle only")
        return self.with_counts(self.samples + other.samples, [a + b for a, b in zip(self.table, other.table, strict=True)])

    @property
    def table(self) -> list[Int]:
        """For each of `cells`, its counts, and last the missing."""
        return [np.array([*cells.counts, cells.missing], np.int64) for cells in self.cells]

    @property
    def named(self) -> list[tuple[str, str, str]]:
        """For each of `cells`, its field, place and transform."""
        return [(cells.field, cells.at, cells.transform) for cells in self.cells]

    def with_counts(self, samples: int, table: list[Int]) -> Profile:
        """The same bins with other counts, in the form of `table`."""
        cells = [
            replace(cells, counts=tuple(counts[:-1].tolist()), missing=int(counts[-1]))
            for cells, counts in zip(self.cells, table, strict=True)
        ]
        return Profile(samples=samples, cells=tuple(cells))

    @property
    def emptied(self) -> Profile:
        """The same bins of no sample."""
        return self.with_counts(0, [np.zeros_like(counts) for counts in self.table])

    def fits(self, other: Profile) -> bool:
        """Whether both have the same fields and bins."""
        return self.emptied == other.emptied

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Profile.from_json` gives an equal one back."""
        return {"samples": self.samples, "fields": [{k: v for k, v in asdict(cells).items() if v != ()} for cells in self.cells]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Profile:
        """Inverse of `to_json`. Raises BundleError on what is none."""
        try:
            fields: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in item.items()} for item in data["fields"]]
            return cls(samples=int(data["samples"]), cells=tuple(Cells(**item) for item in fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"profile: cannot be read ({error!r}); copy the bundle, or score again into another folder") from error


def profile(sequences: Sequences, rows: Int) -> Profile:
    """Of training samples `rows`, in bins made for them. sequences: aligned.

    Edges are some of `fitted`'s, so chosen that a number's cells fall into about SHARES bins of equal mass; below the lowest and above the
    highest fitted value lies a bin of its own, as yet empty or nearly so. Raises TaskError where sequences are not aligned.
    """
    if sequences.fitted is None:
        raise TaskError(f"profile of task {sequences.task.name!r}: category codes are not aligned to a vocabulary; call aligned first")
    fine = counted(sequences, rows, finest(sequences.task, sequences.fitted))
    return replace(fine, cells=tuple(_coarse_words(cells) if cells.is_code else _coarse_edges(cells) for cells in fine.cells))


def counted(sequences: Sequences, rows: Int, like: Profile) -> Profile:
    """Of samples `rows`, in the bins of `like`; what the network sees is counted. sequences: aligned as those that `like` is of."""
    table = [np.zeros_like(counts) for counts in like.table]
    readers = [_reader(sequences, cells) for cells in like.cells]
    size = max(TOKENS // (1 + len(window_tags(sequences.task))), 1)
    for first in range(0, len(rows), size):
        batch = sequences.batch(rows[first : first + size])
        for total, read in zip(table, readers, strict=True):
            total += read(batch)
    return like.with_counts(len(rows), table)


def finest(task: Task, fitted: Fitted) -> Profile:
    """The finest bins that training knows, of no sample: every edge, every word, and an edge just above the highest."""
    cells: list[Cells] = []
    for field in task.fields:
        edges, words = _all_edges(fitted.edges.get(field.name, ())), fitted.vocabulary.get(field.name, ())
        bins = len(words) + 2 if field.is_code else len(edges) + 1
        for at in _places(task, field):
            cells.append(Cells(field=field.name, at=at, transform=field.transform, edges=edges, words=words, counts=(0,) * bins))
    return Profile(samples=0, cells=tuple(cells))


def _places(task: Task, field: Field) -> list[str]:
    return [SAMPLE] if field.leading else [history.name for history in task.histories]


def _all_edges(edges: tuple[float, ...]) -> tuple[float, ...]:
    above = [float(np.nextafter(np.float32(edge), np.float32(np.inf))) for edge in edges[-1:]]
    return (*edges, *(edge for edge in above if np.isfinite(edge)))


def _reader(sequences: Sequences, cells: Cells) -> Count:
    """How one batch's cells of a field in a place are counted."""
    task, tags = sequences.task, token_tags(sequences.task)
    tag = 0 if cells.at == SAMPLE else 1 + [history.name for history in task.histories].index(cells.at)
    where = slice(*np.searchsorted(tags, (tag, tag + 1)).tolist())
    axis = [field.name for field in (task.codes if cells.is_code else task.numbers)].index(cells.field)
    if cells.is_code:
        bins = _bin_of_code(cells, sequences.categories[cells.field])
        return lambda batch: _counts_of_codes(batch.codes[:, where, axis][batch.mask[:, where]], bins, len(cells.counts) + 1)
    edges = np.array(cells.edges, np.float32)
    return lambda batch: _counts_of_numbers(batch.numbers[:, where, axis][batch.mask[:, where]], edges)


def _bin_of_code(cells: Cells, vocabulary: tuple[str, ...]) -> Int:
    """(2 + V,) the bin of each code: absent ones count as missing, which is last of all."""
    other, place = len(cells.words), {word: index for index, word in enumerate(cells.words)}
    return np.array([other + 2, other + 1, *(place.get(word, other) for word in vocabulary)], np.int64)


def _counts_of_codes(codes: Int, bins: Int, length: int) -> Int:
    counts = np.zeros(length, np.int64)
    np.add.at(counts, bins, np.bincount(codes, minlength=len(bins)))
    return counts


def _counts_of_numbers(values: NDArray[np.float32], edges: NDArray[np.float32]) -> Int:
    present = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(present))


def _coarse_edges(cells: Cells) -> Cells:
    """The lowest and the highest edge, and between them those nearest to equal shares of the cells that are present."""
    counts, last = np.array(cells.counts), len(cells.edges) - 1
    below = counts.cumsum()[:-1] / max(counts.sum(), 1)  # share of cells below each edge
    wanted = np.arange(1, SHARES) / SHARES
    inner = 1 + np.abs(below[1:last] - wanted[:, None]).argmin(1) if last > 1 else np.zeros(0, np.int64)
    kept = np.unique([0, last, *inner])
    merged = np.add.reduceat(counts, [0, *(kept + 1)])
    return replace(cells, edges=tuple(cells.edges[place] for place in kept), counts=tuple(merged.tolist()))


def _coarse_words(cells: Cells) -> Cells:
    """The most frequent words; the others are one bin."""
    counts = np.array(cells.counts[: len(cells.words)], np.int64)
    kept = np.sort(np.argsort(-counts, kind="stable")[:WORDS])
    other = int(counts.sum() - counts[kept].sum()) + cells.counts[-2]
    return replace(cells, words=tuple(cells.words[place] for place in kept), counts=(*counts[kept].tolist(), other, cells.counts[-1]))
