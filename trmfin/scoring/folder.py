"""A run folder on disk: who may write it, what it must hold, whether any byte of it has changed. Loads no model.

    RUN/scores/part-00000.parquet …    one row a sample
    RUN/outputs/TARGET/part-….parquet  further targets
    RUN/answers/part-….parquet         answers per token
    RUN/records/part-….jsonl, .parquet a record for each explained score
    RUN/prepared/                      where raw data were scored: what they were prepared into, rejected rows with reasons too
    RUN/manifest.json                  hashes of raw files, inputs, bundle and outputs; profiles of training and of these data; written last
While a run is under way it also holds `.lock`, `job.json` (what is being done), `progress.jsonl` (a line a finished shard) and
`explained.jsonl` (a line a shard of records).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from trmfin.data.files import changing, json_bytes, make_folder, read_json, reading, remove_file, replacing, sha256_of
from trmfin.data.seal import is_sealed
from trmfin.errors import RunError
from trmfin.scoring.scores import Effort

FORMAT = 1
LOCK, JOB, PROGRESS, EXPLAINED, MANIFEST = ".lock", "job.json", "progress.jsonl", "explained.jsonl", "manifest.json"
RECORDS = "records"
TABLES = ("scores", "outputs", "answers")
PREPARED = "prepared"
FULL = "cannot be written", "free some space and go on with --resume"  # failure and advice


class Part(Protocol):
    """What a run has finished of its scores or its records: a line of a progress file. A function of data, bundle, settings and code."""

    @property
    def number(self) -> int: ...
    @property
    def files(self) -> dict[str, str]: ...  # path below the run folder → sha256
    def to_json(self) -> dict[str, Any]: ...


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The scores of one shard, finished: no times."""

    number: int
    rows: int
    files: dict[str, str]  # path below the run folder → sha256
    bands: tuple[int, ...]  # rows per band
    effort: Effort
    cells: tuple[tuple[int, ...], ...]  # of each field in each place: cells in each bin of the bundle's profile, and last the missing

    def to_json(self) -> dict[str, Any]:
        lists = {"bands": list(self.bands), "cells": [list(counts) for counts in self.cells]}
        return {"number": self.number, "rows": self.rows, "files": self.files, "effort": vars(self.effort), **lists}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Shard:
        tuples = {"bands": tuple(data["bands"]), "cells": tuple(map(tuple, data["cells"]))}
        return cls(**(data | tuples | {"effort": Effort(**data["effort"])}))


@contextmanager
def locked(folder: Path, other: str = "another --out", full: tuple[str, str] = FULL) -> Iterator[None]:
    """Keep a folder to this process; made where it is missing. The lock dies with the process, however it dies.

    other, full: what to choose where it cannot be had, and failure and advice where it cannot be written; as the commands say it.
    Raises RunError naming the process that has it, or where the folder cannot be written or locked.
    """
    make_folder(folder)
    path = folder / LOCK
    descriptor = _lock(path, other)
    try:
        with changing(path, *full):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):  # a file that stays behind locks nothing, and must not hide what went wrong
            path.unlink()
        os.close(descriptor)


def _lock(path: Path, other: str) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"{path.parent}: the folder cannot be written ({error.strerror}); choose {other}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise RunError(f"{path.parent}: process {holder} is writing this folder; wait until it ends or choose {other}") from None
        except FileNotFoundError:  # the process that had it has just ended and removed the file: take a new one
            pass
        except OSError as error:
            os.close(descriptor)
            raise RunError(f"{path}: cannot be locked ({error.strerror}); choose {other}, on a disk that has locks") from error
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """Remove what was half-written when an earlier process was killed. Only while the folder is locked.

    Raises RunError where it cannot be removed.
    """
    with reading(folder, RunError):
        parts = list(folder.rglob(".*.part"))
    for part in parts:
        remove_file(part)


def finished_parts(folder: Path, progress: str, read: Callable[[dict[str, Any]], P], tables: tuple[str, ...]) -> list[P]:
    """The parts of an interrupted run whose files are whole, by number; everything else in these tables is removed.

    progress: the file that names them, a line each; read: what a line's object is. A line that was cut by the interruption, and a
    part whose file differs from its hash, count as not done. Raises RunError where the folder cannot be read or written.
    """
    parts = {part.number: part for part in _progress(folder / progress, read) if _whole(folder, part)}
    with replacing(folder / progress) as file:
        for number in sorted(parts):
            file.write(_line(parts[number]))
    kept = {name for part in parts.values() for name in part.files}
    for name in files_present(folder, tables) - kept:
        remove_file(folder / name)
    return [parts[number] for number in sorted(parts)]


def add_progress(folder: Path, progress: str, part: Part) -> None:
    """Note a part as finished. Raises RunError where the disk is full."""
    with changing(folder / progress, *FULL), (folder / progress).open("ab") as file:
        file.write(_line(part))
        file.flush()
        os.fsync(file.fileno())


def _line(part: Part) -> bytes:
    return json.dumps(part.to_json(), sort_keys=True).encode() + b"\n"


def _progress(path: Path, read: Callable[[dict[str, Any]], P]) -> Iterator[P]:
    with reading(path, RunError):
        lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            yield read(json.loads(line))
        except (ValueError, TypeError, KeyError):  # the line that was being written when the process was killed
            return


def _whole(folder: Path, part: Part) -> bool:
    return all((folder / name).is_file() and sha256_of(folder / name, RunError) == expected for name, expected in part.files.items())


def files_present(folder: Path, parts: tuple[str, ...]) -> set[str]:
    """The files in these parts of a run folder, as paths below it."""
    with reading(folder, RunError):
        return {path.relative_to(folder).as_posix() for part in parts for path in (folder / part).rglob("*") if path.is_file()}


def verify_run(folder: Path) -> dict[str, Any]:
    """The manifest of a finished run of which no byte has changed since.

    Raises RunError naming every file that was changed, is missing or does not belong.
    """
    manifest = read_manifest(folder)
    expected: dict[str, str] = dict(manifest["files"])
    present = files_present(folder, (*TABLES, RECORDS, PREPARED))
    faults = [f"{name} is missing" for name in sorted(expected.keys() - present)]
    faults += [f"{name} does not belong to it" for name in sorted(present - expected.keys())]
    faults += [f"{name} was changed" for name in sorted(present & expected.keys()) if sha256_of(folder / name, RunError) != expected[name]]
    if faults:
        raise RunError(f"{folder}: {'; '.join(faults)}; {len(expected)} files were expected as written, score again into another folder")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished run, itself checked. Raises RunError where there is none or a byte of it has changed."""
    path = folder / MANIFEST
    if not path.exists():
        what = "an interrupted run, go on with --resume" if (folder / JOB).exists() else "no run"
        raise RunError(f"{folder}: no {MANIFEST}, so it holds {what}; expected a folder written by python -m trmfin.score")
    manifest = read_json(path, RunError)
    if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
        raise RunError(f"{path}: format {manifest.get('format')}, this version reads up to {FORMAT}; update trmfin")
    with reading(path, RunError):
        found = path.read_bytes()
    if not is_sealed(manifest) or found != json_bytes(manifest):
        raise RunError(f"{path}: was changed since the run; its seal does not fit what it says, score again into another folder")
    return manifest
