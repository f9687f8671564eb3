"""Which cases wait, in which order, which is next, and what looking at the first k of them would find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl

from trmfin.errors import ConfigError
from trmfin.scoring.views import Run, all_collected, all_scores, collected

SORTS = ("score", "as_of", "sample_id")
DECISIONS = ("flagged", "not flagged")  # the model's
Sort = Literal["score", "as_of", "sample_id"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which rows of the queue are wanted, in which order. "" = all. Raises ConfigError on what does not exist."""

    band: str = ""
    decision: str = ""  # one of DECISIONS
    state: str = ""  # of review
    search: str = ""  # part of a sample_id
    sort: Sort = "score"
    descending: bool = True
    page: int = 1
    size: int = 25

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise ConfigError(f"queue: sort {self.sort!r} is unknown; choose one of {', '.join(SORTS)}")
        if self.page < 1 or self.size < 1:
            raise ConfigError(f"queue: page {self.page} of {self.size} rows; both must be at least 1")

    @property
    def narrowed(self) -> bool:
        """Whether band, decision, words or order are asked for."""
        return replace(self, state="", page=1, size=EVERY.size) != EVERY

    @property
    def order(self) -> dict[str, bool]:
        """Columns that rows stand by → whether descending. The last one is unlike in all rows, so that pages neither overlap nor skip."""
        return {str(self.sort): self.descending} | ({} if self.sort == "sample_id" else {"sample_id": False})


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """One page of the queue."""

    rows: pl.DataFrame  # sample_id, as_of, score, band, decision, step, state, owner, explained (whether it has a record)
    total: int  # rows that the query has on all pages


EVERY, FLAGGED = Query(), Query(decision="flagged")


def queue(run: Run, reviewed: pl.DataFrame, query: Query) -> Listing:
    """The page that is asked for. reviewed: as `Journal.reviewed` gives it; cases that nobody acted on are open."""
    states = reviewed.filter(pl.col("sample_id").is_not_null()).select("sample_id", "state", "owner").lazy()

    def with_states(rows: pl.LazyFrame) -> pl.LazyFrame:
        joined = rows.join(states, on="sample_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("state").fill_null("open"), pl.col("owner").fill_null(""))

    found = run.scores.select("sample_id", "as_of", "score", "band", "decision", "step")
    if query.state:
        found = with_states(found).filter(pl.col("state") == query.state)
    found = _within(found, query)
    wanted = found.sort(*query.order, descending=list(query.order.values()), nulls_last=True).slice(
        (query.page - 1) * query.size, query.size
    )
    rows, total = all_collected([wanted if query.state else with_states(wanted), found.select(pl.len())], run.folder)
    return Listing(rows=rows.with_columns(explained=pl.col("sample_id").is_in(run.explained.implode())), total=total.item())


def _within(rows: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    """Those that the query has, of whatever state."""
    for column, value in (("band", query.band), ("decision", query.decision)):
        if value:
            rows = rows.filter(pl.col(column) == value)
    return rows.filter(pl.col("sample_id").str.contains(query.search, literal=True)) if query.search else rows


def next_case(run: Run, reviewed: pl.DataFrame, but: str, among: Query = EVERY) -> str:
    """The open case after `but`, in the query's order; the first of all after the last, or where `but` is none of them.

    "" where none is left. A query that narrows nothing means flagged cases by risk.
    """
    taken = reviewed.filter(pl.col("state") != "open")["sample_id"].drop_nulls()
    wanted = replace(among, state="", page=1) if among.narrowed else FLAGGED
    names = _named(run, wanted) if wanted.search else _kept(run, wanted)
    names = names.filter(~names.is_in(taken.implode()))
    here = (names == but).arg_true()
    at = here[0] + 1 if len(here) else 0
    return next((name for name in (*names[at : at + 1], *names[:2]) if name != but), "")


def _named(run: Run, query: Query) -> pl.Series:
    """All cases that the query has, in its order."""
    found = _within(run.scores.select("sample_id", "as_of", "score", "band", "decision"), query)
    ordered = found.sort(*query.order, descending=list(query.order.values()), nulls_last=True).select("sample_id")
    return collected(ordered, run.folder)["sample_id"]


_kept = lru_cache(maxsize=4)(_named)  # a million names take 25 MB


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What to expect of looking at the k highest scores, if scores are calibrated."""

    looked_at: int
    precision: float  # share of them that are events
    found: float  # events among them
    recall: float  # share of all events
    missed: float  # events among the others
    cost: float  # by the policy's costs: events that are missed, and non-events that are looked at
    cutoff: float  # the lowest score among them


def outlook(run: Run, k: int) -> Outlook:
    """Expected numbers of the k highest scores; of all of them where there are fewer."""
    ranked = np.sort(all_scores(run))  # NaN last
    ranked = ranked[~np.isnan(ranked)][::-1]
    top, total, costs = ranked[:k], float(ranked.sum()), run.policy.costs
    found = float(top.sum())
    return Outlook(
        looked_at=len(top),
        precision=found / len(top) if len(top) else 0.0,
        found=found,
        recall=found / total if total else 0.0,
        missed=total - found,
        cost=costs.false_negative * (total - found) + costs.false_positive * (len(top) - found),
        cutoff=float(top[-1]) if len(top) else 1.0,
    )
