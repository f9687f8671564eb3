"""Print docs/results.md from the reports in docs/results/: `python docs/results.py > docs/results.md`.

Each report is the report.json of `python -m trmfin.evaluate`, or the table of a benchmark, copied there after the run.
"""

from __future__ import annotations

import json
from pathlib import Path

from trmfin.learn.tables import markdown

FOLDER = Path(__file__).resolve().parent / "results"
TITLES = {
    "credit": "Credit: default of credit card clients (UCI 350), 24,000 clients",
    "labels": "Credit with few labels",
    "world": "Simulated world of monthly payments, before and after its regime change",
}


def main() -> None:
    """All sections, in the order of TITLES; then the benchmarks' tables as they were printed."""
    print("<!-- written by: python docs/results.py -->\n# Results\n")
    print("Intervals are 95 %. Higher is better for AUC, AP and KS, lower for log-loss, ECE and Brier.")
    print("Challengers stand in the same folds.\n")
    for name, title in TITLES.items():
        if (path := FOLDER / f"{name}.json").exists():
            print(f"## {title}\n")
            print(markdown(json.loads(path.read_text(encoding="utf-8"))).replace("\n## ", "\n### ").replace("# ", "", 1))
    for path in sorted(FOLDER.glob("*.txt")):
        print(f"## {path.stem.replace('-', ' ').capitalize()}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```\n")


if __name__ == "__main__":
    main()
