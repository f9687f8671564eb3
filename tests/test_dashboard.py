"""`python -m trmfin.dashboard`: what it starts, and what it says before it starts anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.architecture.tree import ROOT
from trmfin import dashboard
from trmfin.command import application

RUN = ROOT / "sample_data" / "payments" / "run"


def run(*words: object) -> Result:
    return CliRunner().invoke(application(dashboard.main), [str(word) for word in words])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been started."""
    found: list[dict[str, Any]] = []

    def note(command: list[str], env: dict[str, str], check: bool) -> SimpleNamespace:
        found.append({"command": command, "env": env})
        return SimpleNamespace(returncode=0)

    pytest.importorskip("streamlit", reason="streamlit is not installed")
    monkeypatch.setattr(subprocess, "run", note)
    return found


def test_by_default_the_sample_run_is_shown_and_its_journal_is_made(started: list[dict[str, Any]], tmp_path: Path) -> None:
    assert run("--journal", f"sqlite:///{tmp_path}/j.db", "--port", 8765, "--no-browser").exit_code == 0
    (one,) = started
    assert one["env"]["TRMFIN_RUNS"] == str(RUN) and one["env"]["TRMFIN_JOURNAL"] == f"sqlite:///{tmp_path}/j.db"
    assert one["command"][-9:] == [
        str(ROOT / "dashboards" / "app.py"), "--client.toolbarMode", "viewer",
        "--server.port", "8765", "--server.headless", "true", "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    assert one["env"]["TRMFIN_BUNDLES"] == str(RUN.parent / "bundle")
    assert str(ROOT) in one["env"]["PYTHONPATH"].split(os.pathsep) and (tmp_path / "j.db").exists()


def test_runs_and_people_are_handed_on(started: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_text('"ann@bank.example" = ["analyst"]\n')
    words = [RUN, RUN, "--journal", f"sqlite:///{tmp_path}/j.db", "--roles", tmp_path / "roles.toml", "--reviewer", "ann"]
    assert run(*words).exit_code == 0
    assert started[0]["env"]["TRMFIN_RUNS"] == f"{RUN}{os.pathsep}{RUN}" and started[0]["env"]["TRMFIN_REVIEWER"] == "ann"
    assert started[0]["env"]["TRMFIN_ROLES"] == str(tmp_path / "roles.toml") and started[0]["env"]["TRMFIN_BUNDLES"] == ""


def test_bundles_are_handed_on(started: list[dict[str, Any]], tmp_path: Path) -> None:
    bundle = RUN.parent / "bundle"
    assert run(RUN, "--bundle", bundle, "--bundle", bundle, "--journal", f"sqlite:///{tmp_path}/j.db").exit_code == 0
    assert started[0]["env"]["TRMFIN_BUNDLES"] == f"{bundle}{os.pathsep}{bundle}"


def test_what_cannot_be_shown_is_said_before_anything_starts(started: list[dict[str, Any]], tmp_path: Path) -> None:
    journal = ["--journal", f"sqlite:///{tmp_path}/j.db"]
    (tmp_path / "roles.toml").write_text('ann = ["boss"]\n')
    for words, said in (
        ([tmp_path, *journal], "no manifest.json, so it holds no run"),
        ([RUN, "--bundle", tmp_path, *journal], "manifest.json: no such file"),
        (["--journal", "nonsense"], "journal: 'nonsense' cannot be opened"),
        ([*journal, "--roles", tmp_path / "roles.toml"], "role 'boss' is unknown"),
    ):
        bad = run(*words)
        assert bad.exit_code == 1 and said in bad.stderr, bad.output
    assert started == []
