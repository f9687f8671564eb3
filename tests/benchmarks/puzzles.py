"""Which benchmark puzzles are learnt on a CPU, and for how many CPU seconds: every puzzle by its own command, seed by seed.

    python tests/benchmarks/puzzles.py > docs/results/puzzles.txt

Runs stand in build/puzzles and are not repeated. One at a time by default, because CPU seconds rise when cores share a cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from puzzle_runs import percent, results

FOLDER = Path("build/puzzles")
PUZZLES = {  # row → arguments
    "sudoku4": ("sudoku4",),
    "sudoku6": ("sudoku6",),
    "maze9": ("maze9",),
    "sudoku9, full": ("sudoku9", "--level", "full"),
    "sudoku9, half": ("sudoku9", "--level", "half"),
    "sudoku9, sparse": ("sudoku9", "--level", "sparse"),
    "sudoku9, bare": ("sudoku9", "--level", "bare"),
    "sudoku9, guess": ("sudoku9", "--level", "guess"),
}


def row(name: str, found: list[dict[str, Any]]) -> str:
    last = max(found[0]["exact"], key=int)
    exact = " | ".join(percent([result["exact"][step] for result in found]) for step in ("1", "4", last))
    halted = " ".join(f"{100 * result['halted']['exact']:.1f} in {result['halted']['mean_steps']:.1f}" for result in found)
    cpu = " ".join(f"{result['cpu_seconds']:.0f}" for result in found)
    return f"| {name} | {last} | {exact} | {halted} | {cpu} | {found[0]['parameters']:,} | {found[0]['held_out']:,} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=list(PUZZLES), default=list(PUZZLES), help="rows of the table")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--workers", type=int, default=1, help="runs side by side, one thread each")
    asked = options.parse_args()
    folders = {(name, seed): FOLDER / f"{name.replace(', ', '-')}-{seed}" for name in asked.only for seed in range(asked.seeds)}
    found = results({out: (*PUZZLES[name], "--seed", str(seed)) for (name, seed), out in folders.items()}, asked.workers)
    print("| puzzle | steps | exact @1, % | @4 | @last | halting early: exact in so many steps | CPU s | parameters | held out |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in asked.only:
        print(row(name, [found[folders[name, seed]] for seed in range(asked.seeds)]))


if __name__ == "__main__":
    main()
