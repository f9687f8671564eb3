"""Prepared data a block of samples at a time, each with the events its histories can hold: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trmfin.data.prepared import Prepared, verified
from trmfin.errors import DataError
from trmfin.sequences.task import History, Task

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

        A block's sequences equal the same rows of the whole folder's. One pass over the events a block, of which row
        groups that hold none of its keys are not read: sort events by key where there are very many.
        """
        for number in range(-(-self.rows // size)):
            if number not in skip:
                yield number, self._block(pl.scan_parquet(self.folder / SAMPLES).slice(number * size, size).collect())

    def _block(self, samples: pl.DataFrame) -> Prepared:
        events = _events(pl.scan_parquet(self.folder / EVENTS), samples, self.task)
        if LINKS not in self.files:
            return Prepared(events=events, samples=samples)
        links = pl.scan_parquet(self.folder / LINKS)
        near = events.lazy().select("event_id")
        reached = pl.concat(
            links.join(near, left_on=end, right_on="event_id", how="semi").select(pl.col(far).alias("event_id"))
            for end, far in (("from_event", "to_event"), ("to_event", "from_event"))
        )
        further = pl.scan_parquet(self.folder / EVENTS).join(reached, on="event_id", how="semi").collect(engine="streaming")
        events = pl.concat((events, further)).unique("event_id", maintain_order=True)
        held = events.lazy().select("event_id")
        for end in ("from_event", "to_event"):
            links = links.join(held, left_on=end, right_on="event_id", how="semi")
        return Prepared(events=events, samples=samples, links=links.collect(engine="streaming"))


def open_source(folder: Path, task: Task) -> Source:
    """Check a prepared folder, byte by byte. Raises DataError on an altered, newer or missing file, or without samples."""
    manifest = verified(folder)
    if not (rows := manifest["counts"]["samples"]):
        raise DataError(f"{folder / SAMPLES}: has no samples, expected at least one row to score; prepare again")
    files = {name: manifest["files"][name] for name in READ if name in manifest["files"]}
    return Source(folder=folder, task=task, rows=rows, files=files, rejects=manifest["counts"]["rejects"])


def _events(events: pl.LazyFrame, samples: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The events that some history of these samples can hold by its key, and the samples' own."""
    schema = events.collect_schema()
    known = events.filter(pl.col("known_at") < samples["as_of"].max())
    parts = [_of_history(known, schema, samples, history) for history in task.histories]
    if "trigger" in samples.columns:
        parts.append(events.join(samples.lazy().select(event_id="trigger"), on="event_id", how="semi"))
    found = [part.collect(engine="streaming") for part in parts or [events.clear()]]
    return found[0] if len(found) == 1 else pl.concat(found).unique("event_id", maintain_order=True)


def _of_history(events: pl.LazyFrame, schema: pl.Schema, samples: pl.DataFrame, history: History) -> pl.LazyFrame:
    """Events whose key is that of a sample. Where a key column is missing none: sequences name it in their error."""
    if not set(history.keys) <= set(schema) & set(samples.columns):
        return events.clear()
    keys = samples.select(history.keys).drop_nulls().unique()
    for name in history.keys:
        if schema[name] == keys.schema[name] and len(keys):  # lets Parquet skip row groups without a key of this block
            events = events.filter(pl.col(name).is_between(pl.lit(keys[name].min()), pl.lit(keys[name].max())))
    text = [pl.col(name).cast(pl.String) for name in history.keys]  # as sequences compare keys
    return events.join(keys.lazy(), left_on=text, right_on=text, how="semi")
