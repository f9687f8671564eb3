"""`python -m trmfin.prepare`."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.data import tiny
from trmfin import prepare
from trmfin.command import application
from trmfin.data.files import RawTable, read_json, read_parquet, sha256_of
from trmfin.data.prepared import Prepared, Preparer, read_raws
from trmfin.errors import DataError
from trmfin.scoring.folder import locked


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application(prepare.main), [str(argument) for argument in (tiny.__file__, *arguments)])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "statements.csv"
    path.write_bytes(tiny.CSV + b"\n;;\nC,2024-01,12,x\nC,2024-02,12,5\n")
    return path


def test_a_file_becomes_a_prepared_folder_and_a_summary(raw: Path, tmp_path: Path) -> None:
    result = run(raw, "--out", tmp_path / "p", "--max-reject-share", "0.5")
    assert result.exit_code == 0
    prepared = Prepared.read(tmp_path / "p")
    assert prepared.samples["sample_id"].to_list() == ["A@2024-01", "A@2024-02", "B@2024-01"]
    assert prepared.rejects["line"].to_list() == [6, 7, 8]
    assert (prepared.manifest["pipeline"], prepared.manifest["pipeline_sha256"]) == ("tiny", sha256_of(Path(tiny.__file__)))
    assert result.stdout.splitlines()[1].split() == ["statements.csv", "statements", "utf-8", "6", "3", "3"]
    assert "       2  status|max: found '12', expected at most 9 (line 7)" in result.stdout
    assert f"rejected rows, with line and reasons: {tmp_path / 'p' / 'rejects.parquet'}" in result.stdout


def test_renamed_columns_are_shown_and_recorded(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(tiny.CSV.replace(b"client,month", b"Customer,MONTH"))
    result = run(raw, "--out", tmp_path / "p")
    assert "read as: 'Customer' = client, 'MONTH' = month" in result.stdout
    assert read_json(tmp_path / "p" / "manifest.json", DataError)["inputs"][0]["renamed"] == {"Customer": "client", "MONTH": "month"}


def test_rounded_cells_are_shown_in_one_line_and_recorded(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(tiny.CSV.replace(b"10.50", b"10.5049") + b"".join(b"C%d,2024-01,0,1.005\n" % number for number in range(1000)))
    result = run(raw, "--out", tmp_path / "p")
    assert result.stdout.splitlines()[2] == "  rounded to the column's decimals: paid 1,001"
    assert read_json(tmp_path / "p" / "manifest.json", DataError)["rounded"] == {"statements": {"paid": 1001}}
    raw.write_bytes(tiny.CSV)
    assert "rounded to" not in run(raw, "--out", tmp_path / "q").stdout


def test_a_nights_samples_keep_the_events_of_before(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(tiny.CSV)
    assert run(raw, "--out", tmp_path / "all").exit_code == 0
    whole = Prepared.read(tmp_path / "all")
    start = whole.samples["as_of"].max().date()
    result = run(raw, "--out", tmp_path / "night", "--samples-from", start)
    assert result.exit_code == 0 and f"{whole.events.height} events, 1 samples as of {start} or later" in result.stdout, result.output
    night = Prepared.read(tmp_path / "night")
    assert night.samples.equals(whole.samples.filter(pl.col("sample_id") == "A@2024-02")) and night.events.equals(whole.events)
    assert night.manifest["samples_from"] == start.isoformat() and "samples_from" not in whole.manifest
    for day, said in (
        ("2999-01-01", "none of 3 samples is as of that day or later, they are as of 2024-"),
        ("May", "expected a day such as"),
    ):
        refused = run(raw, "--out", tmp_path / "none", "--samples-from", day)
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1) and f"--samples-from {day}" in refused.stderr.replace("'", "")
        assert said in refused.stderr and not (tmp_path / "none" / "manifest.json").exists()


def test_too_many_rejects_stop_and_are_written(raw: Path, tmp_path: Path) -> None:
    result = run(raw, "--out", tmp_path / "p")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "3 of 6 rows (50.00%) are rejected, more than the 10.00% allowed (--max-reject-share)" in result.stderr
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["rejects.parquet"]
    assert read_parquet(tmp_path / "p" / "rejects.parquet").height == 3
    assert run(raw, "--out", tmp_path / "p", "--max-reject-share", "0.5").exit_code == 0


def test_a_prepared_folder_is_replaced_only_by_force(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(tiny.CSV)
    assert run(raw, "--out", tmp_path / "p").exit_code == 0
    before = sha256_of(tmp_path / "p" / "manifest.json")
    refused = run(raw, "--out", tmp_path / "p")
    assert (refused.exit_code, "already holds prepared data" in refused.stderr) == (1, True)
    assert run(raw, "--out", tmp_path / "p", "--force").exit_code == 0
    assert sha256_of(tmp_path / "p" / "manifest.json") == before


def test_a_folder_with_other_files_is_never_written_to(raw: Path, tmp_path: Path) -> None:
    result = run(raw, "--out", tmp_path, "--force")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {tmp_path}: holds 'statements.csv', which prepare did not write; choose a new or empty folder for --out\n",
    )
    result = run(raw, "--out", raw)
    assert (result.exit_code, "is a file, expected a folder" in result.stderr) == (1, True)


def test_two_prepares_never_mix_their_files(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw.write_bytes(tiny.CSV)
    with locked(tmp_path / "p"):
        meanwhile = run(raw, "--out", tmp_path / "p")
    assert (meanwhile.exit_code, meanwhile.stderr.count("\n")) == (1, 1)
    assert "is writing this folder; wait until it ends" in meanwhile.stderr
    assert run(raw, "--out", tmp_path / "p").exit_code == 0
    assert not (tmp_path / "p" / ".lock").exists()

    def while_another_ends(pipeline: Preparer, path: Path) -> dict[str, RawTable]:
        monkeypatch.undo()
        assert run(raw, "--out", tmp_path / "q").exit_code == 0
        return read_raws(pipeline, path)

    monkeypatch.setattr("trmfin.data.prepared.read_raws", while_another_ends)
    refused = run(raw, "--out", tmp_path / "q")
    assert (refused.exit_code, "already holds prepared data" in refused.stderr) == (1, True)


def test_a_folder_of_raw_files_brings_its_truth(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "s.csv").write_bytes(tiny.CSV)
    pl.DataFrame({"sample_id": ["A@2024-01", "Z@2024-01"], "target": ["default"] * 2, "probability": [0.25, 0.5]}).write_parquet(
        folder / "truth.parquet"
    )
    assert run(folder, "--out", tmp_path / "p").exit_code == 0
    truth = Prepared.read(tmp_path / "p").truth
    assert truth is not None
    assert truth.rows() == [("A@2024-01", "default", 0.25)]


def test_csv_and_parquet_of_the_same_rows_give_the_same_events_and_samples(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(tiny.CSV)
    pl.read_csv(raw).write_parquet(tmp_path / "s.parquet")
    hashes = []
    for number, path in enumerate((raw, tmp_path / "s.parquet")):
        assert run(path, "--out", tmp_path / str(number)).exit_code == 0
        hashes.append([sha256_of(tmp_path / str(number) / name) for name in ("events.parquet", "samples.parquet")])
    assert hashes[0] == hashes[1]


def test_help_teaches_with_an_example_and_a_missing_argument_is_exit_2() -> None:
    shown = CliRunner().invoke(application(prepare.main), ["--help"])
    assert "python -m trmfin.prepare payment_history clients.csv --out prepared/" in shown.stdout
    assert CliRunner().invoke(application(prepare.main), ["payment_history"]).exit_code == 2


def test_as_a_program_it_exits_1_with_one_line_and_no_traceback(tmp_path: Path, checkout: Path) -> None:
    command = [sys.executable, "-m", "trmfin.prepare", "payment_history", str(tmp_path / "none.csv"), "--out", str(tmp_path / "p")]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path / 'none.csv'}: no such file; check the path\n"


def test_the_credit_file_is_accepted_whole(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "credit_default_taiwan" / "default_of_credit_card_clients.csv"
    result = CliRunner().invoke(application(prepare.main), ["payment_history", str(source), "--out", str(tmp_path / "p")])
    assert result.exit_code == 0
    prepared = Prepared.read(tmp_path / "p")
    assert (prepared.samples.height, prepared.events.height, prepared.rejects.height) == (24_000, 144_000, 0)
    assert prepared.samples["sample_id"].is_unique().all()
