"""What a team finds that can look at so many groups (cards) a day: precision, value saved, time until the first find.

Each day the groups of that day's rows are put in order by their highest score and the first `budget` are looked at; a group
that was found bad is stopped, so that later days do not show it. Source: Le Borgne et al. 2022, Fraud Detection Handbook,
chapter 4 (card precision top-k); its published numbers are those of `Looked.precision`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import DataError
from trmfin.learn.intervals import group_numbers, resampled
from trmfin.learn.metrics import Array, UndefinedMetric
from trmfin.learn.report import last_steps
from trmfin.sequences.transforms import DAY

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Day:
    """The groups that have rows on one day, highest score first; groups of equal score by their number."""

    group: Int  # (G,)
    bad: NDArray[np.bool_]  # (G,) whether any of the day's rows is
    value: Array  # (G,) of its bad rows
    number: int  # days since 1970


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was found in all days."""

    precision: float  # mean over days of the share of looked-at groups that are bad: the Handbook's card precision
    recall: float  # share of the groups with a bad row that were found at all
    value_recall: float  # share of the value of bad rows that lies in groups on the day they were found, or later
    missed_a_day: float  # value of bad rows a day that is not saved: the cost of so many looks beside the looks themselves
    days_to_find: float  # mean over groups with a bad row of the days from the first one to the find, or to the end where there is none


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Days of ranked groups, put in order once, so that weights of a bootstrap give every number in linear time."""

    days: tuple[Day, ...]
    groups: int
    budget: int

    @classmethod
    def of(
        cls, y: ArrayLike, p: ArrayLike, group: ArrayLike, day: ArrayLike, budget: int, value: ArrayLike | None = None, groups: int = 0
    ) -> Queue:
        """y: (N,) 0 or 1; p: (N,) higher = riskier; group: (N,) numbers from 0; day: (N,) whole days; value: (N,), 1 by default.

        groups: how many there are at least, with rows here or not. Raises DataError on shapes that differ and on a budget below 1.
        """
        rows = [np.asarray(part) for part in (y, p, group, day, np.ones(np.shape(y)) if value is None else value)]
        if len({part.shape for part in rows}) != 1 or rows[0].ndim != 1 or not rows[0].size or budget < 1:
            shapes = ", ".join(str(part.shape) for part in rows)
            raise DataError(
                f"alerts: shapes {shapes} and a budget of {budget}; expected one axis of the same length and a budget of at least 1"
            )
        bad, score, members, dates, worth = rows
        days = tuple(
            _day(bad[on] == 1, score[on], members[on], worth[on], int(date)) for date in np.unique(dates) if (on := dates == date).any()
        )
        return cls(days=days, groups=max(groups, int(members.max()) + 1), budget=budget)

    @cached_property
    def first_bad(self) -> Int:
        """(groups,) day of each group's first bad row; -1 = none."""
        first = np.full(self.groups, -1)
        for day in reversed(self.days):
            first[day.group[day.bad]] = day.number
        return first

    def look(self, weight: ArrayLike | None = None) -> Looked:
        """weight: (groups,) how often each group counts; by default once. Raises UndefinedMetric where nothing is bad."""
        times = np.ones(self.groups) if weight is None else np.asarray(weight, np.float64)
        found_on = np.full(self.groups, -1)
        precision, saved, at_stake = 0.0, 0.0, 0.0
        for day in self.days:
            weights = times[day.group] * (found_on[day.group] < 0)
            looked = np.clip(self.budget - (np.cumsum(weights) - weights), 0, weights)
            precision += float(looked[day.bad].sum()) / self.budget
            found_on[day.group[day.bad & (looked > 0)]] = day.number
            worth = day.value * times[day.group]
            saved, at_stake = saved + float(worth[found_on[day.group] >= 0].sum()), at_stake + float(worth.sum())
        ill, found = self.first_bad >= 0, found_on >= 0
        if not times[ill].sum() > 0 or not at_stake > 0:
            raise UndefinedMetric("metric alerts: undefined, no group has a bad row of any value; give rows of both kinds")
        until = np.where(found, found_on, self.days[-1].number + 1) - self.first_bad
        return Looked(
            precision=precision / len(self.days),
            recall=float(times[found].sum() / times[ill].sum()),
            value_recall=saved / at_stake,
            missed_a_day=(at_stake - saved) / len(self.days),
            days_to_find=float(times[ill] @ until[ill] / times[ill].sum()),
        )


def attainable(y: ArrayLike, group: ArrayLike, day: ArrayLike, budget: int) -> float:
    """The precision of who knows the answers, the most there is while no day has more bad groups than the budget allows."""
    return Queue.of(y, y, group, day, budget).look().precision


def _day(bad: NDArray[np.bool_], score: Array, members: Int, worth: Array, number: int) -> Day:
    groups, place = np.unique(members, return_inverse=True)
    highest = np.full(len(groups), -np.inf)
    np.maximum.at(highest, place, score)
    value: Array = np.bincount(place, worth * bad, len(groups)).astype(np.float64)
    ill = np.bincount(place, bad, len(groups)) > 0
    order = np.argsort(-highest, kind="stable")
    return Day(group=groups[order], bad=ill[order], value=value[order], number=number)


def alerts(predictions: pl.DataFrame, samples: pl.DataFrame, budget: int, money: str | None, model: str = "trm") -> dict[str, Any]:
    """Each model's `Looked`, mean over folds and seeds, with 95 % intervals by a bootstrap over groups, and what `model` has more.

    predictions: as `contest.hold` gives them, all labels; samples: sample_id, as_of and the column `money`, int64 minor units,
    or None where every row is worth the same.
    """
    worth = pl.lit(1.0) if money is None else pl.col(money).fill_null(0) / 100
    days = samples.select("sample_id", worth.alias("value"), day=pl.col("as_of").dt.epoch("us") // DAY)
    final = last_steps(predictions).join(days, on="sample_id", how="left", maintain_order="left")
    final = final.with_columns(group=pl.Series(group_numbers(final["group"])))
    groups = np.arange(int(final["group"].max()) + 1)  # type: ignore[arg-type]
    looks = {name: _looks(final.filter(pl.col("model") == name), budget, len(groups)) for name in final["model"].unique().sort()}
    first = final.filter((pl.col("model") == final["model"][0]) & (pl.col("seed") == final["seed"][0]))
    best = [attainable(part["y"], part["group"], part["day"], budget) for part in first.partition_by("fold")]
    others = [name for name in looks if name != model] if model in looks else []
    return {
        "per_day": budget,
        "attainable": float(np.mean(best)),
        "models": {name: _named(look, groups) for name, look in looks.items()},
        "differences": {name: _named(lambda w, name=name: looks[model](w) - looks[name](w), groups) for name in others},  # type: ignore[misc]
    }


def _looks(final: pl.DataFrame, budget: int, groups: int) -> Callable[[Array], Array]:
    """From weights of groups to the numbers of `Looked`, mean over seeds and folds."""
    queues = [
        Queue.of(part["y"], part["p"], part["group"], part["day"], budget, part["value"], groups)
        for part in final.partition_by("seed", "fold")
    ]
    return lambda weight: np.mean([astuple(queue.look(weight)) for queue in queues], axis=0)


def _named(look: Callable[[Array], Array], groups: Int) -> dict[str, dict[str, float]]:
    intervals = resampled(lambda weight: look(weight).tolist(), groups)
    return {part.name: interval.to_json() for part, interval in zip(fields(Looked), intervals, strict=True)}
