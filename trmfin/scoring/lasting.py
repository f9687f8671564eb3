"""A stream whose events outlive the process: each is written down before it is answered, and the windows now and then.

    FOLDER/stream.json       of which bundle it is
    FOLDER/log-00000003      frames of events taken in, one after the other; begun, and on the disk, before the state of its number is
    FOLDER/state-00000003/   what came of all that logs of lower numbers hold: rings of every history, keys, texts; manifest.json with
                             sha256, written last
Events are written to the newest log. Opening reads the newest state that has its manifest, none being state 0, and every log from its
number on. So it does not matter whether a checkpoint failed, where, or what is left of it: with its state or without, what is
read is the same. Older states and logs go once the disk has the new state for good. Files of other names are left alone.
An event counts once however often it is sent, so that a log that is read again, or a caller who sends again what was never
answered, does no harm.
"""

from __future__ import annotations

import io
import re
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
from trmfin.errors import RunError, TrmfinError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.folder import locked
from trmfin.scoring.record_log import RecordLog
from trmfin.scoring.rings import Rings
from trmfin.scoring.scores import Scores
from trmfin.scoring.stream import Stream

FORMAT = 3
STATE, LOG, IDENTITY, MANIFEST, TEXTS = "state-", "log-", "stream.json", "manifest.json", "texts.parquet"
OWN = re.compile(rf"({STATE}|{LOG})(\d{{8}})")
FULL = "cannot be written", "free some space and open the stream again"  # failure and advice
GONE = np.dtype([("place", "i8"), ("id", "u8")])
TOGETHER = 1024  # events of a log that are taken in at once
INTERRUPTED, CLOSED = "was interrupted while it took events in, which its windows may hold in part", "was closed"


@contextmanager
def lasting(bundle: Bundle, folder: Path) -> Iterator[LastingStream]:
    """The stream that `folder` keeps, a new one where it keeps none; no other process may have it.

    Raises RunError where another has, where the folder is of another bundle, where a state or a log is missing, or where a byte of
    one has changed.
    """
    _make_lasting(folder)
    with locked(folder, "another folder", FULL):
        states, logs = (_numbers(folder, kind) for kind in (STATE, LOG))
        if not (folder / IDENTITY).exists():
            _begin(bundle, folder, states, logs)
            logs = _numbers(folder, LOG)
        _check_same(read_json(folder / IDENTITY, RunError), bundle, folder / IDENTITY)
        state = max((number for number, path in states.items() if (path / MANIFEST).exists()), default=0)
        newest = max([state, *logs])
        _check_logs(folder, logs, state, newest)
        stream = Stream(bundle)
        if state:
            read_state(stream, states[state])
        records = [RecordLog(path=logs[number]) for number in range(state, newest + 1)]
        for log in records:
            replay(stream, log, last=log is records[-1])
        kept = LastingStream(stream=stream, folder=folder, records=records[-1])
        kept.tidy(state)
        try:
            yield kept
        finally:
            kept.stopped = CLOSED


def _make_lasting(folder: Path) -> None:
    """Make a folder where it is missing; the disk then names it."""
    with changing(folder, *FULL):
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        make_folder(folder)
        for one in made:
            sync_folder(one.parent)


def _numbers(folder: Path, kind: str) -> dict[int, Path]:
    """The states or logs of a folder, by number."""
    with reading(folder, RunError):
        found = [(OWN.fullmatch(path.name), path) for path in sorted(folder.iterdir())]
    return {int(own[2]): path for own, path in found if own and own[1] == kind}


def _begin(bundle: Bundle, folder: Path, states: dict[int, Path], logs: dict[int, Path]) -> None:
    """Begin the first log of a new folder, then note of which bundle it is. Raises RunError where the folder is not new."""
    with reading(folder, RunError):
        if states or any(number or path.stat().st_size for number, path in logs.items()):
            raise RunError(
                f"{folder}: holds states or logs but no {IDENTITY}, which says of what bundle they are; put it back, or choose another"
            )
    RecordLog(path=folder / f"{LOG}{0:08d}").begin()
    write_json({"format": FORMAT, "bundle": bundle.sha256}, folder / IDENTITY)


def _check_logs(folder: Path, logs: dict[int, Path], state: int, newest: int) -> None:
    """Raise RunError where not every log is there whose events the state does not hold."""
    for number in range(state, newest + 1):
        if number not in logs:
            later = min((found for found in logs if found > number), default=None)
            other = f", or {STATE}{later:08d}, which holds what came of it" if later else ""
            raise RunError(f"{folder}: {LOG}{number:08d} is missing{other}; put it back, or take all events in again in another folder")


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
    records: RecordLog  # the newest log, to which events are written
    stopped: str = ""  # why nothing more is taken in; "" = nothing stands in the way

    @property
    def log(self) -> Path:
        return self.records.path

    def take(self, events: pl.DataFrame) -> None:
        """As `Stream.take`."""
        self._check_going()
        coming = self.stream.read(events)  # first: what cannot be used must not stand in the log, which is read again
        with self._written_down(events):
            self.stream.put(coming)

    def step(self, events: pl.DataFrame, samples: pl.DataFrame) -> Scores:
        """As `Stream.step`."""
        self._check_going()
        coming = self.stream.read(events, samples)
        with self._written_down(events):
            asked = self.stream.asked(coming)
        return self.stream.score(asked)

    def checkpoint(self) -> None:
        """Begin a new log and write the windows down, so that opening takes no longer the longer the stream has run.

        Nothing calls it but the caller. Raises RunError where it cannot be written; the stream goes on, and nothing is lost.
        """
        self._check_going()
        if self.records.torn:
            self.records.cut()
        number = int(self.log.name.removeprefix(LOG)) + 1
        new = RecordLog(path=self.folder / f"{LOG}{number:08d}")
        new.begin()
        self.records = new  # from here on no older log is written to: the state is of what they hold, whether it counts or not
        for path in _numbers(self.folder, STATE).values():
            if not (path / MANIFEST).exists():  # left by a checkpoint that failed
                remove_folder(path)
        write_state(self.stream, self.folder / f"{STATE}{number:08d}")
        self.tidy(number)

    def tidy(self, state: int) -> None:
        """Remove all other states, and the logs whose events this one holds, once the disk names it."""
        with changing(self.folder, *FULL):
            if state:
                sync_folder(self.folder / f"{STATE}{state:08d}")
            sync_folder(self.folder)
        for number, path in _numbers(self.folder, STATE).items():
            if number != state:
                remove_folder(path)
        for number, path in _numbers(self.folder, LOG).items():
            if number < state:
                remove_file(path)

    def _check_going(self) -> None:
        if self.stopped:
            raise RunError(f"{self.folder}: the stream {self.stopped}; open it again, and send again what was not answered")

    @contextmanager
    def _written_down(self, events: pl.DataFrame) -> Iterator[None]:
        """Write events to the log; what is done within takes them into the windows."""
        buffer = io.BytesIO()
        events.write_ipc_stream(buffer)
        self.stopped = INTERRUPTED
        try:
            if not events.is_empty():
                self.records.append(buffer.getvalue())
            yield
        except TrmfinError:  # either nothing is written, or a question was refused: then the windows hold the events too
            self.stopped = ""
            raise
        self.stopped = ""


def replay(stream: Stream, log: RecordLog, last: bool) -> None:
    """Take in what a log holds, many records at a time, and cut off one that a kill has torn. last: as `RecordLog.records` has it."""
    frames, events, schema = list[pl.DataFrame](), 0, pl.Schema()
    for body in log.records(last):
        frame = pl.read_ipc_stream(io.BytesIO(body))
        if frames and (frame.schema != schema or events >= TOGETHER):
            stream.take_each(frames)
            frames, events = [], 0
        if not frames:
            schema = frame.schema
        frames.append(frame)
        events += len(frame)
    if frames:
        stream.take_each(frames)


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
