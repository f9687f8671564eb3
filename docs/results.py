"""Print docs/results.md from the reports in docs/results/: `python docs/results.py > docs/results.md`.

Each report is the report.json of the evaluation that its section shows, run from the checkout, or the table of a benchmark as
it was printed, both copied there after the run. A report of another command is refused.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from trmfin.learn.tables import sections

FOLDER = Path(__file__).resolve().parent / "results"
INTRODUCTION = """\
Every metric here was computed from predictions on test samples, which the models that are judged were not trained on. Intervals are
95 %. Models stand in the same folds and are named as `--baselines` names them:

- `trm`: this project's recursive network, trained by the default recipe but for what a command's `--config` says; `tiny` is
  a network of the preset of that name
- `gru`: a recurrent network with as many parameters and optimiser steps, trained by the same code
- `lightgbm`, `logistic`: gradient boosting and logistic regression on hand-made features of the same statements
"""
NOT_YET = "Not measured yet in full; single folds are in the [log](log.md)."
SHOWN_FOR_ALL_LABELS = ("models", "differences", "costs", "fairness", "steps", "halting", "notes")
OF_NO_EFFECT = {"--out", "--workers", "--resume"}  # on what a report says


@dataclass(frozen=True, kw_only=True)
class Section:
    """One evaluation: what was asked, and the commands that answer it, the evaluation last."""

    title: str
    question: str
    commands: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...] = ()  # file in docs/pictures, what it shows
    elsewhere: tuple[str, ...] = ()  # parts of the report that another section shows already


SECTIONS = {  # report → section
    "credit": Section(
        title="Credit: default of credit card clients (UCI 350), 24,000 clients",
        question=(
            "Who of the clients of a Taiwanese bank defaults in October 2005, by six monthly statements (Yeh & Lien 2009)? Five\n"
            "folds: every client is tested once, by models trained on the other four fifths. In the fairness tables sex is 1 (male)\n"
            "or 2 (female), marriage 1 (married), 2 (single) or 3 (others); the file's documentation does not explain 0."
        ),
        commands=(
            "python -m trmfin.prepare payment_history default_of_credit_card_clients.csv --out build/credit",
            "python -m trmfin.evaluate payment_history build/credit --out build/credit-report --baselines logistic,lightgbm,gru,tiny",
        ),
        pictures=(
            ("credit-calibration.png", "Predicted probability against the share that defaulted, five models, all close to the diagonal"),
            ("credit-steps.png", "Log-odds of sixty clients' scores after each of three supervision steps"),
        ),
    ),
    "labels": Section(
        title="Credit with few labels",
        question=(
            "How good is a model where only some hundred outcomes are known? The same clients and folds; each draw of labels is\n"
            "given to every model. The command also trains on all labels, which the section above shows."
        ),
        commands=(
            "python -m trmfin.evaluate payment_history build/credit --out build/labels-report --labels 300,1000 --draws 20"
            " --baselines logistic,lightgbm",
        ),
        elsewhere=SHOWN_FOR_ALL_LABELS,
    ),
    "labels-3000": Section(
        title="Credit with 3,000 labels",
        question="The same with more labels, and fewer draws.",
        commands=(
            "python -m trmfin.evaluate payment_history build/credit --out build/labels-3000-report --labels 3000 --draws 15"
            " --baselines logistic,lightgbm",
        ),
        elsewhere=SHOWN_FOR_ALL_LABELS,
    ),
    "world": Section(
        title="Simulated world of monthly payments, before and after its regime change",
        question=(
            "How close does a model come to the truth, and what does it lose when the economy turns? In this world the probability\n"
            "of default is known exactly. From January 2024 on jobs are lost more often, recovery is slower and utilisation weighs\n"
            "more. Each window tests two months' statements; what may be trained on is the eight months before it, of which the label\n"
            "delay takes one. TRM and the GRU hold out the last two of the others to choose their best step and their calibration, and\n"
            "do not train on them; logistic and LightGBM are fitted again on all. A statement is scored on\n"
            "the first day of the next month, after which windows are named: the first two hold statements up to December 2023,\n"
            "before the change, the last three hold those from January 2024 on. The third window's models have seen nothing of the\n"
            "new economy; in the fifth window three months of it are known, which logistic and LightGBM learn from, and TRM and the\n"
            "GRU are only calibrated on."
        ),
        commands=(
            "python -m trmfin.data.simulate payments --clients 3000 --months 24 --seed 7 --out build/world",
            "python -m trmfin.prepare payment_history build/world/raw --out build/world/prepared",
            "python -m trmfin.evaluate payment_history build/world/prepared --out build/world-report"
            " --config docs/results/four.toml --test-start 2023-09-16 --test-days 61 --train-days 245 --windows 5",
        ),
    ),
}


def options(command: str) -> dict[str, str]:
    """The options of a command that its report depends on, with their values."""
    words = [part for word in shlex.split(command) for part in (word.split("=", 1) if word.startswith("--") else [word])]
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {name: value for name, value in pairs if name.startswith("--") and name not in OF_NO_EFFECT}


def section(name: str, folder: Path = FOLDER) -> str:
    """One section of the page. Raises SystemExit where the report in the folder was made by another command."""
    shown, path = SECTIONS[name], folder / f"{name}.json"
    commands = "\n".join(shown.commands)
    parts = [f"## {shown.title}", shown.question, f"```bash\n{commands}\n```"]
    if not path.exists():
        return "\n\n".join([*parts, NOT_YET]) + "\n"
    report = json.loads(path.read_text(encoding="utf-8"))
    if options(report["command"]) != options(shown.commands[-1]):
        raise SystemExit(
            f"{path}: was made by {report['command']!r}; expected the options of {shown.commands[-1]!r}; run that, or correct it"
        )
    kept = {key: value for key, value in report.items() if key not in shown.elsewhere}
    found = (f"#{part}" if part.startswith("## ") else part for part in sections(kept))
    pictures = [f"![{words}](pictures/{file})" for file, words in shown.pictures]
    return "\n\n".join([*parts, f"Protocol: {report['protocol']['words']}.", *pictures, *found]) + "\n"


def main() -> None:
    """All sections, in the order of SECTIONS; then the benchmarks' tables as they were printed."""
    print(f"<!-- written by: python docs/results.py -->\n# Results\n\n{INTRODUCTION}")
    for name in SECTIONS:
        print(section(name))
    for path in sorted(FOLDER.glob("*.txt")):
        print(f"## {path.stem.replace('-', ' ').capitalize()}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n")


if __name__ == "__main__":
    main()
