"""Files in and out."""

import errno
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trmfin.data.files import (
    json_bytes,
    make_folder,
    raw_from_frame,
    read_json,
    read_parquet,
    read_raw,
    remove_file,
    remove_folder,
    replacing,
    sha256_of,
    write_json,
    write_parquet,
)
from trmfin.errors import BundleError, DataError, RunError

FRAME = pl.DataFrame({"a": [3, 1, None], "b": ["x", None, "é"], "t": [datetime(2024, 1, 1)] * 3})


def test_parquet_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_parquet(FRAME, tmp_path / "f.parquet")
    assert read_parquet(tmp_path / "f.parquet").equals(FRAME)
    assert read_parquet(tmp_path / "f.parquet").schema == FRAME.schema


def test_parquet_bytes_are_a_function_of_the_frame_alone(tmp_path: Path) -> None:
    in_pieces = pl.concat([FRAME.head(1), FRAME.tail(2)], rechunk=False)
    sliced = pl.concat([FRAME, FRAME]).slice(3, 3)
    for number, frame in enumerate((FRAME, in_pieces, sliced)):
        write_parquet(frame, tmp_path / f"{number}.parquet")
    assert len({sha256_of(path) for path in tmp_path.iterdir()}) == 1


def test_a_category_is_written_as_text_whatever_was_seen_before(tmp_path: Path) -> None:
    write_parquet(pl.DataFrame({"c": pl.Series(["b", "a"], dtype=pl.Categorical)}), tmp_path / "c.parquet")
    write_parquet(pl.DataFrame({"c": ["b", "a"]}), tmp_path / "s.parquet")
    assert sha256_of(tmp_path / "c.parquet") == sha256_of(tmp_path / "s.parquet")


def test_json_is_sorted_ends_in_a_newline_and_has_null_for_nan(tmp_path: Path) -> None:
    write_json({"b": [1, float("nan")], "a": (float("inf"), "ü")}, tmp_path / "x.json")
    assert (tmp_path / "x.json").read_bytes() == json_bytes({"a": [None, "ü"], "b": [1, None]})
    assert read_json(tmp_path / "x.json", DataError) == {"a": [None, "ü"], "b": [1, None]}
    assert (tmp_path / "x.json").read_text().endswith("}\n")


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_object_is_an_error_of_the_callers_kind(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(BundleError, match="x.json"):
        read_json(tmp_path / "x.json", BundleError)


def test_a_missing_file_is_an_error_of_the_callers_kind(tmp_path: Path) -> None:
    for read in (read_json, read_parquet, sha256_of):
        with pytest.raises(BundleError, match="no such file|cannot be read"):
            read(tmp_path / "none", BundleError)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "old"


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_parquet(FRAME, tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Not a directory"):
        write_json({}, tmp_path / "file" / "x.json")
    with pytest.raises(RunError, match="cannot be made"):
        make_folder(tmp_path / "file" / "folder")


def test_what_is_removed_is_gone_and_what_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").write_text("")
    with pytest.raises(RunError, match=r"folder: cannot be removed \(Is a directory\); remove it yourself"):
        remove_file(tmp_path / "folder")
    with pytest.raises(RunError, match=r"file: cannot be removed \(Not a directory\)"):
        remove_folder(tmp_path / "folder" / "inner" / "file")
    remove_file(tmp_path / "folder" / "inner" / "file")
    remove_folder(tmp_path / "folder")
    remove_file(tmp_path / "none")
    remove_folder(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_raw, read_parquet, sha256_of])
def test_a_path_that_no_disk_takes_is_one_clear_error(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with pytest.raises(DataError, match=r"loop.csv: cannot be read \(Too many levels of symbolic links\)"):
        read(tmp_path / "loop.csv")
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
        read(tmp_path / ("x" * 300 + ".csv"))


def test_a_raw_parquet_keeps_its_types_and_numbers_its_rows(tmp_path: Path) -> None:
    write_parquet(FRAME.with_columns(line=pl.lit("own")), tmp_path / "f.parquet")
    raw = read_raw(tmp_path / "f.parquet")
    assert (raw.path, raw.encoding, raw.rows_read, raw.ragged.height) == ("f.parquet", "parquet", 3, 0)
    assert raw.sha256 == sha256_of(tmp_path / "f.parquet")
    assert raw.frame.schema["a"] == pl.Int64
    assert raw.frame["line"].to_list() == [1, 2, 3]
    assert raw.frame["line_in_file"].to_list() == ["own"] * 3


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -8])
def test_truncated_parquet_is_named(tmp_path: Path, keep: int) -> None:
    write_parquet(FRAME, tmp_path / "f.parquet")
    (tmp_path / "f.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:keep])
    with pytest.raises(DataError, match="f.parquet: is (not whole Parquet|empty)"):
        read_raw(tmp_path / "f.parquet")


def test_an_altered_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    write_parquet(FRAME, tmp_path / "f.parquet")
    data = bytearray((tmp_path / "f.parquet").read_bytes())
    data[60] ^= 1
    (tmp_path / "f.parquet").write_bytes(bytes(data))
    with pytest.raises(DataError, match="not whole Parquet"):
        read_parquet(tmp_path / "f.parquet")


def test_pandas_and_polars_frames_of_the_same_data_give_the_same_table() -> None:
    polars = raw_from_frame(pl.DataFrame({"id": ["a", None], "n": [1.5, None]}), "given")
    pandas = raw_from_frame(pd.DataFrame({"id": ["a", None], "n": [1.5, float("nan")]}, index=[7, 9]), "given")
    assert polars.frame.equals(pandas.frame)
    assert polars.sha256 == pandas.sha256
    assert (polars.encoding, polars.rows_read, polars.path) == ("frame", 2, "given")


def test_a_pandas_column_of_mixed_types_is_read_as_text() -> None:
    raw = raw_from_frame(pd.DataFrame({"id": [1, "a", None]}, dtype=object), "given")
    assert raw.frame["id"].to_list() == ["1", "a", None]


def test_a_lazy_frame_is_collected() -> None:
    assert raw_from_frame(FRAME.lazy(), "given").frame.height == 3


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1, 2], "is a list, expected a pandas or polars DataFrame"),
        (pd.Series([1]), "is a Series"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is named twice"),
        (pl.DataFrame({"a": []}), "no rows"),
    ],
)
def test_what_is_no_table_is_refused(frame: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raw_from_frame(frame, "given")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series("t", [[datetime(2024, 1, 1)]]), r"column 't' \(large_list.*is of a type that cannot be read"),
        (pl.Series("t", [0]).cast(pl.Datetime("us", "UTC")), r"unable to parse time zone: 'Moo'"),
        (pl.Series("t", [0]).cast(pl.Datetime("us", "UTC")), r"column 't' \(timestamp\[us, tz=Mée\]\) is of a type"),
    ],
    ids=["times in lists", "unknown zone", "odd zone"],
)
def test_a_column_that_nothing_can_hold_is_named(column: pl.Series, message: str, tmp_path: Path) -> None:
    table = column.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest())
    if "zone" in message or "tz" in message:
        table = table.cast(pa.schema([("t", pa.timestamp("us", tz="Moo" if "zone" in message else "Mée"))]))
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        read_raw(tmp_path / "t.parquet")


def test_times_beyond_the_calendar_are_kept_as_text(tmp_path: Path) -> None:
    times = pl.Series("t", [0, 10**18, None]).cast(pl.Datetime("us"))
    write_parquet(times.to_frame(), tmp_path / "t.parquet")
    assert read_raw(tmp_path / "t.parquet").frame["t"].to_list() == ["1970-01-01", "beyond the calendar: 1000000000000000000", None]
