"""Print docs/results.md from the reports in docs/results/: `python docs/results.py > docs/results.md`.

Each report is the report.json of the evaluation that its section shows, run from the checkout, or the table of a benchmark as
it was printed, both copied there after the run. A report of another command, or of other prepared data, is refused.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import typer.main

from trmfin.command import application
from trmfin.evaluate import main as evaluate
from trmfin.learn.tables import NAMES, made_line, sections

FOLDER = Path(__file__).resolve().parent / "results"
INTRODUCTION = """\
Every metric here was computed from predictions on test samples, which the models that are judged were not trained on. Intervals are
95 %. Models stand in the same folds and are named as `--baselines` names them:

- `trm`: this project's recursive network, trained by the default recipe but for what a command's `--config` says; `tiny` is
  a network of the preset of that name
- `gru`: a recurrent network with as many parameters and optimiser steps, trained by the same code
- `lightgbm`, `logistic`: gradient boosting and logistic regression on hand-made features of the same data; where the network is
  given a share of the negatives only, so is gradient boosting
- `windows`: gradient boosting on the very windows that the network reads, side by side in one row

How settings were chosen: `logistic` and `lightgbm` try eight in every training fold, by a held-out part of it. The networks run
one recipe for all folds, which was found by hand: the cards' on the week from 11 July, all others' on the credit file's first
fold, whose test rows were looked at too up to 2026-11-23, afterwards its training rows alone ([log](log.md), [decision
0010](decisions/0010-challengers-see-everything-we-can-give-them.md)). So the sections of credit and of the cards' five weeks also
have the means without that fold. They are not wholly free of the choice either: what the first fold trains on is tested in the
others, and the features of the challengers were chosen on all five.
"""
NOT_YET = "Not measured yet in full; single folds are in the [log](log.md)."
OLD = "**Made by unknown code, of unchecked data: this report is older than the record of them; run its command again.**"
OF_NO_EFFECT = {"prepared", "out", "workers", "resume"}  # on what a report says; PREPARED is compared by what it holds


@dataclass(frozen=True, kw_only=True)
class Section:
    """One evaluation: what was asked, and the commands that answer it, the evaluation last."""

    title: str
    question: str
    commands: tuple[str, ...]
    prepared: str  # `digest` of the files that the evaluation reads
    pictures: tuple[tuple[str, str], ...] = ()  # file in docs/pictures, what it shows
    chosen_on_first: bool = False  # the networks' recipe was found on its first fold
    earlier: bool = False  # the last fold has a section of its own: the means of those before it are shown, too
    judged_by: tuple[str, str] = ("auc", "log_loss")  # whose means over some folds are shown
    then: str = ""  # options of the command as they stood by default when its report was made, where they do not now


CARDS = "python -m trmfin.evaluate transactions build/cards"
CARDS_DIGEST = "4b0d8b63451439981b5ae6d391ff2be33673ba32800b15c7cad580be09138062"
SECTIONS = {  # report → section
    "credit": Section(
        title="Credit: default of credit card clients (UCI 350), 24,000 clients",
        question=(
            "Who of the clients of a Taiwanese bank defaults in October 2005, by six monthly statements (Yeh & Lien 2009)? Five\n"
            "folds: every client is tested once, by models trained on the other four fifths. In the fairness tables sex is 1 (male)\n"
            "or 2 (female), marriage 1 (married), 2 (single) or 3 (others); the file's documentation does not explain 0. Seconds a\n"
            "fold are of two cores that did some other work too. The last table asks how good a model is where only some hundred\n"
            "outcomes are known: each of twenty draws of labels is given to every model but `tiny`."
        ),
        commands=(
            "python -m trmfin.prepare payment_history default_of_credit_card_clients.csv --out build/credit",
            "python -m trmfin.evaluate payment_history build/credit --out build/credit-report --baselines logistic,lightgbm,gru,tiny"
            " --labels 300,1000,3000 --draws 20",
        ),
        prepared="ecc8edcf1f8639d25a808deebfb263143fd502a413e2b9f538185f2003896ab9",
        pictures=(
            ("credit-calibration.png", "Predicted probability against the share that defaulted, five models, all close to the diagonal"),
            ("credit-steps.png", "Log-odds of sixty clients' scores after each of three supervision steps"),
        ),
        chosen_on_first=True,
    ),
    "world": Section(
        title="Simulated world of monthly payments, before and after its regime change",
        question=(
            "How close does a model come to the truth, and what does it lose when the economy turns? In this world the probability\n"
            "of default is known exactly. From January 2024 on jobs are lost more often, recovery is slower and utilisation weighs\n"
            "more. Each window tests two months' statements; what may be trained on is the eight months before it, of which the label\n"
            "delay takes one. All models train on all of the others: each member of TRM and of the GRU holds out an eighth of the\n"
            "clients, with all their months, to choose its best step and for calibration; logistic and LightGBM hold out as many to\n"
            "choose their settings, and are fitted again on all. A statement is scored on the first day of the next month, after\n"
            "which windows are named: the first two hold statements up to December 2023, before the change, the last three hold\n"
            "those from January 2024 on. The third window's models have seen nothing of the new economy, the fourth's one month of\n"
            "it, the fifth's three."
        ),
        commands=(
            "python -m trmfin.data.simulate payments --clients 3000 --months 24 --seed 7 --out build/world",
            "python -m trmfin.prepare payment_history build/world/raw --out build/world/prepared",
            "python -m trmfin.evaluate payment_history build/world/prepared --out build/world-report"
            " --config docs/results/four.toml --test-start 2023-09-16 --test-days 61 --train-days 245 --windows 5"
            " --baselines logistic,lightgbm,gru",
        ),
        then=" --baselines logistic,lightgbm,gru",
        prepared="86160a57310ba8e0017d545ae67bab9aa02a2b1b1a1c49c9031c66f069a378f1",
    ),
    "cards": Section(
        title="Card fraud: the Fraud Detection Handbook's week, trained on July 2018",
        question=(
            "Which of 58,264 transactions of a week are fraud (Le Borgne et al. 2022)? The Handbook's protocol with a longer training:\n"
            "1 to 31 July, a label known seven days later, tested from 8 to 14 August without the cards that are known to be compromised.\n"
            "`logistic` and `lightgbm` have the Handbook's fifteen features. Published, for the Handbook's training of a week, AUC, AP,\n"
            "card precision at 100 a day: logistic regression .871 .606 .291, random forest .867 .658 .287, XGBoost .862 .639 .273; means\n"
            "over several weeks: XGBoost .869 .687 .303, LSTM .876 .665 .297. The network's recipe was found on the week from 11 July\n"
            "([log](log.md)); of this week earlier recipes had been looked at. Seconds are of two cores with AVX-512 that did little\n"
            "else; on older ones TRM's first seed took 646."
        ),
        commands=(
            "python -m trmfin.prepare transactions transactions.parquet --out build/cards",
            f"{CARDS} --out build/cards-report --baselines logistic,lightgbm,windows,gru --seeds 3 --train-days 31"
            " --test-start 2018-08-08 --test-days 7 --known-from-days 7",
        ),
        prepared=CARDS_DIGEST,
    ),
    "cards-week": Section(
        title="Card fraud: the same week, trained on seven days",
        question=(
            "The Handbook's own protocol: trained on 25 to 31 July, the networks and both trees on .372 of the genuine transactions.\n"
            "Seconds are of two cores that did little else."
        ),
        commands=(
            f"{CARDS} --out build/cards-week-report --baselines logistic,lightgbm,windows,gru --seeds 3 --train-days 7"
            " --test-start 2018-08-08 --test-days 7 --known-from-days 7",
        ),
        prepared=CARDS_DIGEST,
    ),
    "cards-windows": Section(
        title="Card fraud: five weeks one after the other, the last of them the Handbook's",
        question=(
            "Each week is tested by models trained on the 31 days that end a week before it. The recipe was found on the first of these\n"
            "weeks, so that the other four are the test of it; of the last, earlier\n"
            "recipes had been looked at. Intervals are of cards, over all weeks. Two seeds: the last week's third is in the section\n"
            "above. Seconds are of two cores with AVX-512 that did little else."
        ),
        commands=(
            f"{CARDS} --out build/cards-windows --baselines logistic,lightgbm,windows,gru --seeds 2 --train-days 31"
            " --test-start 2018-07-11 --test-days 7 --windows 5 --known-from-days 7",
        ),
        prepared=CARDS_DIGEST,
        chosen_on_first=True,
        judged_by=("ap", "log_loss"),
        earlier=True,
    ),
}


def asked(command: str) -> dict[str, Any]:
    """What a command asks `evaluate` for, defaults included, without OF_NO_EFFECT."""
    _, _, _, *words = shlex.split(command)  # python -m trmfin.evaluate
    given = typer.main.get_command(application(evaluate)).make_context("evaluate", words).params
    return {name: value for name, value in given.items() if name not in OF_NO_EFFECT}


def digest(files: dict[str, str]) -> str:
    """What `cd PREPARED && sha256sum *.parquet | sha256sum` prints. files: each file's sha256 by its name."""
    return hashlib.sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode()).hexdigest()


def means(models: dict[str, Any], judged_by: tuple[str, str], folds: slice, which: str) -> str:
    """One line: each model's means over some folds. models: by name, with each metric's value of each fold."""
    first, second = judged_by
    lines = (
        f"{name} {fmean(metrics[first]['folds'][folds]):.4f} ({fmean(metrics[second]['folds'][folds]):.4f})"
        for name, metrics in models.items()
    )
    return f"Mean {NAMES[first]} and, in brackets, {NAMES[second]} {which}: {', '.join(lines)}."


def some_folds(shown: Section, models: dict[str, Any]) -> list[str]:
    """Means over other folds than all, where the section asks for them."""
    count = max(len(metrics["auc"]["folds"]) for metrics in models.values())
    lines = list[str]()
    if shown.earlier:
        lines.append(means(models, shown.judged_by, slice(0, -1), f"over the {count - 1} folds before the last"))
    if shown.chosen_on_first:
        which = f"without the fold on which the recipe was found, over folds 2 to {count}"
        lines.append(means(models, shown.judged_by, slice(1, None), which))
    if shown.earlier and shown.chosen_on_first:
        lines.append(means(models, shown.judged_by, slice(1, -1), "without both"))
    return lines


def section(name: str, folder: Path = FOLDER) -> str:
    """One section of the page. Raises SystemExit where the report in the folder is of another command or of other data."""
    shown, path = SECTIONS[name], folder / f"{name}.json"
    commands = "\n".join(shown.commands)
    parts = [f"## {shown.title}", shown.question, f"```bash\n{commands}\n```"]
    if not path.exists():
        return "\n\n".join([*parts, NOT_YET]) + "\n"
    report = json.loads(path.read_text(encoding="utf-8"))
    if asked(report["command"] + shown.then) != asked(shown.commands[-1]):
        raise SystemExit(
            f"{path}: was made by {report['command']!r}; expected what {shown.commands[-1]!r} asks for; run that, or correct it"
        )
    if "prepared" in report and (found := digest(report["prepared"])) != shown.prepared:
        raise SystemExit(
            f"{path}: was made of prepared data of digest {found}, expected {shown.prepared}; prepare them by the section's commands, "
            "or correct its digest where these are right"
        )
    made = made_line(report["made_by"]) if "made_by" in report else OLD
    tables = (f"#{part}" if part.startswith("## ") else part for part in sections(report))
    pictures = [f"![{words}](pictures/{file})" for file, words in shown.pictures]
    others = some_folds(shown, models) if (models := report.get("models")) else []
    return "\n\n".join([*parts, f"Protocol: {report['protocol']['words']}. {made}", *others, *pictures, *tables]) + "\n"


def main() -> None:
    """All sections, in the order of SECTIONS; then the benchmarks' tables as they were printed."""
    print(f"<!-- written by: python docs/results.py -->\n# Results\n\n{INTRODUCTION}")
    for name in SECTIONS:
        print(section(name))
    for path in sorted(FOLDER.glob("*.txt")):
        print(f"## {path.stem.replace('-', ' ').capitalize()}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n")


if __name__ == "__main__":
    main()
