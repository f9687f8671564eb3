"""Files in and out: raw CSV and Parquet into a RawTable, our own Parquet and JSON written atomically, hashes.

Nothing here knows what a column means; `schema.py` does.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa

from trmfin.data.convert import legible
from trmfin.data.delimited import REJECTS, read_delimited
from trmfin.data.parquet import from_parquet, parquet_sha256, to_parquet
from trmfin.errors import DataError, RunError, TrmfinError

CHUNK = 1 << 20  # bytes hashed at a time
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
RAW_SUFFIXES = TEXT_SUFFIXES + PARQUET_SUFFIXES
STAYS = "cannot be removed", "remove it yourself or choose another folder"  # failure and advice


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """One raw table as it was found, before any schema.

    `frame` has the file's own column names (a column that is itself called `line` comes as `line_in_file`). From CSV
    every column is String, from Parquet and frames it is typed as found; `line` (Int64) is the physical line in a
    CSV file (the header is line 1) and the row number from 1 elsewhere.
    """

    path: str  # name only, no folder
    sha256: str  # of the file's bytes; of a frame, of its Parquet form
    encoding: str  # "utf-8", "utf-8 with BOM", "latin-1", "windows-1252", "parquet" or "frame"
    separator: str  # of a CSV file; "" elsewhere
    rows_read: int  # rows of `frame` and of `ragged`
    frame: pl.DataFrame
    ragged: pl.DataFrame  # REJECTS layout: rows that have not as many fields as the header


def sha256_of(path: Path, error: type[TrmfinError] = DataError) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks. Raises `error` where it cannot be read."""
    digest = hashlib.sha256()
    with reading(path, error), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def reading(path: Path, error: type[TrmfinError]) -> Iterator[None]:
    """Makes an OSError while `path` is looked for or read an `error` in one line."""
    try:
        yield
    except FileNotFoundError as problem:
        raise error(f"{path}: no such file; check the path") from problem
    except OSError as problem:
        raise error(f"{path}: cannot be read ({_reason(problem)}); check the path and its permissions") from problem


@contextmanager
def changing(path: Path, failure: str, advice: str) -> Iterator[None]:
    """Makes an OSError while `path` is written, made or removed a RunError in one line: what failed, why, what to do."""
    try:
        yield
    except OSError as problem:
        raise RunError(f"{path}: {failure} ({_reason(problem)}); {advice}") from problem


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes `path`'s place only when it is whole: written beside it, flushed to disk, renamed.

    Raises RunError where the disk is full or the folder cannot be written; what stood at `path` before then still does.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with changing(path, "cannot be written", "free some space or choose another folder"):
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            sync_folder(path.parent)
    finally:
        _discard(part)


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents where they are missing. Raises RunError where it cannot be."""
    with changing(folder, "the folder cannot be made", "choose another one"):
        folder.mkdir(parents=True, exist_ok=True)


def remove_file(path: Path) -> None:
    """Removes a file, if it is there. Raises RunError where it cannot be removed."""
    with changing(path, *STAYS):
        path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder and all that is in it, if it is there. Raises RunError where something cannot be removed."""
    if os.path.lexists(folder):
        with changing(folder, *STAYS):
            shutil.rmtree(folder)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Writes `frame` atomically, zstd-compressed with page checksums. The bytes are a function of the frame alone.

    Raises RunError where the file cannot be written.
    """
    with replacing(path) as file:
        to_parquet(frame, file)


def read_parquet(path: Path, error: type[TrmfinError] = DataError) -> pl.DataFrame:
    """A Parquet file as a frame. Raises `error` where it is missing, truncated or altered, or has twice-named columns."""
    return from_parquet(_bytes_of(path, error), path, error)


def write_json(data: Any, path: Path) -> None:
    """Writes `data` atomically as JSON with sorted keys. NaN and infinities become null, which is all JSON has for them.

    Raises RunError where the file cannot be written.
    """
    with replacing(path) as file:
        file.write(json_bytes(data))


def json_bytes(data: Any) -> bytes:
    """The bytes `write_json` writes: sorted keys, indent 1, one newline at the end."""
    return (json.dumps(_finite(data), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path, error: type[TrmfinError]) -> dict[str, Any]:
    """A JSON file that holds one object. Raises `error` where it is missing, is no JSON or holds something else."""
    try:
        data = json.loads(_bytes_of(path, error))
    except (ValueError, RecursionError) as problem:
        raise error(f"{path}: is not JSON ({problem}); it was altered or cut short, make it again") from problem
    if not isinstance(data, dict):
        raise error(f"{path}: holds a {type(data).__name__}, expected an object with named entries; make it again")
    return data


def read_raw(path: Path) -> RawTable:
    """One raw file, by its ending: .csv, .tsv, .txt (text with a separator) or .parquet, .pq.

    Raises DataError, in one line, where it is missing, a folder, empty, binary, of mixed encodings, truncated, or its
    header repeats a name. Rows with too many or too few fields are not lost: they are `ragged`.
    """
    with reading(path, DataError):
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file ending in {', '.join(RAW_SUFFIXES)}")
    suffix = path.suffix.lower()
    data = _bytes_of(path, DataError)
    if suffix not in RAW_SUFFIXES:
        raise DataError(f"{path}: ends in {path.suffix!r}, expected {', '.join(RAW_SUFFIXES)}; export it as CSV (UTF-8) or Parquet")
    if not data:
        raise DataError(f"{path}: is empty, expected a header and rows; was the export cut short?")
    digest = hashlib.sha256(data).hexdigest()
    if suffix in PARQUET_SUFFIXES:
        frame = from_parquet(data, path, DataError)
        return _typed_table(frame, name=path.name, sha256=digest, encoding="parquet")
    text = read_delimited(data, str(path))
    return RawTable(
        path=path.name,
        sha256=digest,
        encoding=text.encoding,
        separator=text.separator,
        rows_read=text.frame.height + text.ragged.height,
        frame=text.frame,
        ragged=text.ragged,
    )


def raw_from_frame(frame: Any, name: str) -> RawTable:
    """A pandas or polars frame as a raw table; `name` stands for the file's name. A pandas index is ignored, its NaN is null.

    Raises DataError on another type, on repeated column names and on a frame without rows.
    """
    table = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "iloc") and hasattr(frame, "columns"):
        table = _from_pandas(frame, name)
    if not isinstance(table, pl.DataFrame):
        raise DataError(f"{name}: is a {type(frame).__name__}, expected a pandas or polars DataFrame")
    return _typed_table(table, name=name, sha256=parquet_sha256(table), encoding="frame")


def _typed_table(frame: pl.DataFrame, *, name: str, sha256: str, encoding: str) -> RawTable:
    if not frame.height:
        raise DataError(f"{name}: has {frame.width} columns and no rows, expected at least one row; was the export cut short?")
    if "line" in frame.columns:
        frame = frame.rename({"line": "line_in_file"})
    frame = pl.DataFrame([legible(column) for column in frame])
    frame = frame.with_columns(pl.int_range(1, frame.height + 1, dtype=pl.Int64).alias("line"))
    return RawTable(
        path=name, sha256=sha256, encoding=encoding, separator="", rows_read=frame.height, frame=frame, ragged=pl.DataFrame(schema=REJECTS)
    )


def _from_pandas(frame: Any, name: str) -> pl.DataFrame:
    names = [str(column) for column in frame.columns]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise DataError(f"{name}: column {twice[0]!r} is named twice; rename one of them")
    columns: dict[str, Any] = {}
    for position, column in enumerate(names):
        values = frame.iloc[:, position]
        try:
            columns[column] = pl.from_pandas(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # an object column of mixed types: read as text
            columns[column] = pl.Series(column, [None if v is None or v != v else str(v) for v in values], dtype=pl.String)
    return pl.DataFrame(columns)


def _bytes_of(path: Path, error: type[TrmfinError]) -> bytes:
    with reading(path, error):
        if path.exists() and not path.is_file():
            raise error(f"{path}: is not a file; expected a regular file")
        return path.read_bytes()


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk, so that a file that was made or renamed in it is there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # the folder became read-only or vanished: the error already says so
        return
