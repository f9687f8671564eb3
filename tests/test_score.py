"""`python -m trmfin.score`: options, exit codes, what is printed."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.scoring.models import PANEL, bundle_for, panel, saved
from tests.scoring.test_api import CONFIG, statements
from trmfin.command import application
from trmfin.errors import RunError
from trmfin.learn.policy import Policy
from trmfin.score import main, report
from trmfin.scoring.folder import locked, verify_run
from trmfin.scoring.runs import Summary
from trmfin.scoring.scores import Effort
from trmfin.scoring.thresholds import BandCount


def score(*arguments: object) -> Result:
    return CliRunner().invoke(application(main), [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    saved(panel(20), bundle_for(panel(20), PANEL), folder)
    return folder


def check_refused(result: Result, said: str) -> None:
    """Exit 1 and one line."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr


def test_scores_are_written_and_summed_up(folder: Path, tmp_path: Path) -> None:
    result = score(folder / "bundle", folder / "prepared", "--out", tmp_path / "run", "--threads", 1)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("scored 20 rows in ") and lines[0].endswith(" rows/s")
    assert lines[1] == "network: 80 of 80 supervision steps of samples (early halting saved 0.0%) in 4 of 4 calls (0.0%)"
    assert sum(int(line.split()[2]) for line in lines if line.startswith(("low", "medium", "high"))) == 20
    assert verify_run(tmp_path / "run")["counts"]["rows"] == 20


def test_options_reach_the_run(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "mine.json"
    policy.write_text(json.dumps(Policy(bands=(("all", 1.0),), version="mine", halt_epsilon=0.2).to_json()))
    options = ("--steps", 3, "--policy", policy, "--halt-epsilon", 0.1, "--threads", 1, "--batch-size", 7, "--shard-rows", 8)
    result = score(folder / "bundle", folder / "prepared", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    manifest = verify_run(tmp_path / "run")
    assert manifest["settings"] == {"steps": 3, "threads": 1, "batch_size": 7, "shard_rows": 8}
    assert (manifest["policy"]["version"], manifest["policy"]["halt_epsilon"]) == ("mine", 0.1)
    assert manifest["counts"]["bands"] == {"all": 20}


def test_raw_data_are_prepared_into_the_run(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.shipped import load_pipeline

    use = load_pipeline("payment_history")
    prepared = apply(use, {"long": raw_from_frame(statements(), "frame")}, datetime.now(UTC))
    saved(prepared, bundle_for(prepared, use.task, CONFIG), tmp_path)
    statements().write_csv(tmp_path / "raw.csv")
    command = (tmp_path / "bundle", tmp_path / "raw.csv", "--pipeline", "payment_history", "--out", tmp_path / "run", "--threads", 1)
    result = score(*command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "rejected 0 of 32 raw rows"
    scores = pl.read_parquet(tmp_path / "run" / "scores" / "part-00000.parquet")
    assert scores["sample_id"].to_list() == prepared.samples["sample_id"].to_list()
    assert (tmp_path / "run" / "prepared" / "manifest.json").exists()
    assert score(*command, "--resume").exit_code == 0
    statements(clients=9).write_csv(tmp_path / "raw.csv")
    check_refused(score(*command, "--resume"), "holds a run of another pipeline or raw data: long is ")
    assert verify_run(tmp_path / "run")["counts"]["rows"] == 32  # and is as it was
    (tmp_path / "run" / "prepared" / "events.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"prepared/events\.parquet was changed"):
        verify_run(tmp_path / "run")
    statements().with_columns(status=pl.lit(99)).write_csv(tmp_path / "raw.csv")
    check_refused(score(*command[:-3], tmp_path / "bad", "--threads", 1), "32 of 32 rows (100.00%) are rejected")
    assert len(pl.read_parquet(tmp_path / "bad" / "prepared" / "rejects.parquet")) == 32


def test_expected_failures_end_in_one_line(folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    check_refused(score(tmp_path / "none", folder / "prepared", *out), "no such folder")
    check_refused(score(folder / "bundle", tmp_path / "none", *out), "no such folder")
    check_refused(score(folder / "bundle", folder / "prepared", *out, "--steps", 5), "trained for 4 supervision steps")
    check_refused(score(folder / "bundle", folder / "prepared", *out, "--policy", tmp_path / "none.json"), "none.json: cannot be read")
    check_refused(score(folder / "bundle", folder / "prepared", *out, "--pipeline", "nothing"), "pipeline 'nothing'")
    assert not (tmp_path / "run").exists()
    with locked(tmp_path / "run"):
        check_refused(score(folder / "bundle", folder / "prepared", *out), "is writing this folder")


@pytest.mark.parametrize(
    "options", [(), ("--out", "run", "--steps", "0"), ("--out", "run", "--halt-epsilon", "-1"), ("--out", "run", "--reasons", "all")]
)
def test_wrong_usage_ends_with_2(folder: Path, options: tuple[str, ...]) -> None:
    assert score(folder / "bundle", folder / "prepared", *options).exit_code == 2


def test_a_resumed_run_says_what_was_there_already(tmp_path: Path) -> None:
    effort = Effort(calls=6, calls_in_full=8, sample_steps=150, sample_steps_in_full=400)
    summary = Summary(rows=50, rows_now=30, seconds=2.0, effort=effort, bands=(BandCount(name="low", upper=1.0, rows=50, share=1.0),))
    lines = list(report(summary, tmp_path))
    assert lines[0] == "scored 30 rows (20 were there already) in 2.0 s, 15 rows/s"
    assert lines[1] == "network: 150 of 400 supervision steps of samples (early halting saved 62.5%) in 6 of 8 calls (25.0%)"


def test_rejected_rows_are_told_with_the_place_of_their_reasons_and_rounded_amounts_with_their_number(tmp_path: Path) -> None:
    summary = Summary(rows=1, rows_now=1, seconds=1.0, effort=Effort(), bands=(), raw_rows=1_200, rejected=3, rounded=2_400)
    lines = report(summary, tmp_path)
    assert next(lines) == f"rejected 3 of 1,200 raw rows; they lie, each with its line and reasons, in {tmp_path}/prepared/rejects.parquet"
    assert next(lines) == "rounded 2,400 amounts to their column's decimals"


def test_help_says_where_an_epsilon_that_costs_little_is_found() -> None:
    said = " ".join(score("--help").stdout.split())
    assert "--halt-epsilon" in said and "0 = all steps" in said
    assert "`early_halting` in the bundle's card.json names the largest value that costs at most .001 AUC on held-out samples" in said
