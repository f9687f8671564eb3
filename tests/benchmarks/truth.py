"""Explanations against a known truth: a world whose log-odds are a formula, so that each player's true Shapley value is computed too.

    python tests/benchmarks/truth.py [--clients 6000 --cases 400 --seed 0] > docs/results/truth.txt

Log-odds of default = -2.2 + 1.0 late + .8 used + .9 late used - .7 paid + .5 limit, of standard normal factors that statements show:
late, used and paid are means of a client's last three months, limit is the client's own. used and late are correlated (.6), noise is
shown and does nothing. The network sees columns, never factors. True values are Shapley's of the formula, against the same rows as the
network's; both against ten rows of all applicants, as a mean over rows of mixtures.

agreement   Kendall's tau-b of the five players' values, network against truth, and whether the strongest player is the same
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
START, MONTHS = datetime(2024, 1, 1, tzinfo=UTC), 3
FACTORS = ("late", "used", "paid", "limit", "noise")
TIME = pl.Datetime("us", "UTC")


def log_odds(late: Any, used: Any, paid: Any, limit: Any, noise: Any) -> Any:
    return -2.2 + 1.0 * late + 0.8 * used + 0.9 * late * used - 0.7 * paid + 0.5 * limit + 0.0 * noise


def world(clients: int, seed: int) -> tuple[Any, Any, np.ndarray]:
    """Prepared data, the task, and the factors (N, 5) in the order of FACTORS."""
    from trmfin.data.prepared import Prepared
    from trmfin.sequences.explained import Player
    from trmfin.sequences.task import Field, History, Target, Task

    random = np.random.default_rng(seed)
    months = random.standard_normal((clients, MONTHS, 4))  # late, used, paid, noise
    months[..., 1] = 0.6 * months[..., 0] + 0.8 * months[..., 1]
    limit = random.standard_normal(clients)
    factors = np.column_stack((months[..., :3].mean(1) * MONTHS**0.5, limit, months[..., 3].mean(1) * MONTHS**0.5))
    y = random.random(clients) < 1 / (1 + np.exp(-log_odds(*factors.T)))
    times = [START + timedelta(days=30 * month) for month in range(MONTHS)]
    events = pl.DataFrame(
        {
            "event_id": [f"c{client}@{month}" for client in range(clients) for month in range(MONTHS)],
            "event_time": times * clients,
            "known_at": times * clients,
            "event_type": ["statement"] * clients * MONTHS,
            "client": np.repeat([f"c{client}" for client in range(clients)], MONTHS),
            **{name: months[..., place].ravel() for place, name in enumerate(("late", "used", "paid", "noise"))},
        },
        schema_overrides={"event_time": TIME, "known_at": TIME},
    )
    as_of = START + timedelta(days=30 * MONTHS)
    samples = pl.DataFrame(
        {
            "sample_id": [f"s{client}" for client in range(clients)],
            "as_of": [as_of] * clients,
            "client": [f"c{client}" for client in range(clients)],
            "limit": limit,
            "target_default": y.astype(float),
            "target_default_known_at": [as_of + timedelta(days=30)] * clients,
        },
        schema_overrides={"as_of": TIME, "target_default_known_at": TIME},
    )
    task = Task(
        name="known",
        histories=(History(name="statements", keys=("client",), length=MONTHS),),
        fields=(
            *(Field(name=name, column=name, transform="number") for name in ("late", "used", "paid", "noise")),
            Field(name="limit", column="limit", transform="number", of="sample"),
        ),
        targets=(Target(name="default", head="binary", meaning="probability of default; higher = riskier"),),
        primary="default",
        group="client",
        players=tuple(Player(name=name, fields=(name,), lengths=("statements",) if name == "noise" else ()) for name in FACTORS),
    )
    return Prepared(events=events, samples=samples), task, factors


def true_values(factors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N, 5) Shapley values of the formula for cases (N, 5) against rows (K, 5), means over rows."""
    from trmfin.explaining.players import coalitions
    from trmfin.explaining.shapley import shapley_values

    sets = coalitions(len(FACTORS))
    mixed = np.where(sets[None, :, None], factors[:, None, None], rows[None, None])  # (N, 32, K, 5)
    return shapley_values(log_odds(*np.moveaxis(mixed, -1, 0)).mean(-1)[..., None])[:, 0]


def tau(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over cases of Kendall's tau of values, (N, M) each; no ties are expected."""
    i, j = np.triu_indices(one.shape[1], 1)
    return float((np.sign(one[:, i] - one[:, j]) * np.sign(other[:, i] - other[:, j])).mean())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=6000)
    options.add_argument("--cases", type=int, default=400)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    from trmfin.explaining.comparison import comparison
    from trmfin.explaining.players import players_of
    from trmfin.explaining.shapley import Game, exact
    from trmfin.learn.metrics import auc
    from trmfin.learn.recipe import Recipe
    from trmfin.learn.training import bundle_of, learn
    from trmfin.scoring.engine import score_rows
    from trmfin.sequences.sequences import build

    prepared, task, factors = world(asked.clients, asked.seed)
    sequences = build(prepared, task)
    recipe = Recipe.default("tiny")
    recipe = replace(recipe, training=replace(recipe.training, seed=asked.seed))
    train, test = np.arange(asked.clients - asked.cases), np.arange(asked.clients - asked.cases, asked.clients)
    with tempfile.TemporaryDirectory() as folder:
        learnt = learn(sequences, train, recipe, folder=Path(folder))
    bundle = bundle_of(learnt, sequences, train, recipe, {})
    aligned, players = sequences.aligned(bundle.fitted), players_of(task)
    group = comparison(task, bundle.reference, "all_applicants", "rows", 10)
    place = {name: row for row, name in enumerate(sequences.sample_ids.tolist())}
    true = true_values(factors[test], factors[[place[name] for name in group.sample_ids]])
    y, score = sequences.targets.values["default"][test], score_rows(bundle, aligned, test).score
    print(f"seed {asked.seed}: {len(train):,} clients trained on, {len(test)} explained; AUC {auc(y, score):.3f}, the formula's ", end="")
    print(f"{auc(y, 1 / (1 + np.exp(-log_odds(*factors[test].T)))):.3f}")
    for form, game in (
        ("rows", Game.of(bundle, players, group)),
        ("average", Game.of(bundle, players, comparison(task, bundle.reference, "all_applicants"))),
    ):
        found = exact(game, aligned, test)
        order = [found.players.index(name) for name in FACTORS]
        for step in range(found.values.shape[1]):
            mine = found.values[:, step][:, order]
            same = (np.abs(mine).argmax(1) == np.abs(true).argmax(1)).mean()
            off = np.abs(mine - true).mean(0)
            print(
                f"{form:8} step {step + 1}: tau {tau(mine, true):.3f}, strongest the same {same:6.1%}, "
                f"mean error {', '.join(f'{name} {value:.3f}' for name, value in zip(FACTORS, off, strict=True))}"
            )
    print(f"true values on average: {', '.join(f'{name} {value:.3f}' for name, value in zip(FACTORS, np.abs(true).mean(0), strict=True))}")


if __name__ == "__main__":
    main()
