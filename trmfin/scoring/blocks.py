"""Prepared data a block of samples at a time, each with the events its histories can hold, so that not all are in memory at once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trmfin.data.files import json_bytes, reading
from trmfin.data.prepared import MANIFEST, Prepared, verified
from trmfin.errors import DataError
from trmfin.scoring.places import Indexed, Key
from trmfin.sequences.task import Task

EVENTS, SAMPLES, LINKS = "events.parquet", "samples.parquet", "links.parquet"
READ = (EVENTS, SAMPLES, LINKS)
ENDS = ("from_event", "to_event")
Stamp = tuple[int, int, int]  # inode, size, time of the last change


@dataclass(frozen=True, kw_only=True)
class Source:
    """A prepared folder whose every byte has been checked, to be read in blocks."""

    folder: Path
    task: Task
    rows: int  # samples
    files: Mapping[str, str]  # what scoring reads of it → sha256
    whole: Mapping[str, str]  # every file of it, its manifest too → sha256
    raw: Mapping[str, Mapping[str, Any]]  # raw table → name and sha256 of its file; rows read, accepted, rejected; cells rounded
    stamps: Mapping[str, Stamp]  # of these files, taken before their bytes were checked

    def blocks(self, size: int, skip: Collection[int] = ()) -> Iterator[tuple[int, Prepared]]:
        """Blocks of `size` samples in the order of the file, numbered from 0, without the numbers in `skip`.

        A block's sequences equal the same rows of the whole folder's. What all blocks cost together: one pass over the
        events' keys, whose places stay in memory (12 bytes a key, and 12 an event where there are triggers or links),
        and for each block the chunks of the file that hold its events. Where events lie in the order of the samples that
        ask for them, as prepare leaves them, these are all chunks about once; a key that every block asks for is read
        for every block. Raises DataError where a file is no longer what it was when it was opened.
        """
        with _reading(self.folder):
            samples = pl.scan_parquet(self.folder / SAMPLES)
            keys = _shared_keys(pl.scan_parquet(self.folder / EVENTS).collect_schema(), samples.collect_schema(), self.task)
            linked = LINKS in self.files
            by_id = [("event_id",)] if linked or "trigger" in samples.collect_schema() else []
            events = Indexed.by(self.folder / EVENTS, [*keys, *by_id])
            links = Indexed.by(self.folder / LINKS, [(end,) for end in ENDS]) if linked else None
            for number in range(-(-self.rows // size)):
                if number not in skip:
                    block = _block(samples.slice(number * size, size).collect(), keys, events, links)
                    self._check_unchanged()
                    yield number, block

    def _check_unchanged(self) -> None:
        """Blocks of one call are of the same data: those that were checked when the folder was opened."""
        if _stamps(self.folder) != self.stamps:
            raise DataError(
                f"{self.folder}: was prepared again while it was read, so rows of both would be mixed; score again into another --out"
            )


def open_source(folder: Path, task: Task) -> Source:
    """Check a prepared folder, byte by byte. Raises DataError on an altered, newer or missing file, or without samples."""
    with reading(folder, DataError):
        stamps = _stamps(folder)
    manifest = verified(folder)
    if not (rows := manifest["counts"]["samples"]):
        raise DataError(f"{folder / SAMPLES}: has no samples, expected at least one row to score; prepare again")
    files = {name: manifest["files"][name] for name in READ if name in manifest["files"]}
    whole = manifest["files"] | {MANIFEST: hashlib.sha256(json_bytes(manifest)).hexdigest()}  # whose bytes `verified` compared
    rounded = manifest.get("rounded", {})
    raw = {item["table"]: _raw(item, rounded.get(item["table"], {})) for item in manifest.get("inputs", ())}
    return Source(folder=folder, task=task, rows=rows, files=files, whole=whole, raw=raw, stamps=stamps)


def _raw(item: Mapping[str, Any], rounded: Mapping[str, int]) -> dict[str, Any]:
    same = {key: item[key] for key in ("name", "sha256", "accepted", "rejected")}
    return same | {"read": item["rows_read"], "rounded": sum(rounded.values())}


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Which files there are, and what changes where one is written again."""
    found = {name: (folder / name).stat() for name in READ if (folder / name).exists()}
    return {name: (about.st_ino, about.st_size, about.st_mtime_ns) for name, about in found.items()}


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{folder}: was changed while it was read ({said}); leave it alone while it is scored, prepare it again") from error


def _shared_keys(events: pl.Schema, samples: pl.Schema, task: Task) -> list[Key]:
    """Keys of histories that both tables have.

    One that is missing, or of one type here and another there, is left out: sequences name it in their error.
    """
    keys = dict.fromkeys(history.keys for history in task.histories)
    return [key for key in keys if all(name in events and events[name] == samples.get(name) for name in key)]


def _block(samples: pl.DataFrame, keys: list[Key], events: Indexed, links: Indexed | None) -> Prepared:
    near = events.rows(_seen(samples, keys), _asked(samples, keys))
    if links is None:
        return Prepared(events=near, samples=samples)
    ids = near["event_id"]
    reached = [links.rows(_among(end, ids), [ids.to_frame(end)])[far] for end, far in (ENDS, ENDS[::-1])]
    held = pl.concat([ids, *reached]).unique()
    both = pl.all_horizontal(_among(end, held) for end in ENDS)
    return Prepared(
        events=events.rows(_among("event_id", held), [held.to_frame("event_id")]),
        samples=samples,
        links=links.rows(both, [held.to_frame(ENDS[0])]),
    )


def _asked(samples: pl.DataFrame, keys: list[Key]) -> Iterator[pl.DataFrame]:
    """What the samples ask for: the values of each key, and events by their id."""
    yield from (samples.select(key) for key in keys)
    if "trigger" in samples.columns:
        yield samples.select(event_id="trigger")


def _seen(samples: pl.DataFrame, keys: list[Key]) -> pl.Expr:
    """Which events some history of these samples may hold by its key, and which are the samples' own. May let others pass."""
    seen = pl.lit(False)
    for key in keys:
        seen |= pl.all_horizontal(_among(name, samples[name]) for name in key)
    seen &= pl.col("known_at") < samples["as_of"].max()
    return seen | _among("event_id", samples["trigger"]) if "trigger" in samples.columns else seen


def _among(column: str, values: pl.Series) -> pl.Expr:
    """Whether a column's value is one of these."""
    return pl.col(column).is_in(values.drop_nulls().unique().implode())
