"""What `python -m trmfin.evaluate` is asked for, checked before anything is trained."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.learn import tiny
from tests.test_evaluate import check_refused, run
from trmfin.command import application
from trmfin.errors import RunError
from trmfin.evaluate import main
from trmfin.sequences.protocol import Protocol
from trmfin.shipped import load_pipeline


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny.notes(120).write(folder / "prepared")
    return folder


def test_wrong_options_are_one_line(world: Path, tmp_path: Path) -> None:
    prepared, out = world / "prepared", ["--out", tmp_path]
    check_refused(
        run(prepared, *out, "--baselines", "logistic,xgboost"), "--baselines: 'xgboost' is unknown; choose from logistic, lightgbm"
    )
    check_refused(run(prepared, *out, "--labels", "300,many"), "--labels '300,many': expected whole numbers such as 300,1000,3000")
    check_refused(run(prepared, *out, "--labels", "0"), "--labels '0': found 0; expected whole numbers of at least 1")
    check_refused(run(prepared, *out, "--test-days", 30), "--test-days: of no effect without --test-start; give that too")
    check_refused(run(prepared, *out, "--windows", 1), "--windows: of no effect without --test-start")
    check_refused(run(prepared, *out, "--draws", 5), "--draws: of no effect without --labels")
    check_refused(run(prepared, *out, "--test-start", "2024-01-01"), "test_days")
    check_refused(run(prepared, *out, "--test-start", "soon", "--test-days", 5), "expected a day such as")
    check_refused(run(prepared, *out, "--test-start", "2030-01-01", "--test-days", 5), "walk forward from 2030-01-01")
    check_refused(run(prepared, *out, "--bundle", tmp_path / "none"), "no such folder; expected a folder written by")
    check_refused(run(prepared, *out, "--config", tmp_path / "none.toml"), "none.toml: cannot be read as TOML")
    check_refused(run(prepared, *out, "--labels", "61"), "61 asked for, fold 0 has 60 labelled training rows")
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    "options",
    [
        ["--baselines", "logistic,lightgbm,windows,gru"],
        ["--labels", "300", "--draws", 20],
        ["--seeds", 2],
        ["--config", "recipe.toml"],
        ["--train-days", 31],
        ["--resume"],
    ],
)
def test_a_bundle_is_judged_without_options_that_would_change_nothing(world: Path, tmp_path: Path, options: list[object]) -> None:
    said = ", ".join(str(option) for option in options if str(option).startswith("--"))
    found = run(world / "prepared", "--out", tmp_path / "r", "--bundle", world, *options)
    check_refused(found, f"{said}: of no effect with --bundle, which judges a finished bundle as it is")
    assert not (tmp_path / "r").exists()


def test_wrong_usage_is_exit_2(world: Path, tmp_path: Path) -> None:
    assert run(world / "prepared").exit_code == run(world / "prepared", "--out", tmp_path, "--seeds", 0).exit_code == 2


@pytest.mark.parametrize(("module", "options"), [("lightgbm", []), ("matplotlib", ["--baselines", ""]), ("matplotlib", ["--bundle", "b"])])
def test_a_missing_package_is_one_line_before_anything_is_done(
    module: str, options: list[str], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    check_refused(run(world / "prepared", "--out", tmp_path / "r", *options), f"{module} cannot be imported")
    assert not (tmp_path / "r").exists()


def test_what_is_not_asked_for_stays_the_pipelines_protocol(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Protocol] = []

    def seen(use: object, data: object, protocol: Protocol, *rest: object) -> None:
        asked.append(protocol)
        raise RunError("enough")

    monkeypatch.setattr("trmfin.evaluate._contest", seen)
    handbook = load_pipeline("transactions").protocol
    week = ["--test-start", "2018-08-08", "--test-days", "7"]
    for pipeline, options in (
        ("transactions", []),
        ("transactions", [*week, "--train-days", "31", "--known-from-days", "7"]),
        ("transactions", [*week, "--delay-days", "3", "--daily-alerts", "0", "--known-from-days", "0", "--windows", "2"]),
        (str(Path(tiny.__file__)), [*week, "--delay-days", "3"]),
    ):
        CliRunner().invoke(application(main), [pipeline, str(world / "prepared"), "--out", str(tmp_path / "out"), *options])
    assert asked == [
        handbook,
        replace(handbook, train_days=31),
        replace(handbook, delay_days=3, daily_alerts=0, known_from_days=0, folds=2),
        Protocol(kind="walk_forward", folds=1, test_start="2018-08-08", test_days=7, delay_days=3),
    ]
