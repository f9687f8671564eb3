"""Bad raw and prepared data: one clear line and exit 1, or rejects with their reasons; never a traceback."""

import io
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.data import tiny
from trmfin import prepare
from trmfin.command import application
from trmfin.data.files import read_json, read_parquet
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError

HEADER, A1, A2, B1 = tiny.CSV.decode().splitlines()
FLIPS = 100  # per kind of input


def run(raw: Path, out: Path, *options: str, pipeline: str = str(tiny.__file__)) -> Result:
    """The prepare command; whatever it does, it ends in exit 0, or in exit 1 and exactly one line."""
    result = CliRunner().invoke(application(prepare.main), [pipeline, str(raw), "--out", str(out), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1)
    if result.exit_code:
        assert (result.stderr[:7], result.stderr.count("\n"), result.stdout) == ("error: ", 1, "")
    return result


def check_counts(out: Path) -> None:
    """accepted + rejected = read, in the manifest and in the file of rejects."""
    manifest = read_json(out / "manifest.json", DataError)
    for item in manifest["inputs"]:
        assert item["accepted"] + item["rejected"] == item["rows_read"]
    assert (
        read_parquet(out / "rejects.parquet").height
        == manifest["counts"]["rejects"]
        == sum(item["rejected"] for item in manifest["inputs"])
    )


def text(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def workbook() -> bytes:
    sheet = io.BytesIO()
    with zipfile.ZipFile(sheet, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return sheet.getvalue()


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(
        {"client": ["A", "B"], "month": ["2024-01"] * 2, "status": [0, 1], "paid": [1.0, 2.0]} | columns, strict=False
    ).write_parquet(file)
    return file.getvalue()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("x.csv", b"", "is empty, expected a header and rows"),
    "blank lines only": ("x.csv", b"\n \n\n", "has only blank lines"),
    "header only": ("x.csv", text(HEADER), "has a header and no rows"),
    "no header": ("x.csv", text(A1, A2, B1), "fits no table of the pipeline"),
    "missing column": ("x.csv", text("client,month,status", "A,2024-01,0"), "misses 'paid'"),
    "renamed column": ("x.csv", text(HEADER.replace("status", "stattus"), A1), "found 'stattus', expected 'status'"),
    "doubled column": ("x.csv", text(HEADER + ",paid", A1 + ",1"), "the header names 'paid' 2 times"),
    "column given twice": ("x.csv", text(HEADER + ",Customer", A1 + ",B"), "'client' and 'Customer' both mean 'client'"),
    "long column name": (
        "x.csv",
        text(HEADER.replace("status", "s" * 10_000), A1),
        "it has 'client', 'month', '" + "s" * 40 + "…', 'paid'",
    ),
    "long column name twice": ("x.csv", text(f"{HEADER},{'s' * 9000},{'s' * 9000}", A1), f"names '{'s' * 40}…' 2 times"),
    "misspelt optional column": ("x.csv", text(HEADER + ",rates", A1 + ",1"), "where the optional column 'rate' is missing"),
    "NUL bytes": ("x.csv", text(HEADER, A1) + b"B\x00,2024-01,0,1\n", "line 3 holds a NUL byte"),
    "random bytes": ("x.csv", random.Random(0).randbytes(500), "x.csv: "),
    "UTF-16": ("x.csv", (HEADER + "\n" + A1).encode("utf-16"), "is encoded in UTF-16, expected UTF-8"),
    "mixed encodings": ("x.csv", text(HEADER, "é,2024-01,0,1") + b"\xe9,2024-01,0,1\n", "line 3 holds byte 0xE9"),
    "BOM before latin-1": (
        "x.csv",
        b"\xef\xbb\xbf" + text(HEADER, A1) + b"\xe9,2024-01,0,1\n",
        "line 3 holds byte 0xE9, which is not UTF-8",
    ),
    "neither UTF-8 nor latin-1": ("x.csv", text(HEADER) + b"\x81,2024-01,0,1\n", "line 2 holds byte 0x81"),
    "quote never closed": ("x.csv", text(HEADER, A1, '"A,2024-02,1,0', B1), "a quote opened in line 3 is never closed"),
    "workbook called csv": ("x.csv", workbook(), "is a zip archive or an Excel workbook"),
    "workbook": ("x.xlsx", workbook(), "ends in '.xlsx', expected .csv"),
    "Parquet called csv": ("x.csv", parquet(), "is Parquet, not delimited text"),
    "CSV called Parquet": ("x.parquet", tiny.CSV, "is not whole Parquet"),
    "truncated Parquet": ("x.parquet", parquet()[:-50], "is not whole Parquet"),
    "empty Parquet": ("x.parquet", b"", "is empty"),
    "Parquet without rows": ("x.parquet", parquet(client=[], month=[], status=[], paid=[]), "no rows"),
    "Parquet of other columns": ("x.parquet", parquet().replace(b"client", b"tneilc"), "x.parquet: "),
    "every row ragged": ("x.csv", text(HEADER, A1 + ",", B1 + ","), "so none is left; most often by ragged (2 rows, first in line 2)"),
    "every key doubled": ("x.csv", text(HEADER, A1, A1.replace("10.50", "11")), "so none is left; most often by primary_key"),
    "decimal commas": (
        "x.csv",
        text("client;month;status;paid", "A;2024-01;0;10,50"),
        "most often by paid|dtype (1 rows, first in line 2)",
    ),
    "too many rejects": ("x.csv", text(HEADER, A1, "B,2024-01,77,1"), "1 of 2 rows (50.00%) are rejected, more than the 10.00% allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_raw_file_ends_in_one_clear_line(case: str, tmp_path: Path) -> None:
    name, data, message = REFUSED[case]
    (tmp_path / name).write_bytes(data)
    result = run(tmp_path / name, tmp_path / "out")
    assert result.exit_code == 1
    assert message in result.stderr and len(result.stderr) < 500
    assert not (tmp_path / "out" / "manifest.json").exists()


REJECTED: dict[str, tuple[str, str]] = {
    "text for a number": ("C,2024-01,zero,1", "status|dtype: found 'zero', expected an integer"),
    "a fraction for an integer": ("C,2024-01,0.5,1", "status|dtype: found '0.5', expected an integer"),
    "absent value": ("C,2024-01,,1", "status|nullability"),
    "absent key": (",2024-01,0,1", "client|nullability"),
    "empty strings in quotes": ('"","","",""', "client|nullability"),
    "only separators": (",,,", "client|nullability"),
    "NaN for money": ("C,2024-01,0,NaN", "paid|dtype: found 'NaN', expected a number like 1234.50, within ±1e36"),
    "infinity for money": ("C,2024-01,0,-inf", "paid|dtype: found '-inf', expected a number like 1234.50, within ±1e36"),
    "a payment that rounds below zero": ("C,2024-01,0,-0.0051", "paid|min: found '-0.0051', rounded to -0.01, expected at least 0"),
    "an exponent beyond floats": ("C,2024-01,0,1e400", "paid|dtype: found '1e400', expected a number like 1234.50, within ±1e36"),
    "an exponent below floats": ("C,2024-01,0,1e-400", "paid|dtype: found '1e-400', expected a number like 1234.50, within ±1e36"),
    "an exponent of ten digits": (
        "C,2024-01,0,1e9999999999",
        "paid|dtype: found '1e9999999999', expected a number like 1234.50, within ±1e36",
    ),
    "an exponent for an integer": ("C,2024-01,1e400,1", "status|dtype: found '1e400', expected an integer"),
    "a scientific fraction for an integer": ("C,2024-01,1.5e-1,1", "status|dtype: found '1.5e-1', expected an integer"),
    "a month and a half late": ("C,2024-01,1.5,1", "status|dtype: found '1.5', expected an integer"),
    "more money than there is": (
        "C,2024-01,0," + "9" * 50,
        "paid|dtype: found '" + "9" * 40 + "…', expected a number like 1234.50, within ±1e36",
    ),
    "thousands separator": ('C,2024-01,0,"1,234.50"', "paid|dtype: found '1,234.50', expected a number like 1234.50, within ±1e36"),
    "thousands blank": ("C,2024-01,0,1 234", "paid|dtype: found '1 234', expected a number like 1234.50, within ±1e36"),
    "negative payment": ("C,2024-01,0,-1", "paid|min: found '-1', expected at least 0"),
    "status above range": ("C,2024-01,10,1", "status|max: found '10', expected at most 9"),
    "status below range": ("C,2024-01,-3,1", "status|min: found '-3', expected at least -2"),
    "integer beyond 64 bits": ("C,2024-01," + "9" * 30 + ",1", "status|dtype: found '" + "9" * 30 + "', expected an integer"),
    "digits of another script": ("C,2024-01,\u0663,1", "status|dtype: found '\u0663', expected an integer"),
    "month 13": ("C,2024-13,0,1", "month|dtype: found '2024-13', expected a date like 2024-01-31"),
    "date of another country": ("C,31.01.2024,0,1", "month|dtype: found '31.01.2024', expected a date like 2024-01-31"),
    "American date": ("C,01/31/2024,0,1", "month|dtype: found '01/31/2024', expected a date like 2024-01-31"),
    "day number of a spreadsheet": ("C,45292,0,1", "month|dtype: found '45292', expected a date like 2024-01-31"),
    "year beyond the calendar": ("C,99999-01,0,1", "month|dtype: found '99999-01', expected a date like 2024-01-31"),
    "month in the future": ("C,2999-01,0,1", "month|future: found '2999-01', expected at most "),
    "formula in the id": ("=HYPERLINK(0),2024-01,0,1", "client|formula: found '=HYPERLINK(0)', expected text or a number"),
    "quoted formula in the id": (
        '"=HYPERLINK(""http://a.example"",""x"")",2024-01,0,1',
        'client|formula: found \'=HYPERLINK("http://a.example","x")\', expected text',
    ),
    "command in the id": ("@cmd,2024-01,0,1", "client|formula: found '@cmd', expected text or a number"),
    "10,000 characters": ("C" * 10_000 + ",2024-01,0,1", "client|max_length: found '" + "C" * 40 + "…'"),
    "too few fields": ("C,2024-01,0", "ragged: found 3 fields, expected 4"),
    "too many fields": ("C,2024-01,0,1,2", "ragged: found 5 fields, expected 4"),
    "doubled key": ("A,2024-01,5,5", "primary_key: found client 'A', month '2024-01' more than once"),
    "doubled row": (A1, "repeat: found client 'A', month '2024-01' more than once, line 2 counts"),
    "doubled month": ("A,2024-01-31,0,10.5", "repeat: found client 'A', month '2024-01-31' more than once, line 2 counts"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_bad_row_is_kept_with_its_line_and_reason(case: str, tmp_path: Path) -> None:
    row, reason = REJECTED[case]
    (tmp_path / "x.csv").write_bytes(text(HEADER, A1, "", row, B1))
    assert run(tmp_path / "x.csv", tmp_path / "out", "--max-reject-share", "0.9").exit_code == 0
    found = {line: rules for line, rules in read_parquet(tmp_path / "out" / "rejects.parquet").select("line", "rules").rows()}
    assert any(rule.startswith(reason) for rule in found[4])
    assert set(found) == ({2, 4} if case == "doubled key" else {4})
    check_counts(tmp_path / "out")


TYPED: dict[str, tuple[dict[str, Any], str]] = {
    "unsigned beyond 64 bits": ({"status": pl.Series([0, 2**64 - 1], dtype=pl.UInt64)}, "status|dtype: found '18446744073709551615'"),
    "infinity": ({"paid": [1.0, float("inf")]}, "paid|dtype: found 'inf', expected a number like 1234.50, within ±1e36"),
    "NaN": ({"paid": [1.0, float("nan")]}, "paid|dtype: found 'NaN', expected a number like 1234.50, within ±1e36"),
    "more money than there is": ({"paid": [1.0, 1e300]}, "paid|dtype: found '1e+300', expected a number like 1234.50, within ±1e36"),
    "a payment that rounds below zero": ({"paid": [1.0, -0.0051]}, "paid|min: found '-0.0051', rounded to -0.01, expected at least 0"),
    "a month and a half late": ({"status": [1.0, 1.5]}, "status|dtype: found '1.5', expected an integer"),
    "absent in one row": ({"status": [0, None]}, "status|nullability"),
    "beyond the calendar": ({"month": pl.Series([0, 2**30], dtype=pl.Int32).cast(pl.Date)}, "month|dtype: found 'beyond the calendar"),
    "bytes for text": ({"client": pl.Series([None, b"\xff"], dtype=pl.Binary)}, "client|dtype: found a Binary, expected text"),
    "a list for a number": ({"status": pl.Series([None, [1]], dtype=pl.List(pl.Int64))}, "status|dtype: found a List(Int64)"),
}


@pytest.mark.parametrize("case", TYPED)
def test_a_bad_value_in_a_typed_file_is_kept_with_its_row_and_reason(case: str, tmp_path: Path) -> None:
    columns, reason = TYPED[case]
    (tmp_path / "x.parquet").write_bytes(parquet(**columns))
    assert run(tmp_path / "x.parquet", tmp_path / "out").exit_code == 1  # half of the rows, or all of them
    rejects = read_parquet(tmp_path / "out" / "rejects.parquet")
    assert rejects["line"][-1] == 2 and any(rule.startswith(reason) for rule in rejects["rules"][-1])


ALIKE: dict[str, bytes] = {
    "Windows line ends": tiny.CSV.replace(b"\n", b"\r\n"),
    "line ends of old": tiny.CSV.replace(b"\n", b"\r"),
    "BOM": b"\xef\xbb\xbf" + tiny.CSV,
    "semicolons": tiny.CSV.replace(b",", b";"),
    "all in quotes": text(*('"' + line.replace(",", '","') + '"' for line in (HEADER, A1, A2, B1))),
    "blank lines and blanks": text("", HEADER, "", " A ,2024-01, 0 ,10.50", A2, B1, "", ""),
    "no newline at the end": tiny.CSV.rstrip(),
    "whole numbers with a dot": text(HEADER, "A,2024-01,0.0,10.5", A2, "B,2024-01,-2.00,7.000"),
    "scientific notation": text(HEADER, "A,2024-01,0e0,1.05e1", "A,2024-02,1E+00,0E0", "B,2024-01,-20e-1,7e+00"),
    "floats of binary": text(HEADER, "A,2024-01,0,10.500000000000002", "A,2024-02,1,1e-17", "B,2024-01,-2,6.999999999999999"),
    "a trailing comma everywhere": text(*(line + "," for line in (HEADER, A1, A2, B1))),
}


@pytest.mark.parametrize("case", ALIKE)
def test_a_file_written_another_way_gives_the_same_events_and_samples(case: str, tmp_path: Path) -> None:
    for name, data in (("plain", tiny.CSV), ("other", ALIKE[case])):
        (tmp_path / f"{name}.csv").write_bytes(data)
        assert run(tmp_path / f"{name}.csv", tmp_path / name).exit_code == 0
    plain, other = Prepared.read(tmp_path / "plain"), Prepared.read(tmp_path / "other")
    assert other.events.equals(plain.events) and other.samples.equals(plain.samples) and other.rejects.is_empty()


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_float_columns_of_amounts_are_accepted_and_the_rounded_ones_counted(dtype: type[pl.DataType], tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(parquet(paid=pl.Series([3961.127, 0.3], dtype=dtype)))
    result = run(tmp_path / "x.parquet", tmp_path / "out")
    assert (result.exit_code, "rounded to the column's decimals: paid 1\n" in result.stdout) == (0, True)
    prepared = Prepared.read(tmp_path / "out")
    assert prepared.events["paid"].to_list() == [396_113, 30] and prepared.manifest["rounded"] == {"statements": {"paid": 1}}
    check_counts(tmp_path / "out")


def test_a_newline_in_quotes_is_part_of_its_cell_and_moves_no_later_line_number(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text(HEADER, A1, '"C', 'D",2024-01,0,1', "E,2024-01,77,1"))
    assert run(tmp_path / "x.csv", tmp_path / "out", "--max-reject-share", "0.9").exit_code == 0
    prepared = Prepared.read(tmp_path / "out")
    assert prepared.samples["client"].to_list() == ["A", "C\nD"] and prepared.rejects["line"].to_list() == [5]


PATHS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing file": (lambda folder: folder / "none.csv", "no such file"),
    "folder for a file": (lambda folder: _folder(folder / "x.csv"), "holds no file ending in .csv"),
    "empty folder": (lambda folder: _folder(folder / "raw"), "holds no file ending in .csv"),
    "a loop of links": (lambda folder: _loop(folder / "x.csv"), "cannot be read (Too many levels of symbolic links)"),
    "a loop of links in a folder": (lambda folder: _loop(_folder(folder / "raw") / "x.csv").parent, "raw/x.csv: cannot be read (Too many"),
    "a folder in a folder": (lambda folder: _folder(_folder(folder / "raw") / "x.csv").parent, "raw/x.csv: is a folder, expected a file"),
    "a name that is too long": (lambda folder: folder / ("x" * 300 + ".csv"), "cannot be read (File name too long)"),
    "a pipe": (lambda folder: _pipe(folder / "x.csv"), "is not a file"),
    "two files of one table": (
        lambda folder: _folder(folder / "raw", "a.csv", "b.csv"),
        "a.csv and b.csv both hold the table 'statements'",
    ),
}


def _folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(tiny.CSV)
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("case", PATHS)
def test_what_is_no_raw_file_ends_in_one_clear_line(case: str, tmp_path: Path) -> None:
    make, message = PATHS[case]
    result = run(make(tmp_path), tmp_path / "out")
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_an_output_that_cannot_be_written_ends_in_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_bytes(tiny.CSV)
    below_a_file = run(tmp_path / "x.csv", tmp_path / "x.csv" / "out")
    assert (below_a_file.exit_code, "cannot be made" in below_a_file.stderr) == (1, True)
    round_and_round = run(tmp_path / "x.csv", _loop(tmp_path / "loop"))
    assert (round_and_round.exit_code, "cannot be made" in round_and_round.stderr) == (1, True)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    disk_full = run(tmp_path / "x.csv", tmp_path / "out")
    assert (disk_full.exit_code, "cannot be written (No space left on device)" in disk_full.stderr) == (1, True)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "has no SCHEMAS"),
        ("SCHEMAS = {", "is not valid Python"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (
            Path(tiny.__file__).read_text().replace('rows = tables["statements"]', 'rows = tables["other"]'),
            "table 'other', which the pipeline needs",
        ),
        (
            Path(tiny.__file__).read_text().replace('"client",\n        "status"', '"client",\n        "nix"'),
            "stopped with ColumnNotFoundError",
        ),
    ],
    ids=["empty", "syntax", "import", "other table", "other column"],
)
def test_a_broken_pipeline_ends_in_one_clear_line(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(tiny.CSV)
    (tmp_path / "mine.py").write_text(code)
    result = run(tmp_path / "x.csv", tmp_path / "out", pipeline=str(tmp_path / "mine.py"))
    assert (result.exit_code, message in result.stderr) == (1, True)


def flipped(data: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(data))
    return data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_flipped_bit_in_a_raw_file_is_never_a_traceback(name: str, tmp_path: Path) -> None:
    data = tiny.CSV if name == "x.csv" else parquet()
    rng = random.Random(7)
    ends = []
    for number in range(FLIPS):
        (tmp_path / name).write_bytes(flipped(data, rng))
        out = tmp_path / str(number)
        ends.append(run(tmp_path / name, out, "--max-reject-share", "0.9").exit_code)
        if not ends[-1]:
            check_counts(out)
    assert set(ends) == {0, 1}


def test_a_flipped_bit_in_prepared_data_is_always_found_and_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(tiny.CSV + b"C,2024-01,99,1\n")
    assert run(tmp_path / "x.csv", tmp_path / "out", "--max-reject-share", "0.9").exit_code == 0
    rng = random.Random(8)
    files = sorted((tmp_path / "out").iterdir())
    for number in range(FLIPS):
        path = files[number % len(files)]
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, rng))
        with pytest.raises(DataError, match=path.name) as caught:
            Prepared.read(tmp_path / "out")
        assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    assert Prepared.read(tmp_path / "out").samples.height == 3
