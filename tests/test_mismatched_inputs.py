"""Whole inputs that do not belong together: another pipeline's data, another task's bundle, answers that teach nothing, loops of links."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.data import tiny as statements
from tests.learn import tiny
from tests.scoring.models import PANEL, bundle_for, panel
from tests.test_train import CONFIG
from trmfin import evaluate, score, train
from trmfin.command import application
from trmfin.data.prepared import Prepared


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared data and a bundle of one task, prepared data and a pipeline of another, a raw file, and a link to itself."""
    folder = tmp_path_factory.mktemp("world")
    panel(20).write(folder / "panel")
    bundle_for(panel(20), PANEL).save(folder / "panel_bundle")
    tiny.notes().write(folder / "notes")
    (folder / "raw").mkdir()
    (folder / "raw" / "x.csv").write_bytes(statements.CSV)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "recipe.toml").write_text(CONFIG)
    with tiny.few_draws():
        yield folder


def check_refused(command: Callable[..., None], said: str, *arguments: object) -> None:
    """Exit 1 and one line."""
    result = CliRunner().invoke(application(command), [str(argument) for argument in arguments])
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("bundle", "data", "said"),
    [
        ("panel_bundle", "notes", "events: no column 'billed', which field 'billed' reads; found event_id"),
        ("panel", "panel", "bundle panel: manifest.json does not list calibration.json"),
        ("raw/x.csv", "panel", "x.csv: is a file; expected a folder written by `python -m trmfin.train"),
        ("loop", "panel", "loop: no such folder; expected a folder written by `python -m trmfin.train"),
        ("x" * 300, "panel", "cannot be read (File name too long)"),
        ("panel_bundle", "panel_bundle", "manifest.json: does not list the files events.parquet"),
        ("panel_bundle", "raw", "raw: has no manifest.json, so it is no prepared folder"),
        ("panel_bundle", "raw/x.csv", "x.csv: is a file, expected a folder made by python -m trmfin.prepare"),
        ("panel_bundle", "loop", "loop: no such folder, expected a folder made by python -m trmfin.prepare"),
        ("panel_bundle", "x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_what_a_bundle_cannot_score_is_one_line(bundle: str, data: str, said: str, world: Path, tmp_path: Path) -> None:
    check_refused(score.main, said, world / bundle, world / data, "--out", tmp_path / "run", "--threads", 1)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_raw_data_of_another_pipeline_are_one_line(world: Path, tmp_path: Path) -> None:
    command = (world / "panel_bundle", world / "raw" / "x.csv", "--out", tmp_path / "run", "--threads", 1, "--pipeline")
    check_refused(score.main, "x.csv: fits no table of the pipeline (wide, long)", *command, "payment_history")
    check_refused(score.main, "events: no column 'billed', which field 'billed' reads", *command, statements.__file__)


@pytest.mark.parametrize("command", [train, evaluate])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("panel", "events: no column 'late', which field 'late' reads"),
        ("panel_bundle", "manifest.json: does not list the files events.parquet"),
        ("raw", "raw: has no manifest.json, so it is no prepared folder"),
        ("loop", "loop: no such folder, expected a folder made by"),
        ("x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_what_a_pipeline_cannot_learn_from_is_one_line(command: ModuleType, data: str, said: str, world: Path, tmp_path: Path) -> None:
    options = ("--out", tmp_path / "out", "--config", world / "recipe.toml")
    check_refused(command.main, said, tiny.__file__, world / data, *options)
    assert not (tmp_path / "out").exists() or not any(path.suffix == ".json" for path in (tmp_path / "out").iterdir())


def test_a_bundle_of_another_task_cannot_be_judged(world: Path, tmp_path: Path) -> None:
    said = "no column 'billed', which field 'billed' reads"
    check_refused(evaluate.main, said, tiny.__file__, world / "notes", "--bundle", world / "panel_bundle", "--out", tmp_path / "report")


def answered(answer: pl.Expr) -> Prepared:
    data = tiny.notes()
    return replace(data, samples=data.samples.with_columns(target_bad=answer))


RARER = "held-out samples 0 are of the rarer class of 'bad'; calibration needs at least 2 of each"
BOTH = "in all of its 32 rows, and metrics compare rows of both answers"  # said before anything is trained


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        (train, pl.lit(0.0), RARER),
        (train, pl.lit(1.0), RARER),
        (evaluate, pl.lit(0.0), BOTH),
        (evaluate, pl.lit(1.0), BOTH),
        *((command, pl.col("target_bad") * 2, "column target_bad: ") for command in (train, evaluate)),
        *((command, pl.lit("yes"), "samples, column target_bad: String; a binary target is a number") for command in (train, evaluate)),
    ],
)
def test_answers_that_teach_nothing_are_one_line(command: ModuleType, answer: pl.Expr, said: str, world: Path, tmp_path: Path) -> None:
    answered(answer).write(tmp_path / "prepared")
    options = ("--out", tmp_path / "out", "--config", world / "recipe.toml", "--workers", 1)
    check_refused(command.main, said, tiny.__file__, tmp_path / "prepared", *options)


@pytest.mark.parametrize("out", ["loop", "raw/x.csv", "raw/x.csv/below", "x" * 300])
@pytest.mark.parametrize("command", [train, evaluate, score])
def test_a_place_that_cannot_hold_a_folder_is_one_line(command: ModuleType, out: str, world: Path) -> None:
    arguments = (world / "panel_bundle", world / "panel") if command is score else (tiny.__file__, world / "notes")
    check_refused(command.main, f"{out}: ", *arguments, "--out", world / out)
