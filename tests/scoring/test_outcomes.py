"""Outcomes: accepted + rejected = read, the newest counts, and what was appended cannot be changed unseen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.explaining.runs import Made, explained
from trmfin import outcomes as command
from trmfin.command import application
from trmfin.data.files import raw_from_frame, read_raw
from trmfin.errors import DataError, RunError
from trmfin.scoring.folder import verify_run
from trmfin.scoring.outcomes import append, batches, outcomes
from trmfin.scoring.views import Run, opened

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = "sample_id,outcome,known_at\ns1,1,2026-01-02\ns2,0,2026-01-03\n"
LATER = "sample_id,outcome,known_at\ns1,0,2026-02-02\ns3,1,2026-02-02\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("later"))


@pytest.fixture
def run(made: Made, tmp_path: Path) -> Run:
    return opened(Path(shutil.copytree(made.run, tmp_path / "run")))


def given(run: Run, text: str, name: str = "file.csv") -> Path:
    path = run.folder.parent / name
    path.write_text(text)
    return path


def test_accepted_and_rejected_are_all_that_was_read_and_the_run_stays_as_it_was(run: Run) -> None:
    bad = "s4,2,2026-01-02\ns5,,2026-01-02\nnobody,1,2026-01-02\ns6,1,1999-01-01\ns7,1,2027-01-01\ns8,1,2026-01-02\ns8,0,2026-01-02\ns9,0\n"
    batch, rules = append(run, read_raw(given(run, GOOD + bad)), NOW)
    assert (batch.read, batch.accepted, batch.rejected) == (10, 2, 8) and batch.accepted + batch.rejected == batch.read
    assert set(rules) >= {"outcome|is_in", "outcome|nullability", "sample_id|unknown", "known_at|early", "known_at|future", "primary_key"}
    rejects = pl.read_parquet(run.folder / "outcomes" / "00001.rejects.parquet")
    assert len(rejects) == 8 and rejects["line"].is_sorted() and rejects["line"].to_list() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert outcomes(run.folder).drop("segment").rows() == [
        ("s1", 1, datetime(2026, 1, 2, tzinfo=UTC)), ("s2", 0, datetime(2026, 1, 3, tzinfo=UTC))
    ]  # fmt: skip
    assert verify_run(run.folder) and opened(run.folder).rows == run.rows


def test_the_newest_outcome_counts_and_changes_are_told(run: Run) -> None:
    append(run, read_raw(given(run, GOOD)), NOW)
    batch, _ = append(run, read_raw(given(run, LATER, "later.csv")), NOW)
    assert (batch.number, batch.changed) == (2, 1)
    assert dict(outcomes(run.folder).select("sample_id", "outcome").iter_rows()) == {"s1": 0, "s2": 0, "s3": 1}
    append(run, read_raw(given(run, "sample_id,outcome,known_at\ns1,1,2025-12-01\n", "old.csv")), NOW)
    assert dict(outcomes(run.folder).select("sample_id", "outcome").iter_rows())["s1"] == 0, "what was known earlier does not count"
    today, _ = append(run, raw_from_frame(pl.DataFrame({"sample_id": ["s1"], "outcome": [1]}), "frame"), NOW)
    assert today.changed == 1 and outcomes(run.folder).row(0) == ("s1", 1, NOW, None), "without known_at an outcome is of today"
    assert [batch.number for batch in batches(run.folder)] == [1, 2, 3, 4]


def test_a_file_is_taken_once_and_one_without_a_good_row_not_at_all(run: Run) -> None:
    append(run, read_raw(given(run, GOOD)), NOW)
    with pytest.raises(RunError, match="these outcomes were appended before"):
        append(run, read_raw(given(run, GOOD)), NOW)
    with pytest.raises(DataError, match="none of 1 rows can be used, most often by sample_id.unknown"):
        append(run, read_raw(given(run, "sample_id,outcome\nnobody,1\n")), NOW)
    assert len(batches(run.folder)) == 1


HARM: dict[str, Callable[[Path], object]] = {
    "00001.parquet was changed": lambda folder: pl.DataFrame({"sample_id": ["s1"]}).write_parquet(folder / "00001.parquet"),
    "00001.rejects.parquet was changed": lambda folder: (folder / "00001.rejects.parquet").write_bytes(b""),
    "a batch before it was changed": lambda folder: (folder / "00001.json").write_text((folder / "00001.json").read_text() + " "),
    "is no batch of outcomes": lambda folder: (folder / "00002.json").write_text("{}"),
    "a batch before it was changed, added or dropped": lambda folder: (folder / "00001.json").unlink(),
    "no such file": lambda folder: (folder / "00002.parquet").unlink(),
}


@pytest.mark.parametrize("said", HARM)
def test_what_was_appended_cannot_be_changed_unseen(said: str, run: Run) -> None:
    append(run, read_raw(given(run, GOOD)), NOW)
    append(run, read_raw(given(run, LATER, "later.csv")), NOW)
    HARM[said](run.folder / "outcomes")
    with pytest.raises(RunError, match=said):
        outcomes(run.folder)


def test_what_a_killed_append_left_is_written_over(run: Run) -> None:
    append(run, read_raw(given(run, GOOD)), NOW)
    (run.folder / "outcomes" / "00002.parquet").write_bytes(b"half")
    append(run, read_raw(given(run, LATER, "later.csv")), NOW)
    assert len(outcomes(run.folder)) == 3


def test_the_command_tells_what_became_of_every_row(run: Run) -> None:
    path = given(run, GOOD + "nobody,1,2026-01-02\n")
    done = CliRunner().invoke(application(command.main), [str(run.folder), str(path)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "file.csv: 3 rows read, 2 accepted, 1 rejected",
        "       1  sample_id|unknown",
        "known now: 2 of 12 samples, 1 of them 1",
    ]
    again = CliRunner().invoke(application(command.main), [str(run.folder), str(path)])
    assert again.exit_code == 1 and "each file is taken once" in again.stderr


def test_a_later_outcome_without_a_segment_keeps_the_one_that_was_told(run: Run) -> None:
    append(run, read_raw(given(run, "sample_id,outcome,known_at,segment\ns1,0,2026-01-02,cards\n", "first.csv")), NOW)
    append(run, read_raw(given(run, "sample_id,outcome,known_at\ns1,1,2026-02-02\n", "appeal.csv")), NOW)
    assert outcomes(run.folder).select("outcome", "segment").row(0) == (1, "cards")
