"""Prepared data a block of samples at a time, each with the events its histories can hold: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trmfin.data.prepared import Prepared, verified
from trmfin.errors import DataError
from trmfin.sequences.task import Task

EVENTS, SAMPLES, LINKS = "events.parquet", "samples.parquet", "links.parquet"
READ = (EVENTS, SAMPLES, LINKS)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A prepared folder whose every byte has been checked, to be read in blocks."""

    folder: Path
    task: Task
    rows: int  # samples
    files: Mapping[str, str]  # what scoring reads of it → sha256
    rejects: int  # raw rows that were refused when it was prepared

    def blocks(self, size: int, skip: Collection[int] = ()) -> Iterator[tuple[int, Prepared]]:
        """Blocks of `size` samples in the order of the file, numbered from 0, without the numbers in `skip`.

        A block's sequences equal the same rows of the whole folder's. Takes one pass over the events' keys a block.
        """
        for number in range(-(-self.rows // size)):
            if number not in skip:
                yield number, self._block(pl.scan_parquet(self.folder / SAMPLES).slice(number * size, size).collect())

    def _block(self, samples: pl.DataFrame) -> Prepared:
        scan = pl.scan_parquet(self.folder / EVENTS)
        wanted = _seen(scan.collect_schema(), samples, self.task)
        if LINKS not in self.files:
            return Prepared(events=_read(scan, wanted), samples=samples)
        links = pl.scan_parquet(self.folder / LINKS)
        near = _read(scan, wanted)
        reached = [
            _read(links, _among(end, near["event_id"]))[far] for end, far in (("from_event", "to_event"), ("to_event", "from_event"))
        ]
        events = _read(scan, _among("event_id", pl.concat([near["event_id"], *reached])))
        held = events["event_id"]
        return Prepared(events=events, samples=samples, links=_read(links, _among("from_event", held) & _among("to_event", held)))


def open_source(folder: Path, task: Task) -> Source:
    """Check a prepared folder, byte by byte. Raises DataError on an altered, newer or missing file, or without samples."""
    manifest = verified(folder)
    if not (rows := manifest["counts"]["samples"]):
        raise DataError(f"{folder / SAMPLES}: has no samples, expected at least one row to score; prepare again")
    files = {name: manifest["files"][name] for name in READ if name in manifest["files"]}
    return Source(folder=folder, task=task, rows=rows, files=files, rejects=manifest["counts"]["rejects"])


def _seen(schema: pl.Schema, samples: pl.DataFrame, task: Task) -> pl.Expr:
    """Which events some history of these samples may hold by its key, and which are the samples' own. May let others pass.

    A history whose key is missing, or of one type here and another there, holds none: sequences name it in their error.
    """
    seen = pl.lit(False)
    for history in task.histories:
        if all(name in schema and schema[name] == samples.schema.get(name) for name in history.keys):
            seen |= pl.all_horizontal(_among(name, samples[name]) for name in history.keys)
    seen &= pl.col("known_at") < samples["as_of"].max()
    return seen | _among("event_id", samples["trigger"]) if "trigger" in samples.columns else seen


def _among(column: str, values: pl.Series) -> pl.Expr:
    """Whether a column's value is one of these."""
    return pl.col(column).is_in(values.drop_nulls().unique().implode())


def _read(scan: pl.LazyFrame, wanted: pl.Expr) -> pl.DataFrame:
    return scan.filter(wanted).collect(engine="streaming")
