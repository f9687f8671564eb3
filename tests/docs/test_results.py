"""The page of results shows what was run, and how to run it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from docs.results import SECTIONS, options, section
from trmfin.data.files import read_raw
from trmfin.data.prepared import apply
from trmfin.data.simulate import write_world
from trmfin.data.simulate.payments import change_month
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.sequences import build
from trmfin.sequences.splits import protocol_splits
from trmfin.shipped import load_pipeline

REPORT = {"protocol": {"words": "2 folds"}, "notes": ["Nobody was left out."]}


def test_a_section_without_a_report_shows_its_commands() -> None:
    for name, shown in SECTIONS.items():
        text = section(name, Path("nowhere"))
        assert all(f"\n{command}\n" in text for command in shown.commands) and "Not measured yet in full" in text


def test_a_section_shows_its_report_under_its_commands(tmp_path: Path) -> None:
    command = SECTIONS["labels"].commands[-1].replace("build/", "elsewhere/") + " --workers 2 --resume"
    steps = [{"step": step, "auc": 0.7, "log_loss": 0.4} for step in (1, 2)]
    halting = [{"epsilon": 0.0, "auc": 0.7, "log_loss": 0.4, "steps_saved": 0.0, "cheapest": True}]
    (tmp_path / "labels.json").write_text(json.dumps({**REPORT, "command": command, "steps": steps, "halting": halting}))
    text = section("labels", tmp_path)
    assert "Protocol: 2 folds." in text and "Nobody was left out" not in text and "elsewhere" not in text
    assert "Early halting" not in text and "Not measured" not in text  # the section on all labels shows it


def test_a_section_shows_its_pictures_and_all_parts_that_no_other_section_shows(tmp_path: Path) -> None:
    steps = [{"step": step, "auc": 0.7, "log_loss": 0.4} for step in (1, 2)]
    halting = [{"epsilon": 0.0, "auc": 0.7, "log_loss": 0.4, "steps_saved": 0.0, "cheapest": True}]
    report = {**REPORT, "command": SECTIONS["credit"].commands[-1], "steps": steps, "halting": halting}
    (tmp_path / "credit.json").write_text(json.dumps(report))
    text = section("credit", tmp_path)
    assert "\n### Early halting\n\nA sample may stop" in text and "- Nobody was left out." in text
    assert all(f"](pictures/{file})" in text for file, _ in SECTIONS["credit"].pictures)


def test_a_report_of_another_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({**REPORT, "command": SECTIONS["labels"].commands[-1] + " --seeds 2"}))
    with pytest.raises(SystemExit, match="labels.json: was made by .*--seeds 2.*expected the options of"):
        section("labels", tmp_path)


def test_options_are_read_in_both_spellings_and_paths_do_not_count() -> None:
    assert options("python -m x payment_history build/a --out=b --draws 20 --labels=300,1000 --workers 2 --resume") == {
        "--draws": "20",
        "--labels": "300,1000",
    }


def test_no_window_of_the_simulated_world_straddles_its_change(tmp_path: Path) -> None:
    made, shown = (options(SECTIONS["world"].commands[place]) for place in (0, 2))
    months = int(made["--months"])
    use, raw = load_pipeline("payment_history"), write_world("payments", clients=60, months=months, seed=int(made["--seed"]), out=tmp_path)
    sequences = build(apply(use, {"long": read_raw(raw / "payments.csv")}, datetime(2026, 1, 1, tzinfo=UTC)), use.task)
    days, windows = int(shown["--test-days"]), int(shown["--windows"])
    protocol = Protocol(kind="walk_forward", test_start=shown["--test-start"], test_days=days, folds=windows)
    month = (sequences.as_of.astype("datetime64[us]") - np.timedelta64(1, "D")).astype("datetime64[M]")  # of the newest statement
    change, seen = np.datetime64(change_month(months)), []
    for split in protocol_splits(sequences, protocol):
        assert np.unique(month[split.test]).size == 2 and np.unique(month[split.train]).size >= 6
        seen.append({bool(after) for after in month[split.test] >= change})
    assert seen == [{False}, {False}, {True}, {True}, {True}]


def test_the_readme_shows_the_credit_reports_numbers() -> None:
    docs = Path(__file__).resolve().parents[2]
    models = json.loads((docs / "docs" / "results" / "credit.json").read_text(encoding="utf-8"))["models"]
    readme = (docs / "README.md").read_text(encoding="utf-8")
    for metrics in models.values():
        auc, seconds = metrics["auc"], metrics["seconds"]["median"]
        cells = [
            f"{auc['mean']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}]",
            *(f"{metrics[name]['mean']:.4f}" for name in ("ap", "log_loss", "ks")),
        ]
        row = " | ".join([*cells, f"{metrics['pooled']['ece']['value']:.4f}", f"{seconds:.0f}"]).replace("0.", ".")
        assert f"| {row} |" in readme
