"""`python -m trmfin.journal`: checks a journal of reviews, and writes it out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update
from typer.testing import CliRunner, Result

from trmfin import journal as command
from trmfin.command import application
from trmfin.scoring.journal import Journal
from trmfin.scoring.journal_tables import CASES
from trmfin.scoring.review import Reviewer, Step

ANN = Reviewer(name="ann", roles=("analyst",))


def run(*words: object) -> Result:
    return CliRunner().invoke(application(command.main), [str(word) for word in words])


@pytest.fixture
def url(tmp_path: Path) -> str:
    with Journal(f"sqlite:///{tmp_path}/journal.db") as journal:
        for sample in ("s1", "s2"):
            journal.act(ANN, "a" * 64, sample, Step(action="claim"))
    return f"sqlite:///{tmp_path}/journal.db"


def test_an_intact_journal_is_counted_and_its_last_hash_is_told_and_found_again(url: str, tmp_path: Path) -> None:
    good = run(url, "--export", tmp_path / "events.jsonl")
    assert good.exit_code == 0 and "2 events, the chain is intact" in good.stdout
    end = good.stdout.split()[-1]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["action"] for event in events] == ["claim", "claim"] and events[-1]["sha256"] == end
    assert "ann" not in (tmp_path / "events.jsonl").read_text(), "people are there under pseudonyms"
    assert run(url, "--anchor", end).exit_code == 0
    assert "made anew" in run(url, "--anchor", "f" * 64).stderr


def test_a_sample_is_forgotten_by_name_or_once_its_retention_is_over(url: str, tmp_path: Path) -> None:
    named = run(url, "--forget", "s1")
    assert "s1: 1 keys forgotten" in named.stdout and "the chain is intact" in named.stdout
    again = run(url, "--forget", "s1")
    assert again.exit_code == 1 and "'s1' has no keys in this journal" in again.stderr
    with Journal(url, now=lambda: datetime(2020, 1, 1, tzinfo=UTC)) as journal:
        journal.act(ANN, "a" * 64, "s3", Step(action="claim"))
    assert "1 samples are beyond 25 months of retention" in run(url).stdout
    (tmp_path / "policy.toml").write_text("retention_months = 1200")
    assert "retention" not in run(url, "--policy", tmp_path / "policy.toml").stdout
    assert run(url, "--forget", "s3", "--forget-expired").stdout.count("s3: 1 keys forgotten") == 1 and "beyond" not in run(url).stdout
    (tmp_path / "policy.toml").write_text("retention = 1")
    bad = run(url, "--policy", tmp_path / "policy.toml")
    assert bad.exit_code == 1 and "is no review policy" in bad.stderr and "retention_months" in bad.stderr


def test_a_changed_journal_is_an_error(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(CASES).values(state="decided"))
    engine.dispose()
    bad = run(url)
    assert bad.exit_code == 1 and "error: journal" in bad.stderr and "is not what its events made it" in bad.stderr


def test_a_journal_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    bad = run(f"sqlite:///{tmp_path}/none.db")
    assert bad.exit_code == 1 and "there is none; check the URL" in bad.stderr and not (tmp_path / "none.db").exists()
    (tmp_path / "other.db").touch()
    assert "there is none; check the URL" in run(f"sqlite:///{tmp_path}/other.db").stderr
