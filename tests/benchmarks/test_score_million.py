"""The table of `score_million.py`: whose clients it scores, and what it says of each size. Sizes here are too small to tell speed."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.benchmarks.score_million import CREDIT, HEADS, line, prepared, raw_clients, repeated


def test_the_clients_are_those_of_the_credit_file_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRMFIN_DATA", str(tmp_path))
    assert raw_clients().parts[-3:] == ("sample_data", "payments", "raw")
    (tmp_path / CREDIT).parent.mkdir()
    (tmp_path / CREDIT).write_text("")
    assert raw_clients() == tmp_path / CREDIT


def test_repeated_clients_differ_a_little_and_have_ids_of_their_own(checkout: Path) -> None:
    base = prepared(checkout / "sample_data" / "payments" / "raw")
    data = repeated(base, 6_000)
    assert (len(data.samples), data.samples["sample_id"].n_unique()) == (6_000, 6_000)
    pair = data.events.filter(pl.col("event_id").str.ends_with("C000001@2024-01"))
    assert pair["event_id"].to_list() == ["0-C000001@2024-01", "1-C000001@2024-01", "2-C000001@2024-01"]
    assert pair["billed"].n_unique() == 3 and pair["billed"].max() < 1.11 * pair["billed"].min()
    assert pair["used"].to_list() == (pair["billed"] / pair["limit"]).to_list()


def test_every_number_of_a_line_is_of_its_column() -> None:
    ours = {"epsilon": 0.05, "seconds": 40.0, "inside": 32.0, "steps": 0.25, "calls": 0.125, "mib": 500.0, "before": 300.0}
    found = line(100_000, ours, {"read": 1.0, "features": 3.0, "predict": 4.0}, first=0.0005).split()
    assert found[:8] == ["100,000", "0.05", "40.0", "2,500", "0.80", "20.0%", "25.0%", "12.5%"]
    assert found[8:] == ["500", "200", "1.00", "3.00", "4.00", "25,000", "12,500"]
    assert len(found) == len(HEADS)


def test_each_size_has_a_line_for_each_epsilon(checkout: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "tests/benchmarks/score_million.py",
        "--rows",
        "30",
        "60",
        "--halt-epsilon",
        "0",
        "9",
        "--keep",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    _, head, *lines = done.stdout.splitlines()
    assert head.split() == " ".join(HEADS).split()
    cells = [text.split() for text in lines]
    assert [row[:2] for row in cells] == [["30", "0"], ["30", "9"], ["60", "0"], ["60", "9"]]
    assert [row[4] for row in cells[:2]] == ["1.00", "1.00"]
    assert [row[6] for row in cells] == ["0.0%", "33.3%", "0.0%", "33.3%"]  # any sample is settled after the second of three steps
    assert len(pl.read_parquet(tmp_path / "run-60-*" / "scores" / "*.parquet")) == 2 * 60
