"""What people see of a finished run: tables made from its files and from the journal. Read only; loads no model.

A run of a million rows is never read whole for a page: queries are lazy, sorted and cut before they are collected.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from trmfin.errors import ConfigError, RunError, TrmfinError
from trmfin.learn.policy import Policy
from trmfin.learn.profile import EVENLY, ReferenceProfile
from trmfin.scoring.folder import RECORDS, read_manifest
from trmfin.sequences.profile import Profile

SCORES = pl.Schema(
    {
        "sample_id": pl.String(),
        "as_of": pl.Datetime("us", "UTC"),
        "score": pl.Float64(),
        "step": pl.Int32(),
        "logits": pl.List(pl.Float32()),
        "halts": pl.List(pl.Float32()),
        "band": pl.String(),
    }
)
Problem = TrmfinError  # what a page shows instead of a trace
SORTS = ("score", "as_of", "sample_id")
KEPT = 8  # opened runs whose tables are kept: a run does not change
Sort = Literal["score", "as_of", "sample_id"]


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """What a run says of its data, and what its bundle said of those it was trained on; both count in the same bins."""

    reference: ReferenceProfile
    now: Profile


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A finished run folder, opened to be looked at."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.manifest['bundle']['task']} · {self.folder.name}"

    @property
    def seal(self) -> str:
        """What the journal knows the run by: a hash over its manifest, which names the hash of every file."""
        return str(self.manifest["seal"])

    @property
    def rows(self) -> int:
        return int(self.manifest["counts"]["rows"])

    @cached_property
    def flagged(self) -> int:
        """Scores at or above the cut-off."""
        return int(collected(self.scores.filter(pl.col("decision") == "flagged").select(pl.len()), self.folder).item())

    @cached_property
    def policy(self) -> Policy:
        return Policy.from_json(self.manifest["policy"])

    @cached_property
    def profiles(self) -> Profiles | None:
        """None where the run is older than profiles."""
        if (found := self.manifest.get("profile")) is None:
            return None
        return Profiles(reference=ReferenceProfile.from_json(found["reference"]), now=Profile.from_json(found["now"]))

    @property
    def scores(self) -> pl.LazyFrame:
        """sample_id, as_of, score, step, logits, halts, band, and decision as the policy's cut-off makes it."""
        decision = pl.when(pl.col("score") >= self.policy.cutoff).then(pl.lit("flagged")).otherwise(pl.lit("not flagged"))
        return self._table("scores").with_columns(decision=decision)

    @property
    def records(self) -> pl.LazyFrame | None:
        """The records' tables; None where the run has no records."""
        return self._table(RECORDS) if any(self.files(RECORDS)) else None

    def row(self, sample_id: str) -> dict[str, Any] | None:
        """A sample's scores; None where the run has no such sample."""
        found = collected(self.scores.filter(pl.col("sample_id") == sample_id), self.folder)
        return found.row(0, named=True) if len(found) else None

    def files(self, part: str) -> list[Path]:
        """The Parquet files of `scores` or `records`, as the manifest names them."""
        return [self.folder / name for name in sorted(self.manifest["files"]) if name.startswith(f"{part}/") and name.endswith(".parquet")]

    def _table(self, part: str) -> pl.LazyFrame:
        return pl.scan_parquet(self.files(part)) if self.files(part) else pl.LazyFrame(schema=SCORES)


def opened(folder: Path) -> Run:
    """A run of which every table is there, can be read and has the columns and rows that it should; hashes are left to `verify_run`.

    Raises RunError saying what is wrong and what to do.
    """
    run = Run(folder=folder, manifest=read_manifest(folder))
    for path in run.files("scores"):
        if missing := sorted(set(SCORES) - set(collected(pl.scan_parquet(path).head(0), path).columns)):
            raise RunError(f"{path}: has no column {missing[0]!r}, so another version wrote it; score again into another folder")
    rows = collected(run.scores.select(pl.len()), folder).item()
    if rows != run.rows:
        raise RunError(f"{folder}: its tables hold {rows:,} scores, its manifest names {run.rows:,}; score again into another folder")
    return run


def collected(query: pl.LazyFrame, where: Path) -> pl.DataFrame:
    """Raises RunError where a file is missing, truncated or of other columns."""
    try:
        return query.collect()
    except (OSError, pl.exceptions.PolarsError) as problem:
        said = str(problem).strip().partition("\n")[0]
        raise RunError(f"{where}: cannot be read ({said}); restore it from a copy, or score again into another folder") from problem


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which rows of the queue are wanted, in which order. "" = all. Raises ConfigError on what does not exist."""

    band: str = ""
    decision: str = ""  # the model's: flagged, not flagged
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """One page of the queue."""

    rows: pl.DataFrame  # sample_id, as_of, score, band, decision, step, state, owner
    total: int  # rows that the query has on all pages


def queue(run: Run, reviewed: pl.DataFrame, query: Query) -> Listing:
    """The page that is asked for. reviewed: as `Journal.reviewed` gives it; cases that nobody acted on are open.

    Rows of equal rank stand by sample_id, so that pages neither overlap nor leave a row out.
    """
    states = reviewed.filter(pl.col("sample_id").is_not_null()).select("sample_id", "state", "owner").lazy()

    def with_states(rows: pl.LazyFrame) -> pl.LazyFrame:
        joined = rows.join(states, on="sample_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("state").fill_null("open"), pl.col("owner").fill_null(""))

    found = run.scores.select("sample_id", "as_of", "score", "band", "decision", "step")
    if query.state:
        found = with_states(found).filter(pl.col("state") == query.state)
    for column, value in (("band", query.band), ("decision", query.decision)):
        if value:
            found = found.filter(pl.col(column) == value)
    if query.search:
        found = found.filter(pl.col("sample_id").str.contains(query.search, literal=True))
    order = {query.sort: query.descending} | ({} if query.sort == "sample_id" else {"sample_id": False})
    wanted = found.sort(*order, descending=list(order.values()), nulls_last=True).slice((query.page - 1) * query.size, query.size)
    rows, total = pl.collect_all([wanted if query.state else with_states(wanted), found.select(pl.len())])
    return Listing(rows=rows, total=total.item())


def told_score(score: float | None) -> str:
    return "no score" if score is None else f"{score:.4f}"


def next_case(run: Run, reviewed: pl.DataFrame, but: str) -> str:
    """The open flagged case after `but`, by risk; the riskiest after the last, or where `but` is none of them. "" where none is left."""
    taken = reviewed.filter(pl.col("state") != "open").select("sample_id").drop_nulls()
    flagged = run.scores.filter((pl.col("decision") == "flagged") & ~pl.col("sample_id").is_in(taken["sample_id"].implode()))
    names = collected(flagged.select("sample_id", "score").sort("score", "sample_id", descending=[True, False]), run.folder)["sample_id"]
    here = (names == but).arg_true()
    at = here[0] + 1 if len(here) else 0
    return next((name for name in (*names[at : at + 1], *names[:2]) if name != but), "")


def with_reviews(run: Run, reviewed: pl.DataFrame) -> pl.DataFrame:
    """Every score of the run with what people made of it: state, owner, review (their decision), in the run's order."""
    states = reviewed.filter(pl.col("sample_id").is_not_null()).select("sample_id", "state", "owner", review="decision").lazy()
    return collected(run.scores.join(states, on="sample_id", how="left", maintain_order="left"), run.folder)


def as_parquet(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_parquet(out)
    return out.getvalue()


@lru_cache(maxsize=KEPT)
def distribution(run: Run) -> pl.DataFrame:
    """Where scores lie: lower, upper, samples, share and reference, of EVENLY equal bins of [0, 1]; scores that are missing are in none.

    reference: share of the held-out scores that the bundle was judged by; null where it kept none or the run is older.
    """
    scores = _scores(run)
    counts, edges = np.histogram(scores[~np.isnan(scores)], EVENLY, (0.0, 1.0))
    held = run.profiles.reference.scores if run.profiles else None
    then = None if held is None else np.array(held.evenly) / sum(held.evenly)
    table = {"lower": edges[:-1], "upper": edges[1:], "samples": counts, "share": counts / max(counts.sum(), 1)}
    return pl.DataFrame(table | {"reference": then}, schema_overrides={"reference": pl.Float64})


@lru_cache(maxsize=KEPT)
def by_band(run: Run) -> pl.DataFrame:
    """band, samples, share, mean_score and the score where it ends, lowest band first."""
    counts = run.manifest["counts"]["bands"]
    means = dict(collected(run.scores.group_by("band").agg(pl.col("score").mean()), run.folder).iter_rows())
    names, uppers = zip(*run.policy.bands, strict=True)
    return pl.DataFrame(
        {
            "band": names,
            "upper": uppers,
            "samples": [int(counts[name]) for name in names],
            "share": [counts[name] / max(run.rows, 1) for name in names],
            "mean_score": [means.get(name) for name in names],
        },
        schema_overrides={"mean_score": pl.Float64},
    )


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
    ranked = np.sort(_scores(run))  # NaN last
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


def at_stake(record: dict[str, Any] | None) -> int | None:
    """Money of a case, minor units: the sample's first money column, without its sign; 0 where samples have none.

    None where it is not known: no record tells it, or the column is empty.
    """
    if record is None:
        return None
    sample = record["data"]["case"]["sample"]
    column = next((name for name in record["data"]["money"] if name in sample), None)
    if column is None:
        return 0
    return None if sample[column] is None else abs(int(sample[column]))


def _scores(run: Run) -> np.ndarray:
    return collected(run.scores.select(pl.col("score").fill_null(np.nan)), run.folder)["score"].to_numpy()
