"""`python -m trmfin.evaluate`, in this process."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.learn import tiny
from tests.test_train import CONFIG
from trmfin import train
from trmfin.command import application
from trmfin.data.files import sha256_of
from trmfin.data.prepared import Prepared
from trmfin.data.simulate.payments import simulate
from trmfin.evaluate import main
from trmfin.learn import contest, evaluation
from trmfin.learn.contest import maker
from trmfin.learn.metrics import auc, log_loss
from trmfin.learn.report import scarcity
from trmfin.learn.tables import maker_words
from trmfin.progress import Bar
from trmfin.sequences.sequences import build

GUARDED = """from dataclasses import replace
from tests.learn.tiny import ALIASES, PROTOCOL, SCHEMAS, TASK, challenger_features, prepare
TASK = replace(TASK, protected=("household", "region"))
"""


def run(*arguments: object, pipeline: object = tiny.__file__) -> Result:
    return CliRunner().invoke(application(main), [str(argument) for argument in (pipeline, *arguments, "--workers", 1)])


def check_refused(result: Result, said: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr, result.stderr


def read(out: Path) -> tuple[dict, pl.DataFrame]:
    return json.loads((out / "report.json").read_text()), pl.read_parquet(out / "predictions.parquet")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with tiny.few_draws():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data with a known truth, a recipe, and a report of two folds."""
    folder = tmp_path_factory.mktemp("world")
    data = tiny.notes(120)
    truth = data.samples.select("sample_id", target=pl.lit("bad"), probability=0.1 + 0.8 * pl.col("target_bad"))
    other = truth.with_columns(target=pl.lit("other"), probability=pl.lit(0.5))
    replace(data, truth=pl.concat([truth, other])).write(folder / "prepared")
    (folder / "recipe.toml").write_text(CONFIG)
    (folder / "guarded.py").write_text(GUARDED)
    options = ["--config", folder / "recipe.toml", "--baselines", "logistic,logistic"]
    result = run(folder / "prepared", "--out", folder / "report", *options, pipeline=folder / "guarded.py")
    assert result.exit_code == 0, result.output
    return folder


def test_a_report_holds_numbers_tables_pictures_and_what_they_were_made_of(world: Path) -> None:
    names = {path.name for path in (world / "report").iterdir()}
    assert names == {"report.json", "report.md", "predictions.parquet", "calibration.png", "steps.png", "parts"}
    report, predictions = read(world / "report")
    assert report["seconds"] == {name: model["seconds"] for name, model in report["models"].items()}
    assert {"models", "protocol", "seconds", "differences", "steps", "halting", "gaps_closed", "recipe", "windows", "command"} <= set(
        report
    )
    assert predictions.columns[:9] == ["sample_id", "model", "seed", "fold", "labels", "draw", "step", "y", "p"]
    assert report["protocol"]["words"] == "2 stratified folds, seed 42, 120 samples" and set(report["models"]) == {"trm", "logistic"}
    assert (world / "report" / "report.md").read_text().startswith("# notes: 2 stratified folds")


def test_a_report_says_what_code_and_data_it_was_made_of(world: Path) -> None:
    report, _ = read(world / "report")
    assert report["prepared"] == {path.name: sha256_of(path) for path in (world / "prepared").glob("*.parquet")}
    assert report["pipeline"] == "guarded" and report["pipeline_sha256"] == sha256_of(world / "guarded.py")
    assert report["made_by"] == maker() and report["models_made_by"] == [maker() | {"models": 4}] and report["notes"] == []
    assert f"\nMade by trmfin {maker()['trmfin']}, " in (world / "report" / "report.md").read_text()


def test_an_evaluation_that_other_code_goes_on_with_says_so(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--out", tmp_path, "--config", world / "recipe.toml", "--baselines", "logistic"]
    shutil.copytree(world / "report" / "parts", tmp_path / "parts")
    (tmp_path / "parts" / "trm-seed0-fold0.parquet").unlink()
    before, now = maker(), maker() | {"commit": "f" * 40, "dirty": True}
    for module in (contest, evaluation):
        monkeypatch.setattr(module, "maker", lambda: now)
    assert run(world / "prepared", *options, "--resume", pipeline=world / "guarded.py").exit_code == 0
    report, _ = read(tmp_path)
    assert report["made_by"] == now and sorted(entry["models"] for entry in report["models_made_by"]) == [1, 3]
    assert report["notes"] == [
        f"WARNING: 3 of 4 models were made by other code than this report's, or on another machine: 3 by {maker_words(before)}."
    ]
    assert f"\n- {report['notes'][0]}\n" in (tmp_path / "report.md").read_text()


def test_every_number_can_be_computed_again_from_the_predictions(world: Path) -> None:
    report, predictions = read(world / "report")
    for name, steps in (("trm", 2), ("logistic", 1)):
        last = predictions.filter((pl.col("model") == name) & (pl.col("step") == steps))
        assert last["sample_id"].n_unique() == len(last) == 120
        for key, metric in (("auc", auc), ("log_loss", log_loss)):
            folds = [metric(part["y"], part["p"]) for part in last.sort("fold").partition_by("fold", maintain_order=True)]
            assert report["models"][name][key]["folds"] == pytest.approx(folds, rel=1e-12)
            assert report["models"][name][key]["mean"] == pytest.approx(np.mean(folds), rel=1e-12)
    assert report["halting"][0]["steps_saved"] == 0 and [line["step"] for line in report["steps"]] == [1, 2]


def test_protected_columns_have_fairness_tables(world: Path) -> None:
    fairness = read(world / "report")[0]["fairness"]
    assert [attribute["name"] for attribute in fairness["attributes"]] == ["household"]
    (whole,) = fairness["attributes"][0]["models"]["trm"]["groups"]  # households of two are too small to be shown
    assert (whole["group"], whole["rows"]) == ("other", 120)
    assert "region: not known of any sample, so there is no table." in fairness["notes"]
    assert "| other | 120 | " in (world / "report" / "report.md").read_text()


def test_fairness_tables_can_be_left_out(world: Path, tmp_path: Path) -> None:
    options = ["--config", world / "recipe.toml", "--baselines", "logistic", "--no-fairness", "--resume"]
    shutil.copytree(world / "report" / "parts", tmp_path / "parts")
    assert run(world / "prepared", "--out", tmp_path, *options, pipeline=world / "guarded.py").exit_code == 0
    assert read(tmp_path)[0]["fairness"] is None and "airness" not in (tmp_path / "report.md").read_text()
    assert "## Fairness" in (world / "report" / "report.md").read_text()


def test_decisions_are_priced_by_the_policys_costs_at_the_cut_off_that_is_best_for_them(world: Path) -> None:
    report, predictions = read(world / "report")
    costs = report["costs"]
    assert (costs["false_negative"], costs["false_positive"], costs["cutoff"]) == (5, 1, pytest.approx(1 / 6))
    last = predictions.filter((pl.col("model") == "trm") & (pl.col("step") == 2))
    wrong = 5 * last["y"] * (last["p"] < 1 / 6) + (1 - last["y"]) * (last["p"] >= 1 / 6)
    assert costs["models"]["trm"]["value"] == pytest.approx(wrong.mean())
    assert "| flag all |" in (world / "report" / "report.md").read_text()


def test_folds_are_those_of_the_protocol(world: Path) -> None:
    from sklearn.model_selection import StratifiedKFold

    sequences = build(tiny.notes(120), tiny.TASK)
    y = sequences.targets.values["bad"]
    _, predictions = read(world / "report")
    fold = dict(zip(predictions["sample_id"], predictions["fold"], strict=True))
    for number, (_, test) in enumerate(StratifiedKFold(2, shuffle=True, random_state=42).split(y, y)):
        assert {fold[sample] for sample in sequences.sample_ids[test]} == {number}


def test_only_the_primary_targets_truth_is_the_oracle(world: Path) -> None:
    report, _ = read(world / "report")
    assert report["gaps_closed"]["trm"]["mean"] < 1 and not report["gaps_closed"]["logistic"]["alarm"]


def test_a_report_is_never_overwritten_unasked(world: Path) -> None:
    before = sha256_of(world / "report" / "report.json")
    for options, advice in (([], "choose another --out, or --resume"), (["--bundle", world], "choose another --out\n")):
        check_refused(run(world / "prepared", "--out", world / "report", *options), f"already holds an evaluation; {advice}")
    assert sha256_of(world / "report" / "report.json") == before


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Interrupts when the entry of the number under "at" is trained."""
    at: dict[str, int] = {}
    to = Bar.to

    def interrupting(self: Bar, done: int, note: str = "", total: int | None = None) -> None:
        if at.get("at") == done:
            raise KeyboardInterrupt
        to(self, done, note, total)

    monkeypatch.setattr(Bar, "to", interrupting)
    yield at


def test_a_killed_evaluation_keeps_what_it_has_finished(world: Path, tmp_path: Path, killed: dict[str, int]) -> None:
    options = ["--out", tmp_path, "--config", world / "recipe.toml", "--baselines", "logistic"]
    killed["at"] = 3
    result = run(world / "prepared", *options)
    assert result.exit_code == 130 and result.stderr.startswith("error: interrupted")
    killed.clear()
    part = tmp_path / "parts" / "trm-seed0-fold0.parquet"
    kept = [f"logistic-seed0-fold{fold}.parquet" for fold in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "parts").glob("*.parquet")) == [*kept, part.name]
    check_refused(run(world / "prepared", *options), "already holds an evaluation")
    before = part.stat().st_mtime_ns
    resumed = run(world / "prepared", *options, "--resume")
    assert resumed.exit_code == 0 and part.stat().st_mtime_ns == before
    assert "intervals are drawn now" in resumed.stderr and "intervals are drawn" not in result.stderr
    found, expected = (read(out)[1].drop("seconds") for out in (tmp_path, world / "report"))
    assert found.equals(expected)


def test_an_evaluation_is_never_resumed_with_another_recipe(world: Path, tmp_path: Path, killed: dict[str, int]) -> None:
    (tmp_path / "recipe.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 3"))
    options = ["--out", tmp_path / "report", "--baselines", "", "--config"]
    killed["at"] = 1
    assert run(world / "prepared", *options, world / "recipe.toml").exit_code == 130
    killed.clear()
    check_refused(run(world / "prepared", *options, tmp_path / "recipe.toml", "--resume"), "holds models of other data, folds or settings")


def test_few_labels_have_their_own_table_and_several_seeds_are_averaged(world: Path, tmp_path: Path) -> None:
    options = ["--config", world / "recipe.toml", "--baselines", "", "--labels", "40,50,40", "--draws", 1, "--seeds", 2]
    assert run(world / "prepared", "--out", tmp_path, *options).exit_code == 0
    report, predictions = read(tmp_path)
    assert [(row["model"], row["labels"], row["draws"]) for row in report["scarcity"]] == [("trm", 40, 1), ("trm", 50, 1)]
    few = pl.read_parquet(tmp_path / "predictions-few.parquet")
    assert few.columns == predictions.columns and few["labels"].unique().sort().to_list() == [40, 50]
    assert scarcity(few) == report["scarcity"]  # so that the table can be computed again
    assert report["notes"] == ["Runs on few labels have seed 0 alone; their draws of labels differ instead."]
    assert predictions["seed"].unique().sort().to_list() == [0, 1] and predictions["labels"].unique().to_list() == [0]


def test_walking_forward_trains_before_each_window_and_tests_inside_it(world: Path, tmp_path: Path) -> None:
    tiny.notes(40, months=6).write(tmp_path / "prepared")
    options = ["--config", world / "recipe.toml", "--baselines", "", "--test-start", "2024-05-15", "--test-days", 30, "--windows", 2]
    options += ["--train-days", 93]
    result = run(tmp_path / "prepared", "--out", tmp_path / "report", *options)
    assert result.exit_code == 0, result.output
    report, predictions = read(tmp_path / "report")
    assert report["windows"] == ["2024-05-30 to 2024-05-30", "2024-06-29 to 2024-06-29"]
    assert report["notes"] == ["160 of 240 samples are not tested: their target is unknown, or no test window holds them."]
    assert sorted(predictions["sample_id"].str.extract(r"@(\d)").unique()) == ["4", "5"]
    trained = "trained on the 93 days before, of which the last 20 have no label yet"
    assert report["protocol"]["words"] == f"walk forward, 2 windows of 30 days from 2024-05-15, {trained}, 240 samples"


def test_a_window_of_one_answer_is_refused_before_anything_is_trained(world: Path, walked: Path, tmp_path: Path) -> None:
    data = Prepared.read(walked / "prepared")
    quiet = pl.col("sample_id").str.ends_with("@5")
    samples = data.samples.with_columns(target_bad=pl.when(quiet).then(0).otherwise("target_bad").cast(data.samples["target_bad"].dtype))
    replace(data, samples=samples).write(tmp_path / "prepared")
    options = ["--test-start", "2024-05-15", "--test-days", 30, "--windows", 2]
    said = "test window 2024-06-29 to 2024-06-29: 'bad' is 0 in all of its 120 rows"
    for name, how in (("trained", ["--config", world / "recipe.toml", "--baselines", ""]), ("judged", ["--bundle", walked / "b"])):
        check_refused(run(tmp_path / "prepared", "--out", tmp_path / name, *how, *options), said)
        assert not list((tmp_path / name).rglob("*.parquet"))


def test_a_bundle_is_judged_as_it_is(world: Path, tmp_path: Path) -> None:
    arguments = [tiny.__file__, world / "prepared", "--out", tmp_path / "b", "--config", world / "recipe.toml", "--workers", 1]
    assert CliRunner().invoke(application(train.main), [str(argument) for argument in arguments]).exit_code == 0
    assert run(world / "prepared", "--out", tmp_path / "report", "--bundle", tmp_path / "b", "--baselines", "", "--seeds", 1).exit_code == 0
    report, predictions = read(tmp_path / "report")
    assert report["protocol"]["kind"] == "bundle" and report["protocol"]["bundle"] == sha256_of(tmp_path / "b" / "manifest.json")
    assert report["seconds"] == {"trm": report["models"]["trm"]["seconds"]} and report["seconds"]["trm"]["median"] > 0
    assert len(predictions) == 240 and report["models"]["trm"]["auc"]["mean"] > 0.6
    assert "WHICH IT WAS TRAINED ON" in report["protocol"]["words"]
    tiny.notes(100).write(tmp_path / "others")
    assert run(tmp_path / "others", "--out", tmp_path / "fair", "--bundle", tmp_path / "b").exit_code == 0
    assert "TRAINED ON" not in read(tmp_path / "fair")[0]["protocol"]["words"]
    (tmp_path / "b" / "card.json").write_text("{}")
    check_refused(run(world / "prepared", "--out", tmp_path / "again", "--bundle", tmp_path / "b"), "card.json was changed")


WINDOW = ["--train-days", 62, "--delay-days", 21]  # of samples at every thirtieth day, whose answers take twenty
TEST = ["--test-start", "2024-06-14", "--test-days", 30, "--delay-days", 21, "--known-from-days", 7, "--daily-alerts", 2]


@pytest.fixture(scope="module")
def walked(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six months, an evaluation that walks forward, and the bundle trained as on the day on which its test begins."""
    folder = tmp_path_factory.mktemp("walked")
    tiny.notes(120, months=6).write(folder / "prepared")
    recipe = ["--config", world / "recipe.toml"]
    found = run(folder / "prepared", "--out", folder / "report", *recipe, "--baselines", "", *TEST, "--train-days", 62)
    assert found.exit_code == 0, found.output
    arguments = [tiny.__file__, folder / "prepared", "--out", folder / "b", *recipe, "--workers", 1, "--until", TEST[1], *WINDOW]
    found = CliRunner().invoke(application(train.main), [str(argument) for argument in arguments])
    assert found.exit_code == 0, found.output
    return folder


def test_a_bundle_trained_until_the_test_is_the_model_of_the_evaluation(walked: Path, tmp_path: Path) -> None:
    result = run(walked / "prepared", "--out", tmp_path / "judged", "--bundle", walked / "b", *TEST)
    assert result.exit_code == 0, result.output
    (theirs, expected), (report, found) = read(walked / "report"), read(tmp_path / "judged")
    assert found.drop("seconds").equals(expected.drop("seconds")) and 0 < found["sample_id"].n_unique() < 120
    assert report["alerts"] == theirs["alerts"] and report["windows"] == theirs["windows"] == ["2024-06-29 to 2024-06-29"]
    words = report["protocol"]["words"].partition(", ")[2]
    days = "walk forward, 1 window of 30 days from 2024-06-14, labels known after 21 days, without groups known to be bad"
    assert words == f"{days} by labels from 7 days before that on, {found['sample_id'].n_unique():,} samples"
    asked = {name: value for name, value in theirs["protocol"].items() if name != "words"}
    assert report["protocol"]["tested"] == asked | {"train_days": 0}


def test_a_bundle_is_tested_window_by_window_and_warned_about_where_it_had_learnt(walked: Path, tmp_path: Path) -> None:
    """It learnt samples of 31 March and 30 April. What follows is a test, in the same file or another; what came before is none."""
    tiny.notes(100, months=6).write(tmp_path / "others")
    for number, (prepared, start, warned) in enumerate(
        [
            (walked / "prepared", "2024-05-15", ""),
            (tmp_path / "others", "2024-05-15", ""),
            (walked / "prepared", "2024-04-15", "120 OF THEM AS OF 2024-04-30 OR BEFORE, UP TO WHICH IT LEARNT"),
            (tmp_path / "others", "2024-04-15", "100 OF THEM AS OF 2024-04-30 OR BEFORE, UP TO WHICH IT LEARNT"),
        ]
    ):
        out = tmp_path / str(number)
        options = ["--test-start", start, "--test-days", 30, "--windows", 2, "--no-fairness"]
        assert run(prepared, "--out", out, "--bundle", walked / "b", *options).exit_code == 0
        report, predictions = read(out)
        assert len(report["windows"]) == 2 and predictions["fold"].unique().sort().to_list() == [0, 1] and "alerts" not in report
        assert warned in report["protocol"]["words"] and ("LEARNT" in report["protocol"]["words"]) == bool(warned)
    assert run(tmp_path / "others", "--out", tmp_path / "all", "--bundle", walked / "b", "--no-fairness").exit_code == 0
    assert read(tmp_path / "all")[0]["protocol"]["words"].endswith(" on 600 samples"), "time parts nothing where clients are dealt"
    check_refused(
        run(walked / "prepared", "--out", tmp_path / "none", "--bundle", walked / "b", "--test-start", "2030-01-01", "--test-days", 3),
        "walk forward from 2030-01-01T00:00:00.000000Z: no test row with a known target in 3 days",
    )


def test_data_that_cannot_be_judged_are_one_line(tmp_path: Path) -> None:
    tiny.notes(labelled=False).write(tmp_path / "blank")
    check_refused(run(tmp_path / "blank", "--out", tmp_path / "r"), "2 folds of no labelled rows")
    tiny.notes(40, months=3).write(tmp_path / "months")
    check_refused(run(tmp_path / "months", "--out", tmp_path / "r"), "samples have 3 different as_of")
    check_refused(run(tmp_path / "months", "--out", tmp_path / "r"), "give --test-start and --test-days")
    halved = pl.DataFrame({"sample_id": ["c0@0"], "target": ["bad"], "probability": [0.5]})
    replace(tiny.notes(40), truth=halved).write(tmp_path / "truth")
    check_refused(run(tmp_path / "truth", "--out", tmp_path / "r"), "truth: 39 of 40 samples have none for 'bad'")
    check_refused(run(tmp_path / "nowhere", "--out", tmp_path / "r"), "no such folder, expected a folder made by")
    assert not (tmp_path / "r" / "report.json").exists()


def test_the_simulated_worlds_truth_is_about_the_primary_target_of_payment_histories() -> None:
    from trmfin.shipped import load_pipeline

    _, truth = simulate(clients=8, months=3, seed=0)
    assert truth["target"].unique().to_list() == [load_pipeline("payment_history").task.primary]
