"""Parquet files with an index of where each key stands, so that a few rows are read without a pass over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.parquet import ROW_GROUP

CHUNK = ROW_GROUP  # rows: what is read of a file at the least
Key = tuple[str, ...]  # names of its columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """In which chunks of a file each value of a key stands: 12 bytes for a value and a chunk that holds it."""

    hashes: NDArray[np.uint64]  # (K,) of the values, rising
    chunks: NDArray[np.int32]  # (K,)

    @classmethod
    def found(cls, path: Path, key: Key) -> Places:
        """One pass over the key's columns, a chunk at a time."""
        scan = pl.scan_parquet(path)
        count = -(-scan.select(pl.len()).collect().item() // CHUNK)
        parts = [_hashes(scan.slice(chunk * CHUNK, CHUNK).select(key)) for chunk in range(count)]
        hashes = np.concatenate([np.zeros(0, np.uint64), *parts])
        order = np.argsort(hashes)
        chunks = np.repeat(np.arange(count, dtype=np.int32), [len(part) for part in parts])
        return cls(hashes=hashes[order], chunks=chunks[order])

    def chunks_of(self, values: pl.DataFrame) -> set[int]:
        """The chunks that hold any of these values. Two values of one hash may name a chunk in vain, none is left out."""
        wanted = _hashes(values.lazy())
        place, stop = np.searchsorted(self.hashes, wanted, side="left"), np.searchsorted(self.hashes, wanted, side="right")
        found = np.zeros(self.chunks.max(initial=-1) + 1, bool)
        while (left := place < stop).any():
            place, stop = place[left], stop[left]
            found[self.chunks[place]] = True
            place = place + 1
        return set(np.flatnonzero(found).tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class Indexed:
    """A Parquet file and the places of some of its keys."""

    path: Path
    places: Mapping[Key, Places]

    @classmethod
    def by(cls, path: Path, keys: Iterable[Key]) -> Indexed:
        return cls(path=path, places={key: Places.found(path, key) for key in set(keys)})

    def rows(self, wanted: pl.Expr, holding: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """The rows that are wanted, in the order of the file; each must hold some of these values.

        holding: values of keys, the columns called as an indexed key's. Other chunks than those that hold them are not read.
        """
        chunks: set[int] = set()
        for values in holding:
            chunks |= self.places[tuple(values.columns)].chunks_of(values)
        return read_chunks(self.path, chunks, wanted)


def read_chunks(path: Path, chunks: set[int], wanted: pl.Expr) -> pl.DataFrame:
    """The wanted rows of these chunks of a file."""
    scan = pl.scan_parquet(path)
    parts = [scan.slice(first * CHUNK, (stop - first) * CHUNK) for first, stop in _runs(sorted(chunks))]
    return pl.concat(parts or [scan.head(0)]).filter(wanted).collect(engine="streaming")


def _hashes(values: pl.LazyFrame) -> NDArray[np.uint64]:
    """(n,) rising, one per distinct value without a null. Of its text, so that it does not depend on how a file encodes it."""
    texts = values.select(pl.all().cast(pl.String)).drop_nulls().unique()
    return np.sort(texts.select(pl.struct(pl.all()).hash()).collect(engine="streaming").to_series().to_numpy())


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers as first and stop of each run without a gap."""
    first = 0
    for place, number in enumerate(numbers, 1):
        if place == len(numbers) or numbers[place] != number + 1:
            yield numbers[first], number + 1
            first = place
