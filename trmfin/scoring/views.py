"""What people see of a finished run: tables made from its files and from the journal. Read only; loads no model.

A run of a million rows is not read whole for a page, but for a column where all of it counts: queries are lazy, sorted and cut
before they are collected.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trmfin.errors import RunError, TrmfinError
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
KEPT = 8  # opened runs whose tables are kept: a run does not change


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

    @cached_property
    def explained(self) -> pl.Series:
        """Samples that have a record."""
        if self.records is None:
            return pl.Series("sample_id", [], pl.String)
        return collected(self.records.select("sample_id"), self.folder)["sample_id"]

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
    return all_collected([query], where)[0]


def all_collected(queries: list[pl.LazyFrame], where: Path) -> list[pl.DataFrame]:
    """The same of several queries, whose common parts are read once."""
    try:
        return pl.collect_all(queries)
    except (OSError, pl.exceptions.PolarsError) as problem:
        said = str(problem).strip().partition("\n")[0]
        raise RunError(f"{where}: cannot be read ({said}); restore it from a copy, or score again into another folder") from problem


def told_score(score: float | None) -> str:
    return "no score" if score is None else f"{score:.4f}"


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
    scores = all_scores(run)
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


def all_scores(run: Run) -> np.ndarray:
    return collected(run.scores.select(pl.col("score").fill_null(np.nan)), run.folder)["score"].to_numpy()
