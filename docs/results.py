"""Print docs/results.md from the reports in docs/results/: `python docs/results.py > docs/results.md`.

Each report is the report.json of `python -m trmfin.evaluate`, or the table of a benchmark, copied there after the run.
"""

from __future__ import annotations

import json
from pathlib import Path

from trmfin.learn.tables import markdown

FOLDER = Path(__file__).resolve().parent / "results"
SECTIONS = {  # report → title, and the command that makes it after `python -m trmfin.prepare … --out PREPARED`
    "credit": (
        "Credit: default of credit card clients (UCI 350), 24,000 clients",
        "python -m trmfin.evaluate payment_history PREPARED --out REPORT --baselines logistic,lightgbm,gru,tiny",
    ),
    "labels": (
        "Credit with few labels",
        "python -m trmfin.evaluate payment_history PREPARED --out REPORT --labels 300,1000,3000 --draws 20",
    ),
    "world": (
        "Simulated world of monthly payments, before and after its regime change",
        "python -m trmfin.evaluate payment_history PREPARED --out REPORT --test-start 2023-11-01 --test-days 61 --windows 7",
    ),
}


def main() -> None:
    """All sections, in the order of SECTIONS; then the benchmarks' tables as they were printed."""
    print("<!-- written by: python docs/results.py -->\n# Results\n")
    print("Intervals are 95 %. Higher is better for AUC, AP and KS, lower for log-loss, ECE and Brier.")
    print("Challengers stand in the same folds.\n")
    for name, (title, command) in SECTIONS.items():
        print(f"## {title}\n")
        if (path := FOLDER / f"{name}.json").exists():
            print(markdown(json.loads(path.read_text(encoding="utf-8"))).replace("\n## ", "\n### ").replace("# ", "", 1))
        else:
            print(f"Not measured yet in full; single folds are in the [log](log.md). Command: `{command}`\n")
    for path in sorted(FOLDER.glob("*.txt")):
        print(f"## {path.stem.replace('-', ' ').capitalize()}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n")


if __name__ == "__main__":
    main()
