"""Parquet as bytes: a frame into a file whose bytes are a function of the frame alone, and bytes into a frame or one clear error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from trmfin.data.convert import quoted
from trmfin.errors import TrmfinError

ROW_GROUP = 1 << 18  # rows of a Parquet row group


def to_parquet(frame: pl.DataFrame, file: Any) -> None:
    """Writes `frame` to a binary file, zstd-compressed with page checksums."""
    pq.write_table(_arrow(frame), file, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)


@contextmanager
def parquet_groups(file: Any) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Writes frames of the same columns to a binary file as they come, each a row group."""
    with ExitStack() as stack:
        writers = list[Any]()

        def write(frame: pl.DataFrame) -> None:
            table = _arrow(frame)
            if not writers:
                writer = pq.ParquetWriter(file, table.schema, compression="zstd", write_page_checksum=True)
                writers.append(stack.enter_context(writer))
            writers[0].write_table(table, row_group_size=ROW_GROUP)

        yield write


def _arrow(frame: pl.DataFrame) -> pa.Table:
    plain = frame.with_columns(pl.col(pl.Categorical).cast(pl.String)).rechunk()
    return plain.to_arrow(compat_level=pl.CompatLevel.oldest())


def parquet_sha256(frame: pl.DataFrame) -> str:
    """Hex SHA-256 of what `to_parquet` writes."""
    sink = _HashSink()
    to_parquet(frame, sink)
    return sink.digest.hexdigest()


def from_parquet(data: bytes, path: Path, error: type[TrmfinError]) -> pl.DataFrame:
    """The frame that the bytes of a Parquet file hold; `path` names it in errors.

    Raises `error` where they are cut short or altered, name a column twice or hold a type that frame or JSON cannot.
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
        table.validate(full=True)
        names = list(table.column_names)
        strange = [f"{quoted(field.name)} ({field.type})" for field in table.schema if not _readable(field.type)]
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as problem:
        raise error(f"{path}: is not whole Parquet ({problem}); it was truncated or altered, make or copy it again") from problem
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise error(f"{path}: column {quoted(twice[0])} is named twice; rename one of them")
    if strange:
        raise error(f"{path}: column {strange[0]} is of a type that cannot be read; write it as numbers, text or times")
    bare = pa.Table.from_arrays(table.columns, names=names)  # without metadata, which polars takes for text even where it is none
    try:
        return pl.DataFrame(bare)
    except (pa.ArrowException, pl.exceptions.PolarsError, ValueError, TypeError) as problem:
        raise error(f"{path}: cannot be read ({problem}); write its columns as numbers, text or times") from problem


def parquet_batches(path: Path, size: int, error: type[TrmfinError]) -> Iterator[pl.DataFrame]:
    """The rows of a file of ours in order, at most `size` at a time. Raises `error` where it cannot be read, or was cut short."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=size, use_threads=False):
                yield pl.DataFrame(pa.Table.from_batches([batch]).replace_schema_metadata(None))
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError, TypeError) as problem:
        raise error(f"{path}: is not whole Parquet ({problem}); it was truncated or altered, make or copy it again") from problem


def _readable(kind: pa.DataType, nested: bool = False) -> bool:
    """Whether polars and JSON can both hold it: nothing exotic, no times inside lists, no unknown bytes in a zone's name."""
    if pa.types.is_nested(kind):
        return not (pa.types.is_map(kind) or pa.types.is_union(kind)) and all(
            _readable(kind.field(i).type, nested=True) for i in range(kind.num_fields)
        )
    if pa.types.is_timestamp(kind) and kind.tz and not kind.tz.isascii():
        return False
    return not (pa.types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType) or (nested and pa.types.is_temporal(kind)))


class _HashSink:
    """A file that keeps only the hash of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.length = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.length += len(data)
        return len(data)

    def tell(self) -> int:
        return self.length

    def flush(self) -> None:
        return

    def close(self) -> None:
        return
