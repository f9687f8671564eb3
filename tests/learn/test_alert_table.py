"""The alerts of a contest, mean over seeds and folds, with intervals over groups: against plain loops on the same draws."""

from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.learn.tiny import START, TIME
from trmfin.learn import alerts as module
from trmfin.learn.alerts import Looked, alerts
from trmfin.learn.intervals import resampled

DRAWS, BUDGET, SEEDS, FOLDS = 60, 2, (0, 1), (0, 1)
CARDS = (3, 7, 20, 21, 40, 41, 55, 60, 70, 99)  # numbers as a contest's frame has them: not from 0, not without gaps
MODELS = {"lightgbm": 1, "trm": 2}  # steps
PARTS = [part.name for part in fields(Looked)]


@dataclass(frozen=True, kw_only=True)
class Row:
    sample: str
    fold: int
    day: int
    card: int
    bad: int
    cents: int | None

    @property
    def worth(self) -> float:
        return self.bad * (self.cents or 0) / 100


@cache
def rows() -> list[Row]:
    """Three days a fold, each card with two rows a day or none: most cards are in both folds, and their order is no day's."""
    random = np.random.default_rng(4)
    made = list[Row]()
    for day in range(6):
        for card in random.choice(CARDS, 7, replace=False).tolist():
            for _ in range(2):
                number, cents = len(made), None if random.random() < 0.1 else int(random.integers(100, 9_000))
                bad = int(random.random() < 0.25)
                made.append(Row(sample=f"s{97 * number % 101}", fold=day // 3, day=day, card=card, bad=bad, cents=cents))
    return made


def samples() -> pl.DataFrame:
    """What each row is worth and when it is asked about; in an order of their own, with one that no fold tests."""
    made = [(row.sample, START + timedelta(days=row.day, hours=7), row.cents) for row in reversed(rows())]
    untested = ("untested", START + timedelta(days=50), 10**9)
    return pl.DataFrame([untested, *made], schema={"sample_id": pl.String, "as_of": TIME, "amount": pl.Int64}, orient="row")


@cache
def score(model: str, seed: int, sample: str, step: int) -> float:
    """Tenths, so that cards are level."""
    return int(np.random.default_rng([len(model), seed, int(sample[1:]), step]).integers(0, 11)) / 10


def predictions() -> pl.DataFrame:
    """As `contest.hold` gives them, but for the columns that alerts do not read."""
    made = [
        {"sample_id": row.sample, "model": model, "seed": seed, "fold": row.fold, "step": step, "y": float(row.bad), "group": row.card}
        | {"p": score(model, seed, row.sample, step)}
        for row in rows()
        for model, steps in MODELS.items()
        for seed in SEEDS
        for step in range(1, steps + 1)
    ]
    return pl.DataFrame(made)


def by_hand(tested: list[Row], p: dict[str, float], times: dict[int, int], plain: bool = False) -> list[float] | None:
    """`Looked` of one fold, where each card stands so many times in the queue; None where no bad card is drawn.

    plain: every row is worth the same.
    """
    found: dict[int, int] = {}
    first_bad: dict[int, int] = {}
    hits = saved = at_stake = 0.0
    days = sorted({row.day for row in tested})
    for day in days:
        highest: dict[int, float] = {}
        bad = set[int]()
        for row in (row for row in tested if row.day == day):
            highest[row.card] = max(highest.get(row.card, 0.0), p[row.sample])
            if row.bad:
                bad.add(row.card)
                first_bad.setdefault(row.card, day)
        queue = [card for card in sorted(highest, key=lambda card: (-highest[card], card)) if card not in found for _ in range(times[card])]
        for card in queue[:BUDGET]:
            if card in bad:
                hits += 1
                found[card] = day
        for row in (row for row in tested if row.day == day):
            worth = times[row.card] * (row.bad if plain else row.worth)
            at_stake += worth
            saved += worth * (row.card in found)
    drawn = sum(times[card] for card in first_bad)
    if not drawn or not at_stake:
        return None
    waited = sum(times[card] * (found.get(card, days[-1] + 1) - first) for card, first in first_bad.items())
    recall = sum(times[card] for card in found) / drawn
    return [hits / BUDGET / len(days), recall, saved / at_stake, (at_stake - saved) / len(days), waited / drawn]


def mean_over_runs(model: str, times: dict[int, int], plain: bool = False) -> list[float] | None:
    each = []
    for seed in SEEDS:
        p = {row.sample: score(model, seed, row.sample, MODELS[model]) for row in rows()}
        each += [by_hand([row for row in rows() if row.fold == fold], p, times, plain) for fold in FOLDS]
    return None if None in each else [sum(values) / len(each) for values in zip(*(run for run in each if run), strict=True)]


def expected(plain: bool = False) -> dict[str, dict[str, list[float]]]:
    """Value, low and high of every number of every model, and of what TRM has more."""
    once = dict.fromkeys(CARDS, 1)
    random, drawn = np.random.default_rng(0), [once]
    for _ in range(DRAWS):
        times = dict.fromkeys(CARDS, 0)
        for place in random.integers(len(CARDS), size=len(CARDS)):
            times[CARDS[place]] += 1
        drawn.append(times)
    found: dict[str, list[list[float]]] = {"trm": [], "lightgbm": [], "difference": []}
    for times in drawn:
        trm, other = (mean_over_runs(model, times, plain) for model in ("trm", "lightgbm"))
        if trm is None or other is None:
            continue
        for name, values in (("trm", trm), ("lightgbm", other), ("difference", [a - b for a, b in zip(trm, other, strict=True)])):
            found[name].append(values)
    assert len(found["trm"]) > DRAWS / 2
    return {
        name: {
            part: [value, *np.quantile(draws, (0.025, 0.975))]
            for part, value, draws in zip(PARTS, lines[0], zip(*lines[1:], strict=True), strict=True)
        }
        for name, lines in found.items()
    }


def told(table: dict[str, Any]) -> dict[str, list[float]]:
    return {part: [table[part][end] for end in ("value", "low", "high")] for part in PARTS}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resampled", partial(resampled, draws=DRAWS))


@pytest.mark.parametrize("money", ["amount", None])
def test_the_table_is_a_bootstrap_over_cards_mean_over_seeds_and_folds(money: str | None) -> None:
    found, by_loops = alerts(predictions().sample(fraction=1, shuffle=True, seed=1), samples(), BUDGET, money), expected(money is None)
    assert found["per_day"] == BUDGET and list(found["models"]) == ["lightgbm", "trm"] and list(found["differences"]) == ["lightgbm"]
    for name in MODELS:
        assert told(found["models"][name]) == {part: pytest.approx(values) for part, values in by_loops[name].items()}
    assert told(found["differences"]["lightgbm"]) == {part: pytest.approx(values) for part, values in by_loops["difference"].items()}
    assert all(values[1] < values[2] for values in by_loops["difference"].values()), "draws differ, or nothing is tested"


def test_the_most_that_can_be_attained_is_that_of_each_fold_alone() -> None:
    once = dict.fromkeys(CARDS, 1)
    each = [
        by_hand(tested, {row.sample: row.bad for row in tested}, once)
        for fold in FOLDS
        if (tested := [r for r in rows() if r.fold == fold])
    ]
    together = by_hand(rows(), {row.sample: row.bad for row in rows()}, once)
    precisions = [best[0] for best in each if best]
    assert len(precisions) == 2 and together is not None and together[0] != pytest.approx(np.mean(precisions))
    assert alerts(predictions(), samples(), BUDGET, "amount")["attainable"] == pytest.approx(np.mean(precisions))


def test_without_the_model_in_question_there_is_nothing_to_compare() -> None:
    found = alerts(predictions().filter(pl.col("model") == "lightgbm"), samples(), BUDGET, None)
    assert list(found["models"]) == ["lightgbm"] and found["differences"] == {}
