"""A stream whose events outlive the process: each is written down before it is answered, and the windows now and then.

    FOLDER/stream.json       of which bundle it is; written first
    FOLDER/state-00000003/   rings of every history, keys, texts; manifest.json with sha256, written last
    FOLDER/log-00000003      every frame of events taken in since, one after the other
Files of other names are left alone.
An event counts once however often it is sent, so that a log that is read again, or a caller who sends again what was never
answered, does no harm.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from trmfin.scoring.folder import locked
from trmfin.scoring.record_log import RecordLog
from trmfin.scoring.rings import Rings
from trmfin.scoring.scores import Scores
from trmfin.scoring.stream import Stream

FORMAT = 2
STATE, LOG, IDENTITY, MANIFEST, TEXTS = "state-", "log-", "stream.json", "manifest.json", "texts.parquet"
OWN = re.compile(rf"({STATE}|{LOG})(\d{{8}})")
FULL = "cannot be written", "free some space and open the stream again"  # failure and advice
GONE = np.dtype([("place", "i8"), ("id", "u8")])


@contextmanager
def lasting(bundle: Bundle, folder: Path) -> Iterator[LastingStream]:
    """The stream that `folder` keeps, a new one where it keeps none; no other process may have it.

    Raises RunError where another has, where the folder is of another bundle, or where a byte of its state or its log has changed.
    """
    make_folder(folder)
    with locked(folder, "another folder", FULL):
        states, logs = (_numbers(folder, kind) for kind in (STATE, LOG))
        _check_bundle(bundle, folder, begun=bool(states or logs))
        number = max((number for number, path in states.items() if (path / MANIFEST).exists()), default=0)
        if lone := [path for found, path in logs.items() if found > number]:
            raise RunError(f"{lone[0]}: follows a state that is missing, expected {STATE}{lone[0].name[-8:]} beside it; put it back")
        stream = Stream(bundle)
        if number:
            read_state(stream, folder / f"{STATE}{number:08d}")
        kept = LastingStream(stream=stream, folder=folder, number=number)
        kept.replay()
        kept.tidy()
        yield kept


def _numbers(folder: Path, kind: str) -> dict[int, Path]:
    """The states or logs of a folder, by number."""
    with reading(folder, RunError):
        found = [(OWN.fullmatch(path.name), path) for path in sorted(folder.iterdir())]
    return {int(own[2]): path for own, path in found if own and own[1] == kind}


def _check_bundle(bundle: Bundle, folder: Path, begun: bool) -> None:
    """Note of which bundle a new folder is, or raise RunError where a begun one is of another."""
    path = folder / IDENTITY
    if path.exists():
        _check_same(read_json(path, RunError), bundle, path)
    elif begun:
        raise RunError(
            f"{folder}: holds states or logs but no {IDENTITY}, which says of what bundle they are; put it back, or choose another folder"
        )
    else:
        write_json({"format": FORMAT, "bundle": bundle.sha256}, path)


def _check_same(found: dict[str, Any], bundle: Bundle, path: Path) -> None:
    if found.get("format") != FORMAT or found.get("bundle") != bundle.sha256:
        raise RunError(
            f"{path}: format {found.get('format')}, of bundle {str(found.get('bundle'))[:12]}; expected format {FORMAT} and bundle "
            f"{bundle.sha256[:12]}; open it with that bundle, or choose another folder"
        )


@dataclass(kw_only=True)
class LastingStream:
    """A `Stream` with its log. `take` and `step` return once their events are on the disk."""

    stream: Stream
    folder: Path
    number: int  # of the state that the log follows; 0 = none yet
    records: RecordLog = field(init=False)

    def __post_init__(self) -> None:
        self.records = RecordLog(path=self.log)

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
        """Write the windows down and begin a new log, so that opening takes no longer the longer the stream has run.

        Nothing calls it but the caller. Raises RunError where it cannot be written; the stream then goes on as it was.
        """
        write_state(self.stream, self.folder / f"{STATE}{self.number + 1:08d}")
        with changing(self.folder, *FULL):
            sync_folder(self.folder)  # names the state for good, before the log that it stands for goes
        self.number += 1
        self.records = RecordLog(path=self.log)
        self.tidy()

    def tidy(self) -> None:
        """Remove what earlier states, or a kill while one was written, have left."""
        for kind, remove in ((STATE, remove_folder), (LOG, remove_file)):
            for number, path in _numbers(self.folder, kind).items():
                if number != self.number:
                    remove(path)

    def replay(self) -> int:
        """Take in what the log holds, and cut off a record that a kill has torn. → records taken in."""
        count = 0
        for body in self.records.records():
            self.stream.take(pl.read_ipc(io.BytesIO(body)))
            count += 1
        return count

    def _write_down(self, events: pl.DataFrame) -> None:
        if events.is_empty():
            return
        buffer = io.BytesIO()
        events.write_ipc(buffer)
        self.records.append(buffer.getvalue())


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
    _check_same(manifest, stream.bundle, folder / MANIFEST)
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
