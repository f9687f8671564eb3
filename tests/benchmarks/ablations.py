"""What each part of the recursion is worth: 6×6 Sudoku by the same command, with one thing changed at a time and equal FLOPs of training.

    python tests/benchmarks/ablations.py --seeds 3 --workers 2 > docs/results/ablations.txt

Each run is `python -m trmfin.puzzle sudoku6 --config VARIANT.toml --seed S`, in one thread; a run that is there is not repeated. Every
variant gets as many optimiser steps as SHARE of the recipe's own FLOPs pay for, so a cheap step is taken more often.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from puzzle_runs import percent, results

from trmfin.learn.recipe import Recipe
from trmfin.model.network import Network
from trmfin.puzzles.kinds import KINDS, Kind
from trmfin.puzzles.puzzle_samples import TIMELESS, puzzle_task
from trmfin.sequences.fitted import Fitted

FOLDER = Path("build/ablations")
SHARES_OF_A_RUN = 100  # places at which a curriculum's cost is looked at


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change of the recipe, and what the paper finds for it on Sudoku-Extreme (TRM: 87.4)."""

    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    paper: str = ""


PLAIN = {"core": "plain", "supervision_steps": 1}
HRM = {"nets": 2, "blocks": 1, "gradient": "step"}
FLAT: dict[str, Any] = {"curriculum": []}
VARIANTS: dict[str, Variant] = {
    "TRM, the recipe": Variant(paper="87.4"),
    "no EMA": Variant(training={"average_decay": 0.0}, paper="79.9"),
    "one-step gradient": Variant(model={"gradient": "step"}, paper="56.5"),
    "one-step gradient, no curriculum": Variant(model={"gradient": "step"}, training=FLAT, paper="56.5"),
    "T = n = 1 throughout": Variant(model={"latent_steps": 1, "answer_steps": 1}, training=FLAT),
    "T = 3, n = 4 at the end": Variant(
        model={"latent_steps": 4, "answer_steps": 3}, training={"curriculum": [[0.0, 1, 1], [0.5, 2, 2], [0.8, 4, 3]]}
    ),
    "no curriculum": Variant(training=FLAT),
    "no deep supervision": Variant(model={"supervision_steps": 1}),
    "no halting in training": Variant(training={"halt_early": False}),
    "two nets": Variant(model={"nets": 2}, paper="82.4"),
    "attention mixer": Variant(model={"mixer": "attention"}, paper="74.7"),
    "AdamW": Variant(training={"optimiser": "adamw"}),
    "damped, noisy, random start (EqR)": Variant(model={"damping": 0.05}, training={"random_start": True, "state_noise": 0.01}),
    "HRM, equal parameters": Variant(model=HRM, training={"average_decay": 0.0}, paper="55.0"),
    "HRM, no curriculum": Variant(model=HRM, training=FLAT | {"average_decay": 0.0}, paper="55.0"),
    "transformer, equal parameters": Variant(model=PLAIN | {"mixer": "attention"}, training=FLAT),
    "transformer, equal depth (12 blocks)": Variant(model=PLAIN | {"mixer": "attention", "blocks": 12}, training=FLAT),
    "MLP, equal parameters": Variant(model=PLAIN, training=FLAT),
    "MLP, equal depth (12 blocks)": Variant(model=PLAIN | {"blocks": 12}, training=FLAT),
}


def changed(recipe: Recipe, variant: Variant) -> Recipe:
    return Recipe(model=replace(recipe.model, **variant.model), training=replace(recipe.training, **variant.training))


def flops(kind: Kind, recipe: Recipe) -> float:
    """Floating-point operations that training takes for one sample and optimiser step, the mean over the run."""
    task = puzzle_task(kind.name, kind.side**2, kind.symbols[kind.first_answer :], kind.meaning)
    fitted = Fitted(edges={}, vocabulary={"symbol": kind.symbols}, fit_until=TIMELESS, task_sha256=task.sha256)
    network = Network(task, fitted, recipe.model)
    depths = [recipe.training.depth((place + 0.5) / SHARES_OF_A_RUN) for place in range(SHARES_OF_A_RUN)]
    return sum(network.flops(1, training=True, depth=depth) for depth in depths) / SHARES_OF_A_RUN


def toml(name: str, share: float) -> str:
    """The variant as what `--config` reads."""
    kind = KINDS["sudoku6"]
    variant, recipe = VARIANTS[name], kind.recipe
    steps = round(share * recipe.training.steps * flops(kind, recipe) / flops(kind, changed(recipe, variant)))
    tables = {"model": variant.model, "training": variant.training | {"steps": steps}}
    return "\n".join(f"[{table}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in tables[table].items()) for table in tables)


def planned(seeds: int, share: float) -> dict[tuple[str, int], tuple[Path, tuple[str, ...]]]:
    """(variant, seed) → folder and arguments of its run; writes the variants' TOML files."""
    runs = {}
    for seed in range(seeds):
        for name, variant in VARIANTS.items():
            short = "".join(letter if letter.isalnum() else "-" for letter in name)
            config = FOLDER / f"{short}.toml"
            config.write_text(toml(name, share))
            once = ("--steps", "1") if variant.model.get("core") == "plain" else ()
            runs[name, seed] = FOLDER / f"{short}-{seed}", ("sudoku6", "--config", str(config), "--seed", str(seed), *once)
    return runs


def row(name: str, found: list[dict[str, Any]]) -> str:
    first, last = ([result["exact"][pick(result["exact"], key=int)] for result in found] for pick in (min, max))
    cpu = sum(result["cpu_seconds"] for result in found) / len(found)
    steps = found[0]["training"]["steps"]
    return f"| {name} | {found[0]['parameters']:,} | {steps:,} | {percent(first)} | {percent(last)} | {cpu:.0f} | {VARIANTS[name].paper} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--workers", type=int, default=2, help="runs side by side, one thread each")
    options.add_argument("--share", type=float, default=0.6, help="of the recipe's training FLOPs that every variant gets")
    asked = options.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = planned(asked.seeds, asked.share)
    found = results(dict(runs.values()), asked.workers)
    print(f"Every variant has {asked.share:.0%} of the recipe's training FLOPs; 2,000 held-out puzzles, seeds 0 to {asked.seeds - 1}.")
    print("| variant | parameters | optimiser steps | exact @1, % | exact @last step, % | CPU s | paper, Sudoku-Extreme |")
    print("|---|---|---|---|---|---|---|")
    for name in VARIANTS:
        print(row(name, [found[runs[name, seed][0]] for seed in range(asked.seeds)]))


if __name__ == "__main__":
    main()
