"""What leaves the dashboard: safe to open, complete, and checked."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.explaining.runs import Made, explained, records_of
from trmfin.data.files import raw_from_frame
from trmfin.errors import ReviewError, RunError
from trmfin.explaining.exports import audit_zip, browser, csv, notice, pdf
from trmfin.explaining.pages import as_html
from trmfin.scoring.journal import Journal
from trmfin.scoring.outcomes import append
from trmfin.scoring.review import Reviewer, Step
from trmfin.scoring.views import as_parquet, opened, with_reviews

ANN = Reviewer(name="ann", roles=("analyst",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(f"sqlite:///{tmp_path}/journal.db") as opened_:
        yield opened_


def test_a_spreadsheet_runs_nothing_of_a_csv() -> None:
    risky = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "a=b", None]
    table = pl.DataFrame({"name": risky, "score": [-0.5] * 9, "logits": [[-1.5, 2.0]] * 9, "at": [datetime(2026, 5, 1, tzinfo=UTC)] * 9})
    found = pl.read_csv(io.BytesIO(csv(table)))
    assert found["name"].to_list() == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "plain", "a=b", None]
    assert found["score"].to_list() == [-0.5] * 9, "numbers stay numbers"
    assert set(found["logits"]) == {"-1.5;2.0"} and set(found["at"]) == {"2026-05-01T00:00:00Z"}


def test_every_score_leaves_with_what_people_made_of_it(made: Made, journal: Journal) -> None:
    run = opened(made.run)
    journal.act(ANN, run.seal, "s3", Step(action="claim"))
    journal.act(ANN, run.seal, "s3", Step(action="accept", model_decision="flagged"))
    table = with_reviews(run, journal.reviewed(run.seal))
    assert table["sample_id"].to_list() == run.scores.collect()["sample_id"].to_list()
    row = table.row(by_predicate=pl.col("sample_id") == "s3", named=True)
    assert (row["state"], row["owner"], row["review"]) == ("decided", "ann", "flagged") and table["state"].null_count() == 11
    assert pl.read_parquet(io.BytesIO(as_parquet(table))).equals(table)


def test_a_notice_gives_the_released_reasons_and_is_a_draft(made: Made) -> None:
    record = next(record for record in records_of(made.run) if record["inference"]["decision"] == "flagged" and record["reasons"])
    text = notice(record | {"needs_human": []})
    assert text.startswith("DRAFT") and record["sha256"] in text
    for reason in record["reasons"]:
        assert f"{reason['rank']}. {reason['text']}." in text
    with pytest.raises(ReviewError, match="no reason of .* is released"):
        notice(record | {"needs_human": ["a check failed"]})
    kept = record | {"needs_human": [], "inference": record["inference"] | {"decision": "not flagged"}}
    with pytest.raises(ReviewError, match="was not flagged"):
        notice(kept)
    with pytest.raises(ReviewError, match="was flagged, but nothing raises its score above the comparison group's"):
        notice(record | {"needs_human": [], "reasons": []})


def test_the_zip_holds_all_files_the_runs_events_and_their_sums(made: Made, journal: Journal, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.run, tmp_path / "run"))
    run = opened(folder)
    append(run, raw_from_frame(pl.DataFrame({"sample_id": ["s1"], "outcome": [1]}), "outcomes"), datetime(2026, 5, 1, tzinfo=UTC))
    journal.act(ANN, run.seal, "s1", Step(action="claim"))
    journal.act(ANN, "f" * 64, "s1", Step(action="claim"))
    data = audit_zip(run, journal)
    assert data == audit_zip(run, journal), "the same bytes each time"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        assert names >= {*run.manifest["files"], "manifest.json", "outcomes/00001.json", "journal.jsonl", "journal.txt", "SHA256SUMS"}
        sums = dict(line.split("  ")[::-1] for line in archive.read("SHA256SUMS").decode().splitlines())
        assert sums == {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names - {"SHA256SUMS"}}
        assert len(archive.read("journal.jsonl").splitlines()) == 1 and b"2 events" in archive.read("journal.txt")
    path = folder / "scores/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="was changed"):
        audit_zip(run, journal)


@pytest.mark.skipif(browser() is None, reason="no browser that prints is installed here")
def test_a_case_file_is_printed_by_the_browser(made: Made) -> None:
    program = browser()
    assert program is not None
    record = next(record for record in records_of(made.run) if record["data"]["case"]["events"])
    found = pdf(as_html(record), program)
    assert found.startswith(b"%PDF-") and found.rstrip().endswith(b"%%EOF") and len(found) > 5_000


def test_a_browser_that_prints_nothing_is_an_error_with_a_way_out() -> None:
    for program in (sys.executable, "/nowhere/chromium"):
        with pytest.raises(RunError, match="take the HTML and print it by hand"):
            pdf("<p>nothing</p>", program)


def test_nothing_of_a_browser_goes_on_after_it_was_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "browser"
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    slow.chmod(0o755)
    monkeypatch.setattr("trmfin.explaining.exports.PRINTING_SECONDS", 2)
    with pytest.raises(RunError, match="printed nothing .TimeoutExpired."):
        pdf("<p>slow</p>", str(slow))
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("the browser's child goes on")
