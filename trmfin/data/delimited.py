"""Delimited text (CSV and its kin) into a frame of strings with physical line numbers. Rows that do not fit are kept."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from trmfin.data.convert import quoted
from trmfin.errors import DataError

REJECTS = pl.Schema([("table", pl.String()), ("line", pl.Int64()), ("rules", pl.List(pl.String())), ("row", pl.String())])
SEPARATORS = (",", ";", "\t", "|")
BLOCK = 1 << 24  # bytes Arrow parses at a time; a single row must fit
BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x2b\x2f\x76", "UTF-7"))
MAGIC = (
    (b"PAR1", "Parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\x1f\x8b", "gzip"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
)
MULTI_BYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True, kw_only=True)
class Delimited:
    """A delimited file in memory. `frame`: String columns as written, and `line`; `ragged`: REJECTS layout."""

    encoding: str
    separator: str
    frame: pl.DataFrame
    ragged: pl.DataFrame


def read_delimited(data: bytes, where: str) -> Delimited:
    """Parses a whole file. `where` names it in errors.

    The encoding is UTF-8 (with or without BOM) or else latin-1 (windows-1252 where that alone makes sense); the
    separator is the one of `SEPARATORS` that stands most often in the header. Raises DataError on binary or UTF-16
    data, on a mix of encodings, on a header that repeats a name, on a quote that is never closed, and without rows.
    """
    text, encoding = _decoded(data, where)
    if not text.endswith((b"\n", b"\r")):
        text += b"\n"
    header, separator = _header(text, where)
    width = len(header)
    ragged: list[pc.InvalidRow] = []

    def keep(row: pc.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = pc.read_csv(
            pa.BufferReader(text),
            read_options=pc.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=BLOCK),
            parse_options=pc.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pc.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(width)}, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as problem:
        _lines(text, separator, where)  # names the line where a quote is not closed
        raise DataError(f"{where}: cannot be read as rows of {width} fields ({problem}); export it again") from problem
    records = table.num_rows + len(ragged)
    if table.num_columns != width:
        raise DataError(f"{where}: the header has {width} names and is read as {table.num_columns}; check its quotes")
    if records < 2:
        raise DataError(f"{where}: has a header and no rows, expected at least one row; was the export cut short?")
    lines = _numbered(text, records, separator, where)
    odd = np.array([row.number - 1 for row in ragged], dtype=np.int64)
    kept = np.delete(np.arange(records, dtype=np.int64), odd)[1:]  # record 0 is the header
    frame = pl.DataFrame(table.rename_columns(header).slice(1)).with_columns(pl.Series("line", lines[kept], dtype=pl.Int64))
    return Delimited(encoding=encoding, separator=separator, frame=frame, ragged=_rejects(ragged, lines[odd]))


def _decoded(data: bytes, where: str) -> tuple[bytes, str]:
    """→ (the text in UTF-8 without BOM, the name of the encoding it came in)."""
    for start, kind in MAGIC:
        if data.startswith(start):
            raise DataError(f"{where}: is {kind}, not delimited text; export it as CSV (UTF-8) or give it its own ending")
    for start, kind in BOMS:
        if data.startswith(start):
            raise DataError(f"{where}: is encoded in {kind}, expected UTF-8; save it as CSV UTF-8")
    if (at := data.find(b"\0")) >= 0:
        raise DataError(f"{where}: line {_line_at(data, at)} holds a NUL byte, so this is binary, not text; export it as CSV (UTF-8)")
    bom = data.startswith(b"\xef\xbb\xbf")
    text = data[3:] if bom else data
    try:
        text.decode("utf-8")
        return text, "utf-8 with BOM" if bom else "utf-8"
    except UnicodeDecodeError as problem:
        at = problem.start
    if bom or MULTI_BYTE.search(text):
        raise DataError(
            f"{where}: line {_line_at(text, at)} holds byte 0x{text[at]:02X}, which is not UTF-8, in a file that elsewhere is; "
            "it mixes encodings, save it as UTF-8"
        )
    name = "windows-1252" if re.search(rb"[\x80-\x9f]", text) else "latin-1"
    try:
        return text.decode(name).encode(), name
    except UnicodeDecodeError as problem:
        at = problem.start
    raise DataError(f"{where}: line {_line_at(text, at)} holds byte 0x{text[at]:02X}, which is neither UTF-8 nor latin-1; save it as UTF-8")


def _header(text: bytes, where: str) -> tuple[list[str], str]:
    """→ (column names, separator). Names are stripped; one that is empty becomes `unnamed_POSITION`."""
    first = next((line for line in _text(text) if line.strip()), "")
    bare = QUOTED.sub("", first)
    separator = max(SEPARATORS, key=bare.count)  # the first of equals: the comma
    record = next((record for record in _records(text, separator) if record[1]), (0, []))[1]
    names = [name.strip() or f"unnamed_{position}" for position, name in enumerate(record, start=1)]
    if not bare.strip() and not any(name.strip() for name in record):
        raise DataError(f"{where}: has only blank lines, expected a header and rows")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where}: the header names {quoted(twice[0])} {names.count(twice[0])} times; every column needs its own name")
    if "line" in names:
        names[names.index("line")] = "line_in_file"
    return names, separator


def _numbered(text: bytes, records: int, separator: str, where: str) -> NDArray[np.int64]:
    """Physical line at which each record starts, the header's first. (records,), from 1."""
    newlines = text.count(b"\n") + (text.count(b"\r") - text.count(b"\r\n"))
    if newlines == records and text.count(b'"') % 2 == 0:  # no blank lines, no newline inside quotes
        return np.arange(1, records + 1, dtype=np.int64)
    lines = _lines(text, separator, where)
    if len(lines) != records:
        raise DataError(f"{where}: has {len(lines)} rows by one count and {records} by another; its quotes do not pair, export it again")
    return lines


def _lines(text: bytes, separator: str, where: str) -> NDArray[np.int64]:
    """Physical line at which each non-blank record starts, found by reading record by record."""
    end = "end of the file"
    starts: list[int] = []
    last: list[str] = []
    for start, last in _records(text, separator, end):
        if last:
            starts.append(start)
    if last != [end]:
        raise DataError(f"{where}: a quote opened in line {starts[-1]} is never closed; close it or double it")
    return np.array(starts[:-1], dtype=np.int64)


def _records(text: bytes, separator: str, end: str = "") -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every record, blank lines too, in the same grammar as Arrow's; `end` is appended as a last line."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        lines = _text(text, end)
        reader = csv.reader(lines, delimiter=separator)
        start = 1
        for record in reader:
            yield start, record
            start = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _text(text: bytes, end: str = "") -> Iterator[str]:
    yield from io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")
    if end:
        yield end


def _rejects(rows: list[pc.InvalidRow], lines: NDArray[np.int64]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "table": [""] * len(rows),
            "line": lines.tolist(),
            "rules": [[f"ragged: found {row.actual_columns} fields, expected {row.expected_columns}"] for row in rows],
            "row": [json.dumps({"text": row.text}, ensure_ascii=False) for row in rows],
        },
        schema=REJECTS,
    )


def _line_at(data: bytes, position: int) -> int:
    head = data[:position]
    return 1 + head.count(b"\n") + head.count(b"\r") - head.count(b"\r\n")
