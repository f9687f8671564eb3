"""What an explanation costs: exact Shapley values against plain passes, and against shap's samplers at equal error.

    python tests/benchmarks/explaining.py [--cases 500] [--answer-steps 2] > docs/results/speed-of-explaining.txt

Clients of the credit file of TRMFIN_DATA (by default ../shared/data), one network of the preset `tiny` with weights drawn wide: its speed
does not depend on them. Eight players: the task's own groups, utilisation parted in two, so that there are 256 sets. One thread; plain
passes and explanations take turns, medians of five.

plain        so many cases through the network, no explanation
average      exact values against a group's average: 256 passes a case
rows         the same against ten of its rows
permutation  shap's PermutationExplainer over the same game, of the first cases, with ever more evaluations until its mean error is
kernel       below a hundredth of a mean value, and shap's KernelExplainer; errors are against the exact values
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
CREDIT = "credit_default_taiwan/default_of_credit_card_clients.csv"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
BOUND = 0.01  # mean absolute error of a player's value, as a share of values' mean size
SAMPLED = 10  # cases that shap is asked about
ROUNDS = 5


def untrained(answer_steps: int) -> tuple[Any, Any]:
    """A bundle with the three comparison groups, and the clients' sequences."""
    import polars as pl
    import torch

    from trmfin.data.files import read_raw
    from trmfin.data.header import matches
    from trmfin.data.prepared import apply
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.calibrate import Calibration
    from trmfin.learn.policy import Policy
    from trmfin.learn.profile import reference_profile
    from trmfin.learn.reference import reference
    from trmfin.model.config import preset
    from trmfin.model.ensemble import Ensemble
    from trmfin.sequences.explained import Player
    from trmfin.sequences.fitted import Fitted
    from trmfin.sequences.sequences import build
    from trmfin.shipped import load_pipeline

    use = load_pipeline("payment_history")
    parted = [Player(name="utilisation", fields=("used",)), Player(name="growth", fields=("used_change",))]
    task = replace(use.task, players=(*(p for p in use.task.players if p.name != "utilisation"), *parted))
    raw = read_raw(Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CREDIT)
    sequences = build(apply(use, {matches(raw, use.schemas, use.aliases): raw}, NOW), task)
    config = preset("tiny", answer_steps=answer_steps)
    rows = np.arange(len(sequences))
    fitted = Fitted.fit(sequences, rows, config.bins)
    sequences = sequences.aligned(fitted)
    network = Ensemble(task, fitted, config).eval()
    with torch.no_grad():  # wide, so that players matter
        for member in network.members:
            for weight in (*member.numbers.parameters(), *member.codes.parameters(), *member.heads.parameters()):
                weight.copy_(torch.randn(weight.shape))
    bundle = Bundle(
        network=network,
        task=task,
        fitted=fitted,
        calibration=Calibration(kind="identity", parameters=((),) * config.supervision_steps),
        policy=Policy(),
        card={},
        reference=reference(sequences, rows, None, 0.5),
        profile=reference_profile(sequences, rows, None, 0.0),
        sha256="0" * 64,
    )
    assert isinstance(bundle.reference, pl.DataFrame)
    return bundle, sequences


def seconds(function: Any, *arguments: Any, **named: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = function(*arguments, **named)
    return time.perf_counter() - began, found


def samplers(game: Any, sequences: Any, rows: np.ndarray, exact_values: np.ndarray, exact_ms: float) -> None:
    """How long shap takes a case until its mean error is below BOUND. exact_ms: of exact values, a case."""
    import shap

    M, nobody, everybody = len(game.players), np.zeros((1, len(game.players))), np.ones((1, len(game.players)))

    def permutation(worth: Any, evaluations: int) -> np.ndarray:
        return shap.PermutationExplainer(worth, nobody, seed=0)(everybody, max_evals=evaluations, silent=True).values[0]

    def kernel(worth: Any, evaluations: int) -> np.ndarray:
        np.random.seed(0)
        return np.asarray(shap.KernelExplainer(worth, nobody, silent=True).shap_values(everybody[0], nsamples=evaluations, silent=True))

    size = np.abs(exact_values[:SAMPLED]).mean()
    for name, explain in (("permutation", permutation), ("kernel", kernel)):
        explain(lambda sets: sets.sum(1), 2 * M + 1)  # what it loads and compiles at first is not timed
        for rounds in (1, 2, 4, 8, 16, 32):
            evaluations, errors, spent = rounds * (2 * M + 1), [], 0.0
            for case, row in enumerate(rows[:SAMPLED]):
                batch = sequences.batch(np.array([row]))

                def worth(sets: np.ndarray, batch: Any = batch) -> np.ndarray:
                    return game.worth(batch, sets > 0.5)[0, :, -1]

                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    took, found = seconds(explain, worth, evaluations)
                spent += took
                errors.append(np.abs(found.ravel() - exact_values[case]).mean() / size)
            ms = spent / SAMPLED * 1e3
            print(
                f"{name:12} {evaluations:5} evaluations {ms:9.1f} ms a case, {ms / exact_ms:6.2f} of exact values, "
                f"mean error {np.mean(errors):7.2%} of a value",
                flush=True,
            )
            if np.mean(errors) < BOUND:
                break


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, default=500)
    options.add_argument("--answer-steps", type=int, default=2, help="T: 1 as tiny has it, 2 for twice the recursion")
    asked = options.parse_args()
    import torch

    from trmfin.explaining.comparison import comparison
    from trmfin.explaining.players import players_of
    from trmfin.explaining.shapley import Game, exact
    from trmfin.scoring.engine import score_rows

    torch.set_num_threads(1)
    torch.manual_seed(0)
    bundle, sequences = untrained(asked.answer_steps)
    players = players_of(bundle.task)
    rows = np.arange(asked.cases)
    plain = np.tile(rows[: max(asked.cases // 10, 1)], 2 ** len(players))  # a tenth of the cases: it takes long enough
    game = Game.of(bundle, players, comparison(bundle.task, bundle.reference, "all_applicants"))
    ten = Game.of(bundle, players, comparison(bundle.task, bundle.reference, "all_applicants", "rows", 10))
    sets, few = 2 ** len(players), rows[: max(asked.cases // 10, 1)]
    took: dict[str, list[float]] = {"plain": [], "average": [], "rows": []}
    for turn in range(ROUNDS + 1):  # taking turns, so that a machine that drifts drifts for all; the first is not counted
        part = np.array_split(rows, ROUNDS)[turn % ROUNDS]
        plain, _ = seconds(score_rows, bundle, sequences, np.tile(part, sets))
        average, _ = seconds(exact, game, sequences, part)
        by_rows, _ = seconds(exact, ten, sequences, few[:2])
        for name, spent, cases in (("plain", plain, len(part)), ("average", average, len(part)), ("rows", by_rows, 2)):
            took[name] += [spent / cases * 1e3] if turn else []
    config = bundle.network.config
    print(f"tiny, n={config.latent_steps}, T={config.answer_steps}, {config.supervision_steps} steps, {len(players)} players, one thread")
    for name, passes in (("plain", sets), ("average", sets), ("rows", sets * len(ten.other))):
        ratios = [spent / whole / (passes / sets) for spent, whole in zip(took[name], took["plain"], strict=True)]
        print(f"{name:12} {passes:5} passes      {median(took[name]):9.1f} ms a case, {median(ratios):.2f} of as many plain passes")
    found = exact(game, sequences, rows[:SAMPLED])
    samplers(game, sequences, rows, found.values[:, -1], median(took["average"]))


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    main()
