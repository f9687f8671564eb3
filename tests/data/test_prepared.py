"""Prepared: written, read back, and made by a pipeline."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.data import tiny
from trmfin.data.files import raw_from_frame, read_parquet, sha256_of, write_json
from trmfin.data.prepared import Prepared, apply, check_share, example, read_raws, take_in, write_rejects
from trmfin.data.seal import sealed
from trmfin.errors import DataError, RunError

NOW = datetime(2025, 6, 15, tzinfo=UTC)
ROWS = [
    {"client": "A", "month": "2024-01", "status": "0", "paid": "10.50"},
    {"client": "A", "month": "2024-02", "status": "1", "paid": "0"},
    {"client": "B", "month": "2024-01", "status": "-2", "paid": "7"},
]
BAD = [{"client": "C", "month": "2024-01", "status": "99", "paid": "x"}, {"client": "D", "month": "2024-01", "status": "98", "paid": "1"}]


@dataclass(frozen=True, kw_only=True)
class Use:
    """A pipeline, as far as the data layer knows one."""

    name: str = "tiny"
    sha256: str = "5" * 64
    path: str = str(tiny.__file__)
    schemas: Any = None
    aliases: Any = None
    prepare: Any = tiny.prepare
    task: Any = tiny.TASK


TINY = Use(schemas=tiny.SCHEMAS, aliases=tiny.ALIASES)


def made(rows: list[dict[str, str]] | None = None, use: Use = TINY) -> Prepared:
    return apply(use, {"statements": raw_from_frame(pl.DataFrame(rows or ROWS), "given")}, NOW)


def test_a_folder_comes_back_as_it_was_written(tmp_path: Path) -> None:
    prepared = made([*ROWS, *BAD])
    truth = pl.DataFrame({"sample_id": ["A@2024-01"], "target": ["default"], "probability": [0.5]})
    prepared = replace(prepared, truth=truth)
    manifest = prepared.write(tmp_path / "deep" / "p")
    again = Prepared.read(tmp_path / "deep" / "p")
    for name in ("events", "samples", "truth", "rejects"):
        assert getattr(again, name).equals(getattr(prepared, name))
    assert again.links is None
    assert again.manifest == manifest


def test_the_manifest_tells_where_everything_came_from(tmp_path: Path) -> None:
    manifest = made([*ROWS, *BAD]).write(tmp_path)
    assert manifest["inputs"][0]["rows_read"] == 5 == manifest["inputs"][0]["accepted"] + manifest["inputs"][0]["rejected"]
    assert manifest["rules"] == {"status|max": 2, "paid|dtype": 1}
    assert manifest["counts"] == {"events": 3, "samples": 3, "rejects": 2}
    assert (manifest["pipeline"], manifest["money"], manifest["format"]) == ("tiny", ["paid"], 1)
    assert manifest["files"] == {name: sha256_of(tmp_path / name) for name in ("events.parquet", "samples.parquet", "rejects.parquet")}


def test_the_manifest_tells_what_was_rounded_in_which_table_and_column(tmp_path: Path) -> None:
    rows = [{**row, "paid": paid} for row, paid in zip(ROWS, ("3961.12987", "7", "0.30000000000000004"), strict=True)]
    intake = take_in(TINY, {"statements": raw_from_frame(pl.DataFrame(rows), "given")}, NOW)
    assert (intake.rounded, intake.rejects.height) == ({"statements": {"paid": 2}}, 0)
    prepared = made(rows)
    assert prepared.events.sort("event_id")["paid"].to_list() == [396_113, 700, 30]
    assert prepared.write(tmp_path)["rounded"] == {"statements": {"paid": 2}} and made().manifest["rounded"] == {"statements": {}}


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made([*ROWS, *BAD]).write(tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert [sha256_of(tmp_path / "one" / name) for name in names] == [sha256_of(tmp_path / "two" / name) for name in names]


def test_writing_again_replaces_all_that_was_there(tmp_path: Path) -> None:
    replace(made(), truth=pl.DataFrame({"sample_id": ["A@2024-01"], "target": ["default"], "probability": [0.5]})).write(tmp_path)
    made(ROWS[:1]).write(tmp_path)
    again = Prepared.read(tmp_path)
    assert (again.truth, again.samples.height) == (None, 1)


def test_an_interrupted_write_leaves_nothing_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made().write(tmp_path)

    def interrupt(data: Any, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trmfin.data.prepared.write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(ROWS[:1]).write(tmp_path)
    with pytest.raises(DataError, match="has no manifest.json, so it is no prepared folder or was not finished"):
        Prepared.read(tmp_path)


@pytest.mark.parametrize("name", ["events.parquet", "samples.parquet", "rejects.parquet", "manifest.json"])
def test_a_flipped_bit_anywhere_is_found_and_the_file_is_named(tmp_path: Path, name: str) -> None:
    made().write(tmp_path)
    data = (tmp_path / name).read_bytes()
    for position in range(0, len(data), 1 + len(data) // 40):
        (tmp_path / name).write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        with pytest.raises(DataError, match=name):
            Prepared.read(tmp_path)


def test_a_missing_file_a_foreign_file_and_a_newer_format_are_named(tmp_path: Path) -> None:
    made().write(tmp_path)
    (tmp_path / "links.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="links.parquet: is not in manifest.json"):
        Prepared.read(tmp_path)
    (tmp_path / "links.parquet").unlink()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "samples.parquet").unlink()
    with pytest.raises(DataError, match="samples.parquet"):
        Prepared.read(tmp_path)
    write_json(sealed({**manifest, "format": 2}), tmp_path / "manifest.json")
    with pytest.raises(DataError, match="format 2 is newer than 1"):
        Prepared.read(tmp_path)
    write_json(sealed({"format": 1, "files": {"../x.parquet": "0"}}), tmp_path / "manifest.json")
    with pytest.raises(DataError, match="does not list the files"):
        Prepared.read(tmp_path)


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, message in ((tmp_path / "none", "no such folder"), (tmp_path / "file", "is a file"), (tmp_path, "has no manifest.json")):
        with pytest.raises(DataError, match=message):
            Prepared.read(path)


def test_frames_that_break_the_layout_make_no_prepared() -> None:
    prepared = made()
    with pytest.raises(DataError, match="events: has no column known_at"):
        replace(prepared, events=prepared.events.drop("known_at"))
    with pytest.raises(DataError, match="column paid: is Float64, expected money as Int64"):
        replace(prepared, events=prepared.events.with_columns(pl.col("paid").cast(pl.Float64)))


def test_an_event_known_only_after_now_is_refused() -> None:
    def prepare(tables: dict[str, pl.DataFrame]) -> Any:
        events, samples = tiny.prepare(tables)
        return events.with_columns(pl.col("known_at").dt.offset_by("2y")), samples

    with pytest.raises(DataError, match="3 of 3 are known only after now \\(2025-06-15; first: 'A@2024-01', 2026-01-31\\)"):
        made(use=replace(TINY, prepare=prepare))


def test_only_rejects_is_an_error_that_names_the_commonest_rules() -> None:
    with pytest.raises(
        DataError, match=r"2 of 2 rows \(100.00%\) are rejected, so none is left; most often by status\|max \(2 rows, first in line 1\)"
    ):
        made(BAD)


def test_too_many_rejects_are_an_error_and_just_enough_are_not() -> None:
    intake = take_in(TINY, {"statements": raw_from_frame(pl.DataFrame([*ROWS, *BAD]), "given")}, NOW)
    assert intake.share == 0.4
    check_share(intake, 0.4, "")
    with pytest.raises(DataError, match=r"given: 2 of 5 rows \(40.00%\) are rejected, more than the 39.00% allowed .*; look there"):
        check_share(intake, 0.39, "look there")


def test_an_example_of_a_rule_is_its_first_row() -> None:
    rejects = take_in(TINY, {"statements": raw_from_frame(pl.DataFrame([*ROWS, *BAD]), "given")}, NOW).rejects
    assert example(rejects, "status|max") == (4, "status|max: found '99', expected at most 9")


def test_rejects_alone_can_be_written_and_undo_an_older_preparation(tmp_path: Path) -> None:
    made().write(tmp_path)
    rejects = take_in(TINY, {"statements": raw_from_frame(pl.DataFrame(BAD), "given")}, NOW).rejects
    write_rejects(rejects, tmp_path)
    assert read_parquet(tmp_path / "rejects.parquet").equals(rejects)
    with pytest.raises(DataError, match="has no manifest"):
        Prepared.read(tmp_path)


def test_raw_files_of_a_folder_are_known_by_their_columns(tmp_path: Path) -> None:
    (tmp_path / "any.csv").write_bytes(tiny.CSV.replace(b"client", b"Customer"))
    (tmp_path / "truth.parquet").write_bytes(b"not read")
    (tmp_path / "notes.md").write_text("not raw")
    assert {table: raw.path for table, raw in read_raws(TINY, tmp_path).items()} == {"statements": "any.csv"}
    (tmp_path / "more.csv").write_bytes(tiny.CSV)
    with pytest.raises(DataError, match="any.csv and more.csv both hold the table 'statements'"):
        read_raws(TINY, tmp_path)


def test_a_folder_without_raw_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file ending in .csv"):
        read_raws(TINY, tmp_path)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda tables: tables["invoices"], "no file has the columns of table 'invoices', which the pipeline needs; found only statements"),
        (lambda tables: 1 / 0, "pipeline tiny, prepare: stopped with ZeroDivisionError: division by zero"),
        (lambda tables: [1, 2], "prepare gave a list, expected \\(events, samples\\)"),
        (lambda tables: tuple(frame.clear() for frame in tiny.prepare(tables)), "makes no sample of 3 accepted rows"),
    ],
)
def test_a_pipeline_that_fails_says_where_in_one_line(prepare: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(use=replace(TINY, prepare=prepare))


def test_the_line_of_a_failing_pipeline_is_named() -> None:
    def prepare(tables: dict[str, pl.DataFrame]) -> Any:
        return tiny.prepare({"statements": tables["statements"].drop("paid")})

    with pytest.raises(DataError, match=r"pipeline tiny, line \d+: stopped with ColumnNotFoundError"):
        made(use=replace(TINY, prepare=prepare))


def test_a_path_that_no_disk_takes_is_one_clear_error(tmp_path: Path) -> None:
    for read in (Prepared.read, partial(read_raws, TINY)):
        with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
            read(tmp_path / ("x" * 300))


def test_a_folder_that_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    made().write(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(RunError, match=r"manifest.json: cannot be removed \(Is a directory\)"):
        made().write(tmp_path)
