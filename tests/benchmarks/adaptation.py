"""A new kind of fraud appears: what a few confirmed cases teach, what is forgotten, and what it takes.

    python tests/benchmarks/adaptation.py stolen [--draws 20] [--cases 5 20 50] [--folder build/adaptation] > docs/results/adaptation.txt
    python tests/benchmarks/adaptation.py testing

stolen   the card file of TRMFIN_DATA (by default ../shared/data) from which scenario 3, stolen cards, is taken out before 2018-07-25
testing  a simulated world of 5,000 cards in which thieves begin to test cards' numbers on its 55th day

The base is trained on 31 days that end a week before the new fraud's first day, so that it has seen none. Of the seven days from
that day on, k cases of it are confirmed; each draw picks others. Verdicts take a week, and on the day when all are known the test
begins, of seven days: on the new fraud against genuine transactions, and on the old frauds against the same. Cards that are known to be
bad by then are left out, as the Handbook's protocol does. All frauds are tested and a seeded share of the genuine, with weights.

trm adapted     `python -m trmfin.train … --from BUNDLE --cases FILE`, as its defaults are, rehearsing the base's 31 days
trm frozen …    the same, these parts of the network left as they were (the first --frozen draws)
trm retrained   the whole training again, the cases among its samples (--retrained draws, none by default: minutes each)
lightgbm        on the Handbook's fifteen features. warm: trees added to the base's, on its 31 days and the cases, where cases weigh
                as much as told, of the frauds' weight; retrained: all trees anew, the cases among the samples, weighing the same
less            TRM's AP less LightGBM's of the same draws, and its standard error, for the new fraud and the old
labels          that must be known of the new fraud; CPU s: of one update, in one thread

What was measured is kept in the folder and not measured again for the same base; another commit's belongs in another folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
CARDS = "card_fraud_handbook/transactions.parquet"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
TRAIN, CONFIRMED, DELAY, TEST = 31, 7, 7, 7  # days
GENUINE = 8_000  # of the test days, about
FROZEN = (("inputs",), ("core",), ("heads",), ("inputs", "core"))
WEIGHTS, ROUNDS = (0.05, 0.25, 0.5), 40  # of the cases among the frauds; trees that a warm start adds
TREES = {"objective": "binary", "learning_rate": 0.03, "num_leaves": 15, "num_threads": 1, "deterministic": True, "verbosity": -1}
FIRST_TREES = 250


@dataclass(frozen=True, kw_only=True)
class World:
    """A table whose rows tell their scenario, and from when on which of them is new."""

    table: pl.DataFrame
    new: int
    begins: date


def stolen() -> World:
    file = Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CARDS
    begins = date(2018, 7, 25)
    table = pl.read_parquet(file)
    return World(table=table.filter((pl.col("TX_FRAUD_SCENARIO") != 3) | (pl.col("TX_DATETIME").dt.date() >= begins)), new=3, begins=begins)


def testing() -> World:
    from trmfin.data.simulate import transactions

    world = transactions.World(customers=5_000, terminals=10_000, days=76, seed=11, new_from=54)
    return World(table=transactions.simulate(world), new=transactions.NEW, begins=date(2018, 4, 1) + timedelta(days=54))


WORLDS = {"stolen": stolen, "testing": testing}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A world made ready: samples, features, and which rows are for what."""

    sequences: Any
    features: np.ndarray  # (N, 15)
    y: np.ndarray  # (N,)
    scenario: np.ndarray  # (N,)
    new: int
    train: np.ndarray
    cases: np.ndarray  # rows of the new fraud that could be confirmed
    test: np.ndarray
    weight: np.ndarray  # of the test rows

    def judged(self, scores: np.ndarray) -> tuple[float, float]:
        """Average precision of the new fraud and of the old ones, each against genuine transactions."""
        from trmfin.learn.metrics import average_precision

        kind, y = self.scenario[self.test], self.y[self.test]
        parts = [(y == 0) | (kind == self.new), (y == 0) | ((y == 1) & (kind != self.new))]
        new, old = (average_precision(y[part], scores[part], weight=self.weight[part]) for part in parts)
        return new, old


def made_ready(world: World) -> Setting:
    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.sequences.protocol import Protocol
    from trmfin.sequences.sequences import build
    from trmfin.sequences.splits import protocol_splits
    from trmfin.shipped import load_pipeline

    use = load_pipeline("transactions")
    data = apply(use, {"transactions": raw_from_frame(world.table, "world")}, NOW)
    sequences = build(data, use.task)
    told = dict(zip(world.table["TRANSACTION_ID"].cast(pl.String), world.table["TX_FRAUD_SCENARIO"], strict=True))
    scenario = np.array([told[name] for name in sequences.sample_ids])
    y = sequences.targets.values["fraud"]
    day = sequences.as_of.astype("datetime64[us]").astype("datetime64[D]")
    begins = np.datetime64(world.begins)
    start = world.begins + timedelta(days=CONFIRMED + DELAY)
    protocol = Protocol(kind="walk_forward", folds=1, test_start=start.isoformat(), test_days=TEST, delay_days=DELAY, known_from_days=7)
    tested = protocol_splits(sequences, protocol)[0].test
    genuine = tested[y[tested] == 0]
    kept = np.sort(np.random.default_rng(0).permutation(genuine)[:GENUINE])
    test = np.concatenate((tested[y[tested] == 1], kept))
    return Setting(
        sequences=sequences,
        features=use.challenger_features(data).drop("sample_id").cast(pl.Float64).to_numpy(),
        y=y,
        scenario=scenario,
        new=world.new,
        train=np.flatnonzero((day >= begins - TRAIN - DELAY) & (day < begins - DELAY)),
        cases=np.flatnonzero((scenario == world.new) & (day >= begins) & (day < begins + CONFIRMED)),
        test=test,
        weight=np.where(y[test] == 1, 1.0, len(genuine) / len(kept)),
    )


def base_bundle(setting: Setting, folder: Path, train: np.ndarray | None = None, seed: int = 0) -> Any:
    """The pipeline's own recipe on the training rows; taken from the folder where it was trained before."""
    from trmfin.learn.bundle import MANIFEST, Bundle
    from trmfin.learn.recipe import Recipe
    from trmfin.learn.training import bundle_of, learn
    from trmfin.shipped import load_pipeline

    if not (folder / MANIFEST).exists():
        use = load_pipeline("transactions")
        recipe = Recipe.chosen(use.recipe, use.name, seed=seed)
        rows = setting.train if train is None else train
        (folder / "training").mkdir(parents=True, exist_ok=True)
        learnt = learn(setting.sequences, rows, recipe, folder=folder / "training", workers=1)
        bundle_of(learnt, setting.sequences, rows, recipe, {}).save(folder)
    return Bundle.load(folder)


def cpu_seconds() -> float:
    """Of this process and those that it has waited for: not of others on the machine."""
    return sum(os.times()[:4])


def said(setting: Setting, bundle: Any) -> np.ndarray:
    """Log-odds of the test rows."""
    from trmfin.learn.members import primary_logits

    return primary_logits(bundle.network, setting.sequences.aligned(bundle.fitted), setting.test)[:, -1]


def trm_adapted(setting: Setting, bundle: Any, cases: np.ndarray, seed: int, frozen: tuple[str, ...] = ()) -> tuple[np.ndarray, float]:
    from trmfin.learn.adapt import adapt, adapting_recipe

    recipe = adapting_recipe(bundle, seed)
    recipe = replace(recipe, training=replace(recipe.training, frozen=frozen))
    began = cpu_seconds()
    adapted = adapt(bundle, setting.sequences, cases, setting.train, recipe)
    seconds = cpu_seconds() - began
    return said(setting, adapted), seconds


def trees(setting: Setting, rows: np.ndarray, weight: np.ndarray | None = None, base: Any = None, seed: int = 0) -> Any:
    import lightgbm

    data = lightgbm.Dataset(setting.features[rows], setting.y[rows], weight=weight, free_raw_data=False)
    return lightgbm.train(TREES | {"seed": seed}, data, num_boost_round=ROUNDS if base else FIRST_TREES, init_model=base)


def lightgbm_updated(setting: Setting, base: Any, cases: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, float]:
    """Trees added to the base, or all anew where there is none; share: the cases' of the frauds' weight."""
    began = cpu_seconds()
    rows = np.concatenate((setting.train, cases))
    each = share / (1 - share) * setting.y[setting.train].sum() / len(cases)
    weight = np.concatenate((np.ones(len(setting.train)), np.full(len(cases), each)))
    booster = trees(setting, rows, weight, base, seed)
    seconds = cpu_seconds() - began
    return np.asarray(booster.predict(setting.features[setting.test], raw_score=True)), seconds


def ways(setting: Setting, bundle: Any, booster: Any, frozen: bool) -> Iterator[tuple[str, Any]]:
    """Name and function of each way to update, of its cases and seed, that this draw tries."""
    yield "trm adapted", partial(trm_adapted, setting, bundle)
    for parts in FROZEN if frozen else ():
        yield f"trm frozen {'+'.join(parts)}", partial(trm_adapted, setting, bundle, frozen=parts)
    for share in WEIGHTS:
        yield f"lightgbm warm {share:.0%}", partial(lightgbm_updated, setting, booster, share=share)
    yield f"lightgbm retrained {WEIGHTS[1]:.0%}", partial(lightgbm_updated, setting, None, share=WEIGHTS[1])


def updates(setting: Setting, folder: Path, sizes: list[int], draws: int, frozen: int, retrained: int) -> pl.DataFrame:
    """One line a model, number of cases and draw; what was measured before is read from the folder."""
    path = folder / "measured.csv"
    bundle, booster = base_bundle(setting, folder / "base"), trees(setting, setting.train)
    lines = pl.read_csv(path).rows(named=True) if path.exists() else []
    others, done = ([line for line in lines if (line["base"] == bundle.sha256) == mine] for mine in (False, True))

    def add(model: str, cases: int, draw: int, scores: np.ndarray, seconds: float) -> None:
        new, old = setting.judged(scores)
        done.append({"model": model, "cases": cases, "draw": draw, "new": new, "old": old, "seconds": seconds, "base": bundle.sha256})
        pl.DataFrame(others + done).write_csv(path)
        print(f"{model}, {cases} cases, draw {draw}: new {new:.3f} old {old:.3f}, {seconds:.1f} s", file=sys.stderr, flush=True)

    known = {(line["model"], line["cases"], line["draw"]) for line in done}
    if ("trm base", 0, 0) not in known:
        add("trm base", 0, 0, said(setting, bundle), 0.0)
        add("lightgbm base", 0, 0, np.asarray(booster.predict(setting.features[setting.test], raw_score=True)), 0.0)
    for draw in range(draws):
        for k in sizes:
            cases = np.random.default_rng((draw, k)).choice(setting.cases, k, replace=False)
            for name, way in ways(setting, bundle, booster, draw < frozen):
                if (name, k, draw) not in known:
                    add(name, k, draw, *way(cases=cases, seed=draw))
            if draw < retrained and ("trm retrained", k, draw) not in known:
                began = cpu_seconds()
                again = base_bundle(setting, folder / f"retrained-{k}-{draw}", np.sort(np.concatenate((setting.train, cases))), draw)
                add("trm retrained", k, draw, said(setting, again), cpu_seconds() - began)
    return pl.DataFrame(done)


def table(found: pl.DataFrame) -> Iterator[str]:
    """Means over draws with a standard error, and what is lost of the old against the model's own base."""
    base = {line["model"].split()[0]: line for line in found.filter(pl.col("cases") == 0).rows(named=True)}
    yield f"{'model':28} {'labels':>6} {'draws':>5} {'AP new':>7} {'± se':>6} {'AP old':>7} {'lost':>7} {'± se':>6} {'CPU s':>8}"
    for name, line in base.items():
        yield f"{name + ' base':28} {0:6} {1:5} {line['new']:7.3f} {'':>6} {line['old']:7.3f}"
    means = found.filter(pl.col("cases") > 0).group_by("cases", "model", maintain_order=True)
    for line in means.agg(pl.col("new", "old", "seconds"), pl.len()).sort("cases", maintain_order=True).rows(named=True):
        new, old = np.array(line["new"]), np.array(line["old"])
        lost = base[line["model"].split()[0]]["old"] - old
        errors = [f"{values.std(ddof=1) / len(values) ** 0.5:6.3f}" if len(values) > 1 else " " * 6 for values in (new, old)]
        yield (
            f"{line['model']:28} {line['cases']:6} {line['len']:5} {new.mean():7.3f} {errors[0]} {old.mean():7.3f} "
            f"{lost.mean():7.3f} {errors[1]} {np.mean(line['seconds']):8.1f}"
        )
        if line["model"] == "trm adapted":
            yield from paired(found, line["cases"])


def paired(found: pl.DataFrame, cases: int) -> Iterator[str]:
    """What TRM finds more than each LightGBM does, of the draws that both have."""
    of = found.filter(pl.col("cases") == cases)
    trm = of.filter(pl.col("model") == "trm adapted")
    for model in of.filter(pl.col("model").str.starts_with("lightgbm"))["model"].unique(maintain_order=True):
        both = trm.join(of.filter(pl.col("model") == model), on="draw")
        if both.height > 1:
            new, old = ((both[name] - both[f"{name}_right"]).to_numpy() for name in ("new", "old"))
            errors = [values.std(ddof=1) / both.height**0.5 for values in (new, old)]
            yield (
                f" less {model:22} {cases:6} {both.height:5} {new.mean():+7.3f} {errors[0]:6.3f} {old.mean():+7.3f} {'':7} {errors[1]:6.3f}"
            )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("world", choices=WORLDS)
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--cases", type=int, nargs="+", default=[5, 20, 50])
    options.add_argument("--frozen", type=int, default=5, help="draws of which parts of the network are also left as they were")
    options.add_argument("--retrained", type=int, default=0, help="draws of which the whole network is trained again, too")
    options.add_argument("--folder", type=Path, default=Path("build/adaptation"))
    asked = options.parse_args()
    folder = asked.folder / asked.world
    folder.mkdir(parents=True, exist_ok=True)
    setting = made_ready(WORLDS[asked.world]())
    found = updates(setting, folder, asked.cases, asked.draws, asked.frozen, asked.retrained)
    kinds = setting.scenario[setting.test]
    old = int(((setting.y[setting.test] == 1) & (kinds != setting.new)).sum())
    print(
        f"{asked.world}: trained on {len(setting.train):,} transactions, cases drawn from {len(setting.cases)}, tested on "
        f"{int((kinds == setting.new).sum())} new and {old} old frauds among {setting.weight.sum():,.0f} transactions"
    )
    for line in table(found):
        print(line)


if __name__ == "__main__":
    main()
