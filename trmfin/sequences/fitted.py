"""Fitted: the little that is learnt from training rows before any weight is: bin edges and vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import BundleError, ConfigError, DataError, TaskError
from trmfin.sequences.columns import FIRST_CODE
from trmfin.sequences.splitting import split_edges

if TYPE_CHECKING:
    from trmfin.sequences.sequences import Sequences

FORMAT = 1
EDGE_ROWS = 50_000  # training rows that quantiles are taken of, at most
EDGE_TOKENS = 2_000_000  # and their tokens: bounds the memory of long sequences
CHUNK = 4096  # rows gathered at once
SPLIT_ROWS = 6  # on both sides of a split, at least
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Bin edges of number fields and vocabularies of category fields, of training rows only. Saved as `fitted.json`."""

    edges: Mapping[str, tuple[float, ...]]  # number field → increasing float32 values, at least one
    vocabulary: Mapping[str, tuple[str, ...]]  # category field → values of codes 2, 3, …
    fit_until: str  # ISO time of the latest as_of it has seen
    task_sha256: str

    @classmethod
    def fit(cls, sequences: Sequences, rows: NDArray[np.int64], bins: int, splits: int = 0) -> Fitted:
        """Learn from the training rows alone; the same for any order of them.

        bins: quantile bins of a number field, at most; equal edges merge, so a constant field has one edge, and one
        that is always absent the single edge 0. splits: of each number of the leading token, at most, where the primary
        target changes along it; of binary targets, the rows whose target is known. Edges come from at most EDGE_ROWS evenly
        spaced rows, vocabularies from all.
        Raises DataError without rows, ConfigError below one bin and where splits would do nothing, TaskError on sequences that are
        aligned already.
        """
        rows = np.unique(np.asarray(rows, np.int64))
        if bins < 1:
            raise ConfigError(f"fitted: {bins} bins; a number field needs at least 1")
        if not len(rows):
            raise DataError("fitted: no training rows; bin edges and vocabularies are learnt from at least one")
        if sequences.fitted is not None:
            raise TaskError(f"task {sequences.task.name!r}: sequences are aligned to a vocabulary already; fit freshly built ones")
        if splits and sequences.task.target(sequences.task.primary).head != "binary":
            raise ConfigError(f"fitted: {splits} splits; only a binary primary target says where to split, so leave it at 0")
        if splits and not any(field.leading for field in sequences.task.numbers):
            raise ConfigError(
                f"fitted: {splits} splits; no number of task {sequences.task.name!r} stands on the leading token, so leave it at 0"
            )
        until = EPOCH + timedelta(microseconds=int(sequences.as_of[rows].max()))
        return cls(
            edges=_edges(sequences, rows, bins, splits),
            vocabulary=_vocabulary(sequences, rows),
            fit_until=until.isoformat(),
            task_sha256=sequences.task.sha256,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Fitted.from_json` gives an equal one back."""
        return {
            "edges": {name: list(edges) for name, edges in self.edges.items()},
            "vocabulary": {name: list(values) for name, values in self.vocabulary.items()},
            "fit_until": self.fit_until,
            "task_sha256": self.task_sha256,
            "format": FORMAT,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Fitted:
        """Inverse of `to_json`. Raises BundleError on missing or unknown keys, on edges that do not rise, and on a newer format."""
        expected = {"edges", "vocabulary", "fit_until", "task_sha256", "format"}
        if not isinstance(data, dict) or set(data) != expected:
            raise BundleError(f"fitted: keys {sorted(data)}; expected {sorted(expected)}")
        if not isinstance(data["format"], int) or data["format"] > FORMAT:
            raise BundleError(f"fitted: format {data['format']!r} is newer than {FORMAT}, the newest this version reads; update trmfin")
        try:
            edges = {name: tuple(float(e) for e in values) for name, values in data["edges"].items()}
            vocabulary = {name: tuple(str(v) for v in values) for name, values in data["vocabulary"].items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise BundleError(f"fitted: edges and vocabulary must be lists by field name ({error})") from error
        for name, values in edges.items():
            if not values or not all(a < b for a, b in zip(values, values[1:], strict=False)):
                raise BundleError(f"fitted: edges of {name!r} are {list(values)[:4]}…; expected at least one number, increasing")
        return cls(edges=edges, vocabulary=vocabulary, fit_until=str(data["fit_until"]), task_sha256=str(data["task_sha256"]))


def _edges(sequences: Sequences, rows: NDArray[np.int64], bins: int, splits: int) -> dict[str, tuple[float, ...]]:
    fields, L = sequences.task.numbers, sequences.task.length
    count = max(min(EDGE_ROWS, EDGE_TOKENS // L), 1)
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    values = np.empty((len(fields), len(rows), L), np.float32)
    for first in range(0, len(rows), CHUNK):
        values[:, first : first + CHUNK] = np.moveaxis(sequences.batch(rows[first : first + CHUNK]).numbers, 2, 0)
    levels = np.linspace(0, 1, bins + 1)
    edges = {}
    for axis, field in enumerate(fields):
        present = values[axis][~np.isnan(values[axis])].astype(np.float64)
        found = np.unique(np.quantile(present, levels).astype(np.float32)) if present.size else np.zeros(1, np.float32)
        if splits and field.leading:
            y = sequences.targets.values[sequences.task.primary][rows]
            told = ~np.isnan(values[axis, :, 0]) & ~np.isnan(y)
            found = np.union1d(found, split_edges(values[axis, told, 0], y[told].astype(np.float64), splits, SPLIT_ROWS))
        edges[field.name] = tuple(float(e) for e in found)
    return edges


def _vocabulary(sequences: Sequences, rows: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
    fields = sequences.task.codes
    seen = {field.name: np.zeros(len(sequences.categories[field.name]) + FIRST_CODE, bool) for field in fields}
    for first in range(0, len(rows) if fields else 0, CHUNK):
        codes = sequences.batch(rows[first : first + CHUNK]).codes
        for axis, field in enumerate(fields):
            seen[field.name][codes[..., axis].ravel()] = True
    known = {field.name: zip(sequences.categories[field.name], seen[field.name][FIRST_CODE:], strict=True) for field in fields}
    return {name: tuple(value for value, there in values if there) for name, values in known.items()}
