"""A new kind of fraud appears: what a few confirmed cases teach, what is forgotten, and what it takes.

    python tests/benchmarks/adaptation.py stolen [--draws 20] [--cases 5 20 50] [--folder build/adaptation] > docs/results/adaptation.txt
    python tests/benchmarks/adaptation.py testing
    python tests/benchmarks/adaptation.py terminals
    python tests/benchmarks/adaptation.py terminals-later

stolen     the card file of TRMFIN_DATA (by default ../shared/data) from which scenario 3, stolen cards, is taken out before 2018-07-25
testing    a simulated world of 5,000 cards in which thieves begin to test cards' numbers on its 55th day
terminals  another one, from which scenario 2, compromised terminals, is taken out before its 55th day
terminals-later  a third one like it, in which no case is confirmed before the third week from that day on: verdicts of two weeks
           then stand at these terminals, in every window and feature of all models, beside the cases that are learnt from

The base is trained on 31 days that end a week before the new fraud's first day, so that it has seen none. Of the seven days from
that day on (in terminals-later: from the third week on), k cases of it are confirmed; each draw picks others. Verdicts take a week,
and on the day when all are known the test begins, of seven days: on the new fraud against genuine transactions, and on the old frauds
against the same. Cards that are known to be bad by then are left out, as the Handbook's protocol does. All others are tested.

trm adapted     `python -m trmfin.train … --from BUNDLE --cases FILE`, as its defaults are, rehearsing the base's 31 days
trm frozen …    the same, these parts of the network left as they were (the first --frozen draws)
trm retrained   the whole training again, the cases among its samples, each once or so often that together they weigh as much as told,
                of the frauds' weight (--retrained draws of 20 cases, none by default: minutes each)
handbook        LightGBM on the Handbook's fifteen features
windows         LightGBM on the flattened windows that the network sees, summaries included (the first --windows draws)
  warm          trees added to the base's, on its 31 days and the cases, which weigh as much as told, of the frauds' weight
  anew          all trees anew, the cases among the samples, weighing as much as told
                Of the genuine transactions trees are given a tenth, as the network is, each draw another: they find more so

AP              means over draws of the cases, for the new fraud and for the old ones; in brackets 95 % intervals of these means over
                1,000 bootstrap draws of the tested cards; ± a standard error over draws of the cases on the test set as it is
gained, lost    against the model's own base
less            TRM's AP less the other's on the same draws of cases, with the interval of that difference
labels          that are learnt from; verdicts on others of the new fraud, once in, stand in the windows and features of all models, and
                cards that they tell to be bad are left out. CPU s: of one update, in one thread

How `train --from` and the trees' updates are set was found on draws 1000 to 1002, 100 and earlier ones of the first two worlds, on the
same test days (docs/log.md): what a setting owes to them no draw of cases can tell. Nothing was set on the others.

What was measured is kept in the folder and not measured again for the same base; another commit's belongs in another folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
CARDS = "card_fraud_handbook/transactions.parquet"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
TRAIN, CONFIRMED, DELAY, TEST = 31, 7, 7, 7  # days
FROZEN = (("inputs",), ("core",), ("heads",), ("inputs", "core"))
UPDATES = {  # of trees: kind → shares of the frauds' weight that cases have, trees; found on draws 1000 to 1002 (docs/log.md)
    "handbook": {"warm": ((0.75,), 40), "anew": ((0.75, 0.9), 250)},
    "windows": {"warm": ((0.75,), 40), "anew": ((0.75, 0.9), 250)},
}
OF_KIND: dict[str, dict[str, float]] = {"handbook": {}, "windows": {"feature_fraction": 0.6, "lambda_l2": 10.0}}  # found there, too
GENUINE = 0.1  # share of the genuine transactions that trees are given
TREES = {"objective": "binary", "learning_rate": 0.03, "num_leaves": 15, "num_threads": 1, "deterministic": True, "verbosity": -1}
RETRAINED = (0.0, 0.75)  # shares of the frauds' weight that cases have when the whole network is trained again; 0: each weighs 1
SLOW_CASES = 20  # with which the whole network is trained again, which takes minutes
LIKELIEST = 0.05  # of the test rows, that are asked of all members
FIRST_TREES, DRAWN = 250, 1_000  # of a base; bootstrap draws
SIMULATED, DAY_55 = {"customers": 5_000, "terminals": 10_000}, date(2018, 4, 1) + timedelta(days=54)
DAYS, LATER = 76, 14  # of a simulated world; of one in which cases are confirmed so many days later, as many more


@dataclass(frozen=True, kw_only=True)
class World:
    """A table whose rows tell their scenario, from when on which of them is new, and after how many days cases are confirmed."""

    table: pl.DataFrame
    new: int
    begins: date
    later: int = 0


def stolen() -> World:
    file = Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CARDS
    begins = date(2018, 7, 25)
    table = pl.read_parquet(file)
    return World(table=table.filter((pl.col("TX_FRAUD_SCENARIO") != 3) | (pl.col("TX_DATETIME").dt.date() >= begins)), new=3, begins=begins)


def testing() -> World:
    from trmfin.data.simulate import transactions

    table = transactions.simulate(transactions.World(**SIMULATED, days=DAYS, seed=11, new_from=54))
    return World(table=table, new=transactions.NEW, begins=DAY_55)


def terminals(seed: int = 12, later: int = 0) -> World:
    from trmfin.data.simulate import transactions

    table = transactions.simulate(transactions.World(**SIMULATED, days=DAYS + later, seed=seed))
    shown = table.filter((pl.col("TX_FRAUD_SCENARIO") != 2) | (pl.col("TX_DATETIME").dt.date() >= DAY_55))
    return World(table=shown, new=2, begins=DAY_55, later=later)


WORLDS = {"stolen": stolen, "testing": testing, "terminals": terminals, "terminals-later": partial(terminals, seed=13, later=LATER)}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A world made ready: samples, features, and which rows are for what."""

    sequences: Any
    features: dict[str, np.ndarray]  # a kind of trees' → (N, columns)
    y: np.ndarray  # (N,)
    scenario: np.ndarray  # (N,)
    new: int
    train: np.ndarray
    cases: np.ndarray  # rows of the new fraud that could be confirmed
    test: np.ndarray

    @cached_property
    def cards(self) -> np.ndarray:
        """(n,) number of each tested row's card."""
        return np.unique(self.sequences.group[self.test], return_inverse=True)[1]

    @cached_property
    def drawn(self) -> np.ndarray:
        """(1 + DRAWN, cards) how often each card stands in the test set itself, once, and in each set that is drawn card by card."""
        count = self.cards.max() + 1
        draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWN)
        return np.concatenate((np.ones((1, count)), draws)).astype(np.float32)

    def judged(self, scores: np.ndarray) -> np.ndarray:
        """(2, 1 + DRAWN) average precision of the new fraud and of the old ones, each against genuine transactions, in each test set."""
        kind, y = self.scenario[self.test], self.y[self.test]
        parts = [(y == 0) | (kind == self.new), (y == 0) | ((y == 1) & (kind != self.new))]
        return np.stack([precisions(y[part], scores[part], self.cards[part], self.drawn) for part in parts])


def precisions(y: np.ndarray, scores: np.ndarray, cards: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(R,) average precision where rows (n,) of each card count as often as it is drawn (R, cards), equal scores together."""
    levels = np.unique(-scores[y == 1])  # precision is asked at each fraud's score, highest first
    place = np.searchsorted(levels, -scores)
    hits, all_ = (reached(cards[rows], place[rows], drawn, len(levels)) for rows in (y == 1, place < len(levels)))
    found = (np.diff(hits, axis=1, prepend=0) * hits / np.maximum(all_, 1e-12)).sum(1)
    return found / np.where(hits[:, -1] > 0, hits[:, -1], np.nan)  # no fraud drawn: none


def reached(cards: np.ndarray, place: np.ndarray, drawn: np.ndarray, places: int) -> np.ndarray:
    """(R, places) how many of the rows are at a place or before it, where each counts as often as its card is drawn."""
    present, card = np.unique(cards, return_inverse=True)
    counts = np.bincount(card * places + place, minlength=len(present) * places).reshape(-1, places)
    return np.cumsum(drawn[:, present] @ counts.astype(np.float32), 1, np.float64)


def made_ready(world: World, flat: bool = True) -> Setting:
    """flat: with the features of `windows`, which take their time."""
    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.learn.trees import flattened
    from trmfin.sequences.fitted import Fitted
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
    start = world.begins + timedelta(days=world.later + CONFIRMED + DELAY)
    protocol = Protocol(kind="walk_forward", folds=1, test_start=start.isoformat(), test_days=TEST, delay_days=DELAY, known_from_days=7)
    train = np.flatnonzero((day >= begins - TRAIN - DELAY) & (day < begins - DELAY))
    since = begins + world.later
    cases = np.flatnonzero((scenario == world.new) & (day >= since) & (day < since + CONFIRMED))
    test = protocol_splits(sequences, protocol)[0].test
    used = np.unique(np.concatenate((train, cases, test)))
    windows = np.full((len(sequences), 0), np.nan, np.float32)
    if flat:
        of_used = flattened(sequences.aligned(Fitted.fit(sequences, train, 24)), used).drop("sample_id").to_numpy()
        windows = np.full((len(sequences), of_used.shape[1]), np.nan, np.float32)
        windows[used] = of_used
    handbook = use.challenger_features(data).drop("sample_id").cast(pl.Float64).to_numpy()
    return Setting(
        sequences=sequences,
        features={"handbook": handbook, "windows": windows},
        y=y,
        scenario=scenario,
        new=world.new,
        train=train,
        cases=cases,
        test=test,
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
    """Log-odds of the test rows: of all members where the first finds one among the LIKELIEST, or it is fraud, else of the first.

    A quarter of the time; of both bases it moves no AP by more than .0006 (.0024 where another member is the first), and of two adapted
    bundles, where all are asked about the base's likeliest, too, none by more than .001. Whether a row is fraud may say how it is asked,
    because frauds below the likeliest hardly count: were they all last, no AP in three of the worlds would be lower by more than .015
    (docs/log.md).
    """
    import torch

    from trmfin.learn.members import primary_logits

    sequences, members = setting.sequences.aligned(bundle.fitted), bundle.network.networks
    alone = copy(bundle.network)
    alone._modules = dict(bundle.network._modules)
    alone.members = torch.nn.ModuleList(members[:1])
    scores = primary_logits(alone, sequences, setting.test)[:, -1]
    near = (scores >= np.quantile(scores, 1 - LIKELIEST)) | (setting.y[setting.test] == 1)
    scores[near] = primary_logits(bundle.network, sequences, setting.test[near])[:, -1]
    return scores


def trm_adapted(setting: Setting, bundle: Any, cases: np.ndarray, seed: int, frozen: tuple[str, ...] = ()) -> tuple[np.ndarray, float]:
    from trmfin.learn.adapt import adapt, adapting_recipe

    recipe = adapting_recipe(bundle, seed)
    recipe = replace(recipe, training=replace(recipe.training, frozen=frozen))
    began = cpu_seconds()
    adapted = adapt(bundle, setting.sequences, cases, setting.train, recipe)
    seconds = cpu_seconds() - began
    return said(setting, adapted), seconds


def trees(setting: Setting, kind: str, cases: np.ndarray, count: int, share: float, base: Any = None, seed: int = 0) -> Any:
    """A booster on the base's rows and on cases with so large a share of the frauds' weight; base: to whose trees so many are added."""
    import lightgbm

    lucky = np.random.default_rng((seed, len(setting.y))).random(len(setting.train)) < GENUINE
    old = setting.train[(setting.y[setting.train] == 1) | lucky]
    rows, weight = np.append(old, cases), np.repeat((1.0, case_weight(setting, len(cases), share)), (len(old), len(cases)))
    data = lightgbm.Dataset(setting.features[kind][rows], setting.y[rows], weight=weight, free_raw_data=False)
    return lightgbm.train(TREES | OF_KIND[kind] | {"seed": seed}, data, num_boost_round=count, init_model=base)


def told_by(setting: Setting, kind: str, booster: Any) -> np.ndarray:
    """Log-odds of the test rows."""
    return np.asarray(booster.predict(setting.features[kind][setting.test], raw_score=True))


def case_weight(setting: Setting, cases: int, share: float) -> float:
    """What each of so many cases weighs, an old fraud 1, where together they have this share of the frauds' weight."""
    return float(share / (1 - share) * setting.y[setting.train].sum() / max(cases, 1))


def trees_updated(
    setting: Setting, kind: str, base: Any, cases: np.ndarray, share: float, count: int, seed: int
) -> tuple[np.ndarray, float]:
    """Trees added to the base, or all anew where there is none; share: the cases' of the frauds' weight."""
    began = cpu_seconds()
    booster = trees(setting, kind, cases, count, share, base, seed)
    return told_by(setting, kind, booster), cpu_seconds() - began


def ways(setting: Setting, bundle: Any, boosters: dict[str, Any], frozen: bool) -> Iterator[tuple[str, Any]]:
    """Name and function of each way to update, of its cases and seed, that this draw tries."""
    yield "trm adapted", partial(trm_adapted, setting, bundle)
    for parts in FROZEN if frozen else ():
        yield f"trm frozen {'+'.join(parts)}", partial(trm_adapted, setting, bundle, frozen=parts)
    for kind, booster in boosters.items():
        for how, (shares, count) in UPDATES[kind].items():
            for share in shares:
                way = partial(trees_updated, setting, kind, booster if how == "warm" else None, share=share, count=count)
                yield f"{kind} {how} {share:.0%}", way


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one model said of the test rows after an update; kept in a folder, a file each."""

    model: str
    cases: int
    draw: int
    seconds: float
    scores: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.model.replace(' ', '_').replace('%', '')}-{self.cases}-{self.draw}.npz"

    def save(self, folder: Path, base: str) -> None:
        np.savez(folder / self.name, scores=self.scores.astype(np.float32), seconds=self.seconds, base=base)


def updates(setting: Setting, folder: Path, asked: argparse.Namespace) -> list[Measured]:
    """One a model, number of cases and draw; what was measured before is read from the folder."""
    bundle, found = base_bundle(setting, folder / "base"), list[Measured]()
    boosters = {kind: trees(setting, kind, setting.cases[:0], FIRST_TREES, 0.0) for kind in UPDATES if kind != "windows" or asked.windows}

    def add(model: str, cases: int, draw: int, way: Any) -> None:
        one = Measured(model=model, cases=cases, draw=draw, seconds=0.0, scores=np.zeros(0))
        if (path := folder / one.name).exists() and str((kept := np.load(path))["base"]) == bundle.sha256:
            found.append(replace(one, seconds=float(kept["seconds"]), scores=kept["scores"]))
            return
        scores, seconds = way()
        found.append(replace(one, seconds=seconds, scores=scores))
        found[-1].save(folder, bundle.sha256)
        print(f"{model}, {cases} cases, draw {draw}: {seconds:.1f} s", file=sys.stderr, flush=True)

    add("trm base", 0, 0, lambda: (said(setting, bundle), 0.0))
    for kind, booster in boosters.items():
        add(f"{kind} base", 0, 0, lambda kind=kind, booster=booster: (told_by(setting, kind, booster), 0.0))  # type: ignore[misc]
    for draw in range(asked.first, asked.first + asked.draws):
        for k in asked.cases:
            cases = np.random.default_rng((draw, k)).choice(setting.cases, k, replace=False)
            here = {kind: booster for kind, booster in boosters.items() if kind != "windows" or draw < asked.windows}
            for name, way in ways(setting, bundle, here, draw < asked.frozen):
                add(name, k, draw, partial(way, cases=cases, seed=draw))
            for share in RETRAINED if k == SLOW_CASES and draw < asked.retrained else ():
                name = f"trm retrained {share:.0%}" if share else "trm retrained"
                add(name, k, draw, partial(trm_retrained, setting, folder / name.replace(" ", "-").rstrip("%"), cases, draw, share))
    return found


def trm_retrained(setting: Setting, folder: Path, cases: np.ndarray, draw: int, share: float) -> tuple[np.ndarray, float]:
    """The whole network, on the base's rows and the cases, each of these as often as their share of the frauds asks for."""
    began = cpu_seconds()
    often = max(round(case_weight(setting, len(cases), share)), 1)
    rows = np.sort(np.concatenate((setting.train, np.repeat(cases, often))))
    again = base_bundle(setting, folder / f"{len(cases)}-{draw}", rows, draw)
    return said(setting, again), cpu_seconds() - began


def table(setting: Setting, found: list[Measured]) -> Iterator[str]:
    """Means over draws of the cases, with intervals over draws of the cards."""
    base = {one.model.split()[0]: setting.judged(one.scores) for one in found if not one.cases}
    head = f"{'AP new':>7} {'95 %':^16} {'± se':>6} {'gained':>7} {'AP old':>7} {'95 %':^16} {'lost':>7} {'CPU s':>7}"
    yield f"{'model':28} {'labels':>6} {'draws':>5} {head}"
    for kind, aps in base.items():
        yield f"{kind + ' base':28} {0:6} {1:5} {_ap(aps[0])} {'':6} {'':7} {_ap(aps[1])}"
    for k in sorted({one.cases for one in found} - {0}):
        groups = dict[str, dict[int, Measured]]()
        for one in found:
            if one.cases == k:
                groups.setdefault(one.model, {})[one.draw] = one
        judged = {model: {draw: setting.judged(one.scores) for draw, one in draws.items()} for model, draws in groups.items()}
        for model, draws in judged.items():
            new, old = np.mean(list(draws.values()), 0)
            at_start, alone = base[model.split()[0]][:, 0], np.array([aps[0, 0] for aps in draws.values()])
            error = f"{alone.std(ddof=1) / len(alone) ** 0.5:6.3f}" if len(alone) > 1 else " " * 6
            seconds = np.mean([one.seconds for one in groups[model].values()])
            gained, lost = new[0] - at_start[0], at_start[1] - old[0]
            yield f"{model:28} {k:6} {len(draws):5} {_ap(new)} {error} {gained:+7.3f} {_ap(old)} {lost:7.3f} {seconds:7.1f}"
            if model == "trm adapted":
                yield from paired(judged, k)


def paired(judged: dict[str, dict[int, np.ndarray]], cases: int) -> Iterator[str]:
    """What TRM finds more than each other model does, of the draws that both have."""
    trm = judged["trm adapted"]
    for model, draws in judged.items():
        if model != "trm adapted" and (both := sorted(trm.keys() & draws.keys())):
            new, old = np.mean([trm[draw] - draws[draw] for draw in both], 0)
            yield f" less {model:22} {cases:6} {len(both):5} {_ap(new, '+')} {'':6} {'':7} {_ap(old, '+')}"


def _ap(values: np.ndarray, sign: str = "") -> str:
    """The first value, and the interval of the others."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{sign}7.3f} {f'[{low:{sign}.3f}, {high:{sign}.3f}]':>16}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("world", choices=WORLDS)
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--first", type=int, default=0, help="number of the first draw")
    options.add_argument("--windows", type=int, default=20, help="draws of which trees also learn on the windows")
    options.add_argument("--cases", type=int, nargs="+", default=[5, 20, 50])
    options.add_argument("--frozen", type=int, default=5, help="draws of which parts of the network are also left as they were")
    options.add_argument("--retrained", type=int, default=0, help="draws of 20 cases of which the whole network is trained again")
    options.add_argument("--folder", type=Path, default=Path("build/adaptation"))
    asked = options.parse_args()
    folder = asked.folder / asked.world
    folder.mkdir(parents=True, exist_ok=True)
    setting = made_ready(WORLDS[asked.world](), flat=asked.windows > 0)
    found = updates(setting, folder, asked)
    kinds = setting.scenario[setting.test]
    old = int(((setting.y[setting.test] == 1) & (kinds != setting.new)).sum())
    print(
        f"{asked.world}: trained on {len(setting.train):,} transactions, cases drawn from {len(setting.cases)}, tested on "
        f"{int((kinds == setting.new).sum())} new and {old} old frauds among {len(setting.test):,} transactions"
    )
    for line in table(setting, found):
        print(line)


if __name__ == "__main__":
    main()
