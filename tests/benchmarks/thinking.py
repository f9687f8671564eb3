"""What more thinking buys when answering, at equal calls of the network: more steps, noise rollouts (PTRM), random restarts (EqR).

    python tests/benchmarks/thinking.py build/ablations/TRM--the-recipe-0 build/ablations/TRM--the-recipe-1 > docs/results/thinking.txt

Each RUN is a folder of `python -m trmfin.puzzle`; its network is not trained again but answers the same held-out puzzles in every
way. An answer of 64 steps and one of 4 rollouts of 16 steps call the network as often.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from puzzle_runs import percent, results

FOLDER = Path("build/thinking")
AGAIN = ("network.safetensors", "spent.json")  # what a run needs to answer again
WAYS: dict[str, tuple[str, ...]] = {  # row → options of the command
    "16 steps, as trained or further": ("--steps", "16"),
    "64 steps": ("--steps", "64"),
    "4 rollouts, noise .1, surest": ("--steps", "16", "--rollouts", "4", "--noise", "0.1"),
    "4 rollouts, noise .3, surest": ("--steps", "16", "--rollouts", "4", "--noise", "0.3"),
    "4 rollouts, noise 1, surest": ("--steps", "16", "--rollouts", "4", "--noise", "1"),
    "4 random starts, surest": ("--steps", "16", "--rollouts", "4", "--restarts"),
    "4 random starts, settled most": ("--steps", "16", "--rollouts", "4", "--restarts", "--pick", "residual"),
}


def steps_and_rollouts(options: tuple[str, ...]) -> int:
    """Supervision steps that an answer takes, over all its rollouts."""
    told = dict(zip(options, options[1:], strict=False))
    return int(told["--steps"]) * int(told.get("--rollouts", 1))


def again(run: Path, name: str, way: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """Folder and arguments of the run's network asked in another way."""
    before = json.loads((run / "result.json").read_text())
    out = FOLDER / f"{run.name}-{''.join(letter if letter.isalnum() else '-' for letter in name)}"
    if not out.exists():
        out.mkdir(parents=True)
        for file in AGAIN:
            shutil.copyfile(run / file, out / file)
    config = FOLDER / f"{run.name}.toml"
    tables = {table: before[table] for table in ("model", "training")}
    config.write_text("\n".join(f"[{table}]\n" + "".join(lines(values)) for table, values in tables.items()))
    level = ("--level", before["level"]) if before.get("level") else ()
    return out, (before["puzzle"], *level, "--config", str(config), "--seed", str(before["seed"]), *way)


def lines(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if key != "seed"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options.add_argument("--workers", type=int, default=1, help="runs side by side, one thread each")
    asked = options.parse_args()
    asks = {(name, run): again(run, name, way) for name, way in WAYS.items() for run in asked.runs}
    found = results(dict(asks.values()), asked.workers)
    print("| way of answering | supervision steps a puzzle | exact, % |\n|---|---|---|")
    for name, way in WAYS.items():
        of_runs = [found[asks[name, run][0]]["exact"] for run in asked.runs]
        print(f"| {name} | {steps_and_rollouts(way)} | {percent([exact[max(exact, key=int)] for exact in of_runs])} |")


if __name__ == "__main__":
    main()
