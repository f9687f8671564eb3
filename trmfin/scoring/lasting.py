"""A stream whose events outlive the process: each is written down before it is answered, and the windows now and then.

    FOLDER/state-00000003/   rings of every history, keys, texts; manifest.json with sha256, written last
    FOLDER/log-00000003      every frame of events taken in since, one after the other
An event counts once however often it is sent, so that a log that is read again, or a caller who sends again what was never
answered, does no harm.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.files import (
    changing,
    make_folder,
    read_json,
    read_parquet,
    reading,
    remove_file,
    remove_folder,
    replacing,
    sha256_of,
    sync_folder,
    write_json,
    write_parquet,
)
from trmfin.errors import RunError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.folder import FULL, locked
from trmfin.scoring.rings import Rings
from trmfin.scoring.scores import Scores
from trmfin.scoring.stream import Stream

FORMAT = 2
STATE, LOG, MANIFEST, TEXTS = "state-", "log-", "manifest.json", "texts.parquet"
DIGEST = 16  # bytes of each record's hash
HEAD = 8 + DIGEST
GONE = np.dtype([("place", "i8"), ("id", "u8")])


@contextmanager
def lasting(bundle: Bundle, folder: Path) -> Iterator[LastingStream]:
    """The stream that `folder` keeps, a new one where it keeps none; no other process may have it.

    Raises RunError where another has, where the folder is of another bundle, or where a byte of its state has changed.
    """
    make_folder(folder)
    with locked(folder):
        states = folder.glob(f"{STATE}*")
        number = max((int(path.name.removeprefix(STATE)) for path in states if (path / MANIFEST).exists()), default=0)
        stream = Stream(bundle)
        if number:
            read_state(stream, folder / f"{STATE}{number:08d}")
        kept = LastingStream(stream=stream, folder=folder, number=number)
        kept.replay()
        kept.tidy()
        yield kept


@dataclass(kw_only=True)
class LastingStream:
    """A `Stream` with its log. `take` and `step` return once their events are on the disk."""

    stream: Stream
    folder: Path
    number: int  # of the state that the log follows; 0 = none yet

    @property
    def log(self) -> Path:
        return self.folder / f"{LOG}{self.number:08d}"

    def take(self, events: pl.DataFrame) -> None:
        """As `Stream.take`."""
        coming = self.stream.read(events)  # first: what cannot be used must not stand in the log, which is read again
        self._write_down(events)
        self.stream.put(coming)

    def step(self, events: pl.DataFrame, samples: pl.DataFrame) -> Scores:
        """As `Stream.step`."""
        coming = self.stream.read(events, samples)
        self._write_down(events)
        return self.stream.answer(coming)

    def checkpoint(self) -> None:
        """Write the windows down and begin a new log, so that opening takes no longer the longer the stream has run."""
        write_state(self.stream, self.folder / f"{STATE}{self.number + 1:08d}")
        self.number += 1
        self.tidy()

    def tidy(self) -> None:
        """Remove what earlier states, or a kill while one was written, have left."""
        for path in self.folder.glob(f"{STATE}*"):
            if path.name != f"{STATE}{self.number:08d}":
                remove_folder(path)
        for path in self.folder.glob(f"{LOG}*"):
            if path != self.log:
                remove_file(path)

    def replay(self) -> int:
        """Take in what the log holds, and cut off a record that a kill has torn. → records taken in."""
        with reading(self.folder, RunError):
            data = self.log.read_bytes() if self.log.exists() else b""
        place, count = 0, 0
        while (whole := _record(data, place)) is not None:
            self.stream.take(pl.read_ipc(io.BytesIO(whole)))
            place, count = place + HEAD + len(whole), count + 1
        if place < len(data):
            with changing(self.log, *FULL), self.log.open("r+b") as file:
                file.truncate(place)
                os.fsync(file.fileno())
        return count

    def _write_down(self, events: pl.DataFrame) -> None:
        if events.is_empty():
            return
        buffer = io.BytesIO()
        events.write_ipc(buffer)
        body = buffer.getvalue()
        new = not self.log.exists()
        with changing(self.log, *FULL):
            with self.log.open("ab") as file:
                file.write(len(body).to_bytes(8, "little") + _digest(body) + body)
                file.flush()
                os.fsync(file.fileno())
            if new:
                sync_folder(self.folder)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST).digest()


def _record(data: bytes, place: int) -> bytes | None:
    """The record at this place, None where there is none or it is torn."""
    head = data[place : place + HEAD]
    body = data[place + HEAD : place + HEAD + int.from_bytes(head[:8], "little")]
    return body if len(head) == HEAD and len(body) == int.from_bytes(head[:8], "little") and _digest(body) == head[8:] else None


def write_state(stream: Stream, folder: Path) -> None:
    """Write a stream's windows, keys and texts; the manifest last."""
    remove_folder(folder)
    make_folder(folder)
    for name, rings in stream.rings.items():
        with replacing(folder / f"{name}.npy") as file:
            np.save(file, np.zeros(0, rings.dtype))  # tells the type where no key has come yet
            np.save(file, np.array([(place, one) for place, ids in rings.gone.items() for one in sorted(ids)], GONE))
            for arrays in zip(rings.blocks, rings.counts, rings.lost, strict=True):
                for array in arrays:
                    np.save(file, array)
        keys = pl.DataFrame(list(rings.places), schema=dict.fromkeys(rings.history.keys, pl.String), orient="row")
        write_parquet(keys, folder / f"{name}.parquet")
    write_parquet(pl.DataFrame({"text": list(stream.texts)}, schema={"text": pl.String}), folder / TEXTS)
    files = {path.name: sha256_of(path, RunError) for path in sorted(folder.iterdir())}
    write_json({"format": FORMAT, "bundle": stream.bundle.sha256, "files": files}, folder / MANIFEST)


def read_state(stream: Stream, folder: Path) -> None:
    """Fill an empty stream with what `write_state` wrote. Raises RunError where it is of another bundle, or was altered."""
    manifest = read_json(folder / MANIFEST, RunError)
    if manifest.get("format") != FORMAT or manifest.get("bundle") != stream.bundle.sha256:
        raise RunError(
            f"{folder}: format {manifest.get('format')}, of bundle {str(manifest.get('bundle'))[:12]}; expected format {FORMAT} and bundle "
            f"{stream.bundle.sha256[:12]}; open it with that bundle, or choose another folder"
        )
    for name, digest in manifest["files"].items():
        if sha256_of(folder / name, RunError) != digest:
            raise RunError(
                f"{folder / name}: is not what {MANIFEST} says (sha256 differs), it was altered; take the events in again elsewhere"
            )
    stream.texts.update({text: place for place, text in enumerate(read_parquet(folder / TEXTS, RunError)["text"])})
    for history in stream.bundle.task.histories:
        path, parts = folder / f"{history.name}.npy", list[NDArray[Any]]()
        if path.name not in manifest["files"]:  # of a stream to which nothing had come
            continue
        with reading(path, RunError), path.open("rb") as file:
            while file.tell() < path.stat().st_size:
                parts.append(np.load(file))
        keys = read_parquet(folder / f"{history.name}.parquet", RunError)
        places = {key: place for place, key in enumerate(keys.iter_rows())}
        empty, gone, *arrays = parts
        rings = Rings(history=history, dtype=empty.dtype, places=places, blocks=arrays[::3], counts=arrays[1::3], lost=arrays[2::3])
        for place, one in gone.tolist():
            rings.gone.setdefault(place, set()).add(one)
        stream.rings[history.name] = rings
