"""The page of results shows what was run, and how to run it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from docs.results import FOLDER, SECTIONS, asked, digest, section, some_folds
from trmfin.data.files import read_raw
from trmfin.data.prepared import apply
from trmfin.data.simulate import write_world
from trmfin.data.simulate.payments import change_month, simulate
from trmfin.learn.holdout import holdouts
from trmfin.learn.recipe import Recipe
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.sequences import build
from trmfin.sequences.splits import protocol_splits
from trmfin.shipped import load_pipeline

MAKER = {"trmfin": "9.9", "commit": "abcdef0123456789", "dirty": False, "libraries": {"torch": "2.0"}, "machine": "m1", "cores": 2}
CREDIT = SECTIONS["credit"].commands[-1]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The credit section of the page, of a small report with these entries."""
    files = {"samples.parquet": "2" * 64, "events.parquet": "1" * 64}
    monkeypatch.setitem(SECTIONS, "credit", replace(SECTIONS["credit"], prepared=digest(files)))
    report = {"protocol": {"words": "2 folds"}, "notes": ["Nobody was left out."], "command": CREDIT, "made_by": MAKER, "prepared": files}

    def show(**entries: Any) -> str:
        kept = {key: value for key, value in (report | entries).items() if value is not None}
        (tmp_path / "credit.json").write_text(json.dumps(kept))
        return section("credit", tmp_path)

    return show


def test_a_section_without_a_report_shows_its_commands() -> None:
    for name, shown in SECTIONS.items():
        text = section(name, Path("nowhere"))
        assert all(f"\n{command}\n" in text for command in shown.commands) and "Not measured yet in full" in text


def test_a_section_shows_its_pictures_and_all_of_its_report_under_its_commands(shown: Callable[..., str]) -> None:
    steps = [{"step": step, "auc": 0.7, "log_loss": 0.4} for step in (1, 2)]
    halting = [{"epsilon": 0.0, "auc": 0.7, "log_loss": 0.4, "steps_saved": 0.0, "cheapest": True}]
    few = [{"model": "trm", "labels": 300, "draws": 1, "auc": {"mean": 0.7}, "log_loss": {"mean": 0.4}}]
    text = shown(steps=steps, halting=halting, scarcity=few)
    assert "\n### Early halting\n\nA sample may stop" in text and "\n### Few labels\n" in text and "- Nobody was left out." in text
    assert all(f"](pictures/{file})" in text for file, _ in SECTIONS["credit"].pictures)


def test_a_section_says_by_which_code_its_report_was_made(shown: Callable[..., str]) -> None:
    assert "Protocol: 2 folds. Made by trmfin 9.9, commit abcdef012345, torch 2.0, on 2 cores (m1).\n" in shown()


def test_the_credit_section_also_has_the_means_without_the_fold_on_which_the_recipe_was_found(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docs.results.sections", lambda report: [])
    folds = {"lightgbm": ([0.9, 0.7, 0.8], [0.1, 0.4, 0.5]), "trm": ([0.1, 0.5, 0.7], [0.9, 0.3, 0.4])}
    models = {name: {"auc": {"folds": ranks}, "log_loss": {"folds": losses}} for name, (ranks, losses) in folds.items()}
    line = "the fold on which the recipe was found, over folds 2 to 3: lightgbm 0.7500 (0.4500), trm 0.6000 (0.3500).\n"
    assert line in shown(models=models) and "without the fold" not in shown()
    monkeypatch.setitem(SECTIONS, "credit", replace(SECTIONS["credit"], chosen_on_first=False))
    assert "without the fold" not in shown(models=models)


def test_a_report_that_does_not_say_what_made_it_is_marked(shown: Callable[..., str]) -> None:
    assert "Protocol: 2 folds. **Made by unknown code, of unchecked data: " in shown(made_by=None, prepared=None)
    assert "unknown code" not in shown()


@pytest.mark.parametrize(
    "other",
    [
        CREDIT + " --seeds 2",
        CREDIT.replace(" --draws 20", " --draws 15"),
        CREDIT.replace(" --labels 300,1000,3000 --draws 20", ""),
        CREDIT.replace("payment_history", "./mine.py"),
        CREDIT.replace("evaluate payment_history build/credit", "evaluate --resume ./mine.py build/credit"),
    ],
)
def test_a_report_of_another_command_or_pipeline_is_refused(shown: Callable[..., str], other: str) -> None:
    with pytest.raises(SystemExit, match="credit.json: was made by .*expected what .* asks for"):
        shown(command=other)


def test_a_report_of_other_data_is_refused(shown: Callable[..., str]) -> None:
    with pytest.raises(SystemExit, match=f"credit.json: was made of prepared data of digest {digest({})}, expected"):
        shown(prepared={})
    with pytest.raises(SystemExit, match="made of prepared data"):
        shown(prepared={"samples.parquet": "2" * 64, "events.parquet": "3" * 64})


def test_spelling_and_places_of_a_command_do_not_count(shown: Callable[..., str]) -> None:
    assert "Not measured" not in shown(
        command="python -m trmfin.evaluate --resume --labels=300,1000,3000 payment_history elsewhere --out b --workers 2"
        " --baselines=logistic,lightgbm,gru,tiny"
    )
    assert asked(CREDIT) == asked(CREDIT.replace(" --draws 20", ""))  # the default


def test_a_report_of_a_command_whose_defaults_were_others_then_is_told_by_them() -> None:
    world = SECTIONS["world"]
    report = json.loads((FOLDER / "world.json").read_text(encoding="utf-8"))
    assert asked(report["command"]) != asked(world.commands[-1]) == asked(report["command"] + world.then)
    assert set(report["models"]) == {"trm", *asked(world.commands[-1])["baselines"].split(",")}


def test_means_over_some_weeks_are_of_these() -> None:
    folds = {"folds": [0.1, 0.2, 0.3, 0.8]}
    models = {"trm": {"ap": folds, "auc": folds, "log_loss": {"folds": [1.0, 2.0, 3.0, 8.0]}}}
    asked_for = replace(SECTIONS["cards"], chosen_on_first=True, earlier=True, judged_by=("ap", "log_loss"))
    before, after, neither = some_folds(asked_for, models)
    assert before == "Mean AP and, in brackets, log-loss over the 3 folds before the last: trm 0.2000 (2.0000)."
    assert after.endswith("over folds 2 to 4: trm 0.4333 (4.3333).") and neither.endswith("without both: trm 0.2500 (2.5000).")
    assert some_folds(SECTIONS["cards"], models) == []


def test_a_digest_of_data_is_what_sha256sum_says_of_its_sums(tmp_path: Path) -> None:
    assert digest({"b": "22", "a": "11"}) == hashlib.sha256(b"11  a\n22  b\n").hexdigest()


def test_the_windows_of_the_simulated_world_and_what_is_trained_on_are_as_its_section_says(tmp_path: Path) -> None:
    """Testing and training do not straddle its change but where said; members see all months that challengers see."""
    words = SECTIONS["world"].commands[0].split()
    months, seed = (int(words[words.index(option) + 1]) for option in ("--months", "--seed"))
    shown = asked(SECTIONS["world"].commands[2])
    use, raw = load_pipeline("payment_history"), write_world("payments", *simulate(60, months, seed), out=tmp_path)
    sequences = build(apply(use, {"long": read_raw(raw / "payments.csv")}, datetime(2026, 1, 1, tzinfo=UTC)), use.task)
    days = {name: shown[name] for name in ("test_start", "test_days", "train_days")}
    protocol = Protocol(kind="walk_forward", folds=shown["windows"], **days)
    model = Recipe.from_toml(Path(__file__).parents[2] / shown["config"]).model
    month = (sequences.as_of.astype("datetime64[us]") - np.timedelta64(1, "D")).astype("datetime64[M]")  # of the newest statement
    change, tested, new = np.datetime64(change_month(months)), [], []
    for split in protocol_splits(sequences, protocol):
        known = np.unique(month[split.train])
        assert np.unique(month[split.test]).size == 2 and known.size == 7  # eight, of which the label delay takes one
        assert (month[split.test].min() - known[-1]).astype(int) == 2
        tested.append({bool(after) for after in month[split.test] >= change})
        new.append(int((known >= change).sum()))
        clients = np.unique(sequences.group[split.train])
        for member in holdouts(sequences, split.train, model.members, seed=0):
            assert np.unique(month[member.train]).tolist() == known.tolist()
            held = np.unique(sequences.group[member.test])
            assert abs(len(held) - len(clients) / 8) < 1 and not np.isin(held, sequences.group[member.train]).any()
    assert tested == [{False}, {False}, {True}, {True}, {True}] and new == [0, 0, 0, 1, 3]


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


def test_the_readme_shows_the_card_reports_numbers_and_they_beat_the_published_ones() -> None:
    docs = Path(__file__).resolve().parents[2]
    report = json.loads((docs / "docs" / "results" / "cards.json").read_text(encoding="utf-8"))
    readme, found = (docs / "README.md").read_text(encoding="utf-8"), report["alerts"]["models"]
    for name, metrics in report["models"].items():
        ap, precision = metrics["ap"], found[name]["precision"]["value"]
        first = f"{ap['mean']:.4f} [{ap['low']:.4f}, {ap['high']:.4f}]"
        row = " | ".join([first, *(f"{value:.4f}" for value in (precision, metrics["auc"]["mean"], metrics["log_loss"]["mean"]))])
        assert f"| {row} |".replace("0.", ".") in readme
    assert report["models"]["trm"]["ap"]["mean"] >= 0.66 and found["trm"]["precision"]["value"] >= 0.285
    weeks = json.loads((docs / "docs" / "results" / "cards-windows.json").read_text(encoding="utf-8"))
    for name, metrics in weeks["models"].items():
        ap, folds = metrics["ap"], metrics["ap"]["folds"]
        means = (fmean(folds[:-1]), fmean(folds[1:-1]), weeks["alerts"]["models"][name]["precision"]["value"])
        row = " | ".join([f"{ap['mean']:.4f} [{ap['low']:.4f}, {ap['high']:.4f}]", *(f"{value:.4f}" for value in means)])
        assert f"| {row} |".replace("0.", ".") in readme
