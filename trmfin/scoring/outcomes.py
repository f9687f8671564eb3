"""Outcomes: what turned out of scored samples, months later. Appended to a run, batch by batch, never changed.

    RUN/outcomes/00001.parquet        sample_id, outcome, known_at, segment: what was accepted
    RUN/outcomes/00001.rejects.parquet  rows that were not, with every rule that each broke
    RUN/outcomes/00001.json           which file they came from, counts, hashes, and the hash of the batch before; written last

A later batch may say otherwise of a sample (an appeal, a late payment): the newest `known_at` counts, and among equals the later
batch. The run itself stays as it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from trmfin.data.delimited import REJECTS
from trmfin.data.files import RawTable, make_folder, read_json, read_parquet, reading, sha256_of, write_json, write_parquet
from trmfin.data.schema import rule_counts, sift
from trmfin.errors import DataError, RunError
from trmfin.scoring.folder import locked
from trmfin.scoring.views import Run, collected

FOLDER = "outcomes"
FIRST = "0" * 64  # what the first batch follows
TABLE = pl.Schema({"sample_id": pl.String(), "outcome": pl.Int8(), "known_at": pl.Datetime("us", "UTC"), "segment": pl.String()})


class Outcomes(dy.Schema):
    """One row a sample."""

    sample_id = dy.String(primary_key=True)
    outcome = dy.Int8(nullable=False, is_in=[0, 1])  # 1: what the score is the probability of has happened
    known_at = dy.Datetime(nullable=True, time_zone="UTC", time_unit="us", metadata={"optional": True})  # by default the present
    segment = dy.String(nullable=True, metadata={"optional": True})  # a product, a branch: performance is told for each


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One file of outcomes, taken in: accepted + rejected = read."""

    number: int  # from 1
    source: str
    source_sha256: str
    read: int
    accepted: int
    rejected: int
    changed: int  # samples whose outcome was known otherwise before
    appended_at: str
    previous: str  # sha256 of the JSON of the batch before
    sha256: str  # of the accepted rows' file
    rejects_sha256: str


def append(run: Run, raw: RawTable, now: datetime) -> tuple[Batch, dict[str, int]]:
    """Add a file's outcomes to a run: the batch, and how many rows broke each rule.

    Rows are rejected whose sample the run does not have, whose outcome is neither 0 nor 1, or that are known before the sample's
    `as_of` or after `now`. Raises DataError where no row can be used, RunError where the run cannot be written or was tampered with.
    """
    sifted = sift(raw, Outcomes, "outcomes", {}, now)
    rows = sifted.accepted.with_columns(pl.col("known_at").fill_null(now).cast(TABLE["known_at"]), pl.col("outcome").cast(pl.Int8))
    scored = collected(run.scores.select("sample_id", "as_of"), run.folder)
    rows = rows.join(scored, on="sample_id", how="left", maintain_order="left")
    unknown = pl.when(pl.col("as_of").is_null()).then(pl.lit("sample_id|unknown: this run has no such sample"))
    early = pl.when(pl.col("known_at") <= pl.col("as_of")).then(pl.lit("known_at|early: not after the sample's as_of"))
    rows = rows.with_columns(rule=unknown.otherwise(early.otherwise(None)))
    bad = rows.filter(pl.col("rule").is_not_null())
    told = pl.DataFrame(
        {
            "table": ["outcomes"] * len(bad),
            "line": bad["line"],
            "rules": [[rule] for rule in bad["rule"]],
            "row": [json.dumps(row, default=str) for row in bad.select(*TABLE).to_dicts()],
        },
        schema=REJECTS,
    )
    rejects = pl.concat([sifted.rejects, told]).sort("line", maintain_order=True)
    good = rows.filter(pl.col("rule").is_null()).select(*TABLE)
    if good.is_empty():
        most = next(iter(rule_counts(rejects).items()))
        raise DataError(f"{raw.path}: none of {raw.rows_read:,} rows can be used, most often by {most[0]} ({most[1]:,}); correct the file")
    with locked(run.folder):
        before = batches(run.folder)
        if any(batch.source_sha256 == raw.sha256 for batch in before):
            raise RunError(f"{raw.path}: these outcomes were appended before; each file is taken once")
        known = outcomes(run.folder).rename({"outcome": "earlier"}).select("sample_id", "earlier")
        changed = good.join(known, on="sample_id").filter(pl.col("outcome") != pl.col("earlier"))
        batch = _written(run.folder, before, good, rejects, raw, len(changed), now)
    return batch, rule_counts(rejects)


def _written(
    folder: Path, before: list[Batch], good: pl.DataFrame, rejects: pl.DataFrame, raw: RawTable, changed: int, now: datetime
) -> Batch:
    number = len(before) + 1
    make_folder(folder / FOLDER)
    table, refused, told = (folder / FOLDER / f"{number:05}{end}" for end in (".parquet", ".rejects.parquet", ".json"))
    write_parquet(good, table)
    write_parquet(rejects, refused)
    batch = Batch(
        number=number,
        source=raw.path,
        source_sha256=raw.sha256,
        read=raw.rows_read,
        accepted=len(good),
        rejected=len(rejects),
        changed=changed,
        appended_at=now.isoformat(),
        previous=sha256_of(folder / FOLDER / f"{number - 1:05}.json", RunError) if before else FIRST,
        sha256=sha256_of(table, RunError),
        rejects_sha256=sha256_of(refused, RunError),
    )
    write_json(asdict(batch), told)
    return batch


def batches(folder: Path) -> list[Batch]:
    """What was appended to a run, oldest first, every hash checked. Raises RunError naming what was changed or is missing."""
    with reading(folder, RunError):
        names = sorted(path.name for path in (folder / FOLDER).glob("?????.json"))
    found, previous = list[Batch](), FIRST
    for number, name in enumerate(names, start=1):
        path = folder / FOLDER / name
        batch = _batch(read_json(path, RunError), path)
        files = {f"{number:05}.parquet": batch.sha256, f"{number:05}.rejects.parquet": batch.rejects_sha256}
        if batch.number != number or batch.previous != previous:
            raise RunError(f"{path}: a batch before it was changed, added or dropped; restore the folder from a copy")
        if wrong := [name for name, sha in files.items() if sha256_of(folder / FOLDER / name, RunError) != sha]:
            raise RunError(f"{path}: {wrong[0]} was changed; restore the folder from a copy")
        found.append(batch)
        previous = sha256_of(path, RunError)
    return found


def _batch(told: dict[str, Any], path: Path) -> Batch:
    try:
        return Batch(**told)
    except TypeError as problem:
        raise RunError(f"{path}: is no batch of outcomes ({problem}); restore the folder from a copy") from problem


def outcomes(folder: Path) -> pl.DataFrame:
    """sample_id, outcome, known_at, segment: what is known of each sample now, by sample_id. Raises RunError as `batches` does."""
    parts = [read_parquet(folder / FOLDER / f"{batch.number:05}.parquet", RunError) for batch in batches(folder)]
    found = pl.concat([pl.DataFrame(schema=TABLE), *parts], how="diagonal")  # batches of before segments have none
    found = found.sort("known_at", maintain_order=True).with_columns(pl.col("segment").forward_fill().over("sample_id"))
    return found.unique("sample_id", keep="last", maintain_order=True).sort("sample_id")
