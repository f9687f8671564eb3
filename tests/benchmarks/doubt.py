"""Does a recursion know when it is wrong? Area under the risk–coverage curve (AURC) of signals of doubt.

On test rows of the credit file, or of the Handbook's simulated cards.

    python tests/benchmarks/doubt.py credit [--networks 5] [--folder build/doubt] > docs/results/doubt.txt
    python tests/benchmarks/doubt.py fraud

credit  the first stratified fold of the credit file, networks of `tiny`
fraud   the Handbook's week, trained on 31 days; networks as the pipeline's recipe has them, one member each

Credit: all test rows are judged, and a row is wrong where the first network's score is on the other side of one half than what
happened. Fraud: the hundred riskiest transactions of each day are, and one is wrong where it is genuine; there the score itself stands
for max probability. Signals are of the first network, but for `networks disagree` and `max probability, ensemble`, the same of the
mean of all networks' log-odds. An interval of the difference from max probability that lies below 0 is a claim for this task.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
DATA = Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data")
FILES = {"credit": ("payment_history", "credit_default_taiwan"), "fraud": ("transactions", "card_fraud_handbook")}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ALERTS = 100  # cards a day


def world(name: str) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Pipeline, sequences, training rows, test rows."""
    from dataclasses import replace

    from trmfin.data.prepared import apply, read_raws
    from trmfin.sequences.sequences import build
    from trmfin.sequences.splits import protocol_splits
    from trmfin.shipped import load_pipeline

    pipeline, folder = FILES[name]
    use = load_pipeline(pipeline)
    (file,) = [path for path in (DATA / folder).iterdir() if path.suffix in (".csv", ".parquet")]
    sequences = build(apply(use, read_raws(use, file), NOW), use.task)
    protocol = use.protocol if name == "credit" else replace(use.protocol, train_days=31)
    split = protocol_splits(sequences, protocol)[0]
    return use, sequences, split.train, split.test


def trained(use: Any, sequences: Any, train: np.ndarray, seed: int, folder: Path) -> Any:
    from dataclasses import replace

    from trmfin.learn.bundle import MANIFEST, Bundle
    from trmfin.learn.recipe import Recipe
    from trmfin.learn.training import bundle_of, learn
    from trmfin.shipped import load_pipeline

    if not (folder / MANIFEST).exists():
        recipe = Recipe.chosen(load_pipeline(use.name).recipe, use.name, seed=seed, preset_name="tiny")
        recipe = replace(recipe, model=replace(recipe.model, members=1))
        (folder / "training").mkdir(parents=True, exist_ok=True)
        learnt = learn(sequences, train, recipe, folder=folder / "training", workers=1)
        bundle_of(learnt, sequences, train, recipe, {}).save(folder)
    return Bundle.load(folder)


def mistakes(name: str, sequences: Any, test: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which test rows are judged, and whether each is wrong."""
    y = sequences.targets.values[sequences.task.primary][test]
    if name == "credit":
        return np.arange(len(test)), (score >= 0.5) != (y == 1)
    day = sequences.as_of[test].astype("datetime64[us]").astype("datetime64[D]")
    looked_at = np.zeros(len(test), bool)
    for one in np.unique(day):
        here = np.flatnonzero(day == one)
        looked_at[here[np.argsort(-score[here], kind="stable")[:ALERTS]]] = True
    judged = np.flatnonzero(looked_at)
    return judged, y[judged] == 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("world", choices=FILES)
    options.add_argument("--networks", type=int, default=5)
    options.add_argument("--folder", type=Path, default=Path("build/doubt"))
    asked = options.parse_args()
    from trmfin.explaining.trace import NOISE, RESTARTS, from_scores, of_dropout, of_networks, of_runs
    from trmfin.learn.calibrate import probability
    from trmfin.learn.coverage import compared
    from trmfin.scoring.engine import score_rows

    use, sequences, train, test = world(asked.world)
    bundles = []
    for seed in range(asked.networks):
        bundles.append(trained(use, sequences, train, seed, asked.folder / asked.world / f"seed-{seed}"))
        print(f"{asked.world}: network {seed + 1} of {asked.networks} is there", file=sys.stderr, flush=True)
    mine = bundles[0]
    aligned = sequences.aligned(mine.fitted)
    scores = score_rows(mine, aligned, test)
    judged, wrong = mistakes(asked.world, sequences, test, scores.score)
    several = of_networks(bundles, sequences, test)
    doubts = from_scores(scores) | {
        "noise rollouts": of_runs(mine, aligned, test, NOISE),
        "restarts": of_runs(mine, aligned, test, RESTARTS),
        "dropout": of_dropout(mine, aligned, test),
        "networks disagree": several.std(0),
        "max probability, ensemble": 1 - probability(np.abs(several.mean(0))),
    }
    if asked.world == "fraud":  # of alerts the surest is the highest score
        doubts |= {"max probability": 1 - scores.score, "max probability, ensemble": 1 - probability(several.mean(0))}
    found = compared(wrong, {name: values[judged] for name, values in doubts.items()}, sequences.group[test][judged], "max probability")
    print(f"{asked.world}: {len(judged):,} rows, {wrong.mean():.2%} of them wrong, {asked.networks} networks")
    print(f"{'signal':26} {'AURC':>7} {'95 %':>18} {'less max probability':>22} {'95 %':>20}")
    for name, (value, less) in sorted(found.items(), key=lambda item: item[1][0].value):
        print(f"{name:26} {value.value:7.4f} [{value.low:.4f}, {value.high:.4f}] {less.value:+22.4f} [{less.low:+.4f}, {less.high:+.4f}]")


if __name__ == "__main__":
    main()
