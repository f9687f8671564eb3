"""A scoring run: prepared data in, a run folder out, block by block, so that memory does not grow with the data.

A run that was killed goes on where it stopped, and ends with the same bytes as one that was never disturbed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trmfin.data.files import read_json, reading, remove_file, write_json
from trmfin.data.prepared import assemble, check_share, read_raws, take_in, verified, write_rejects
from trmfin.data.seal import sealed
from trmfin.errors import RunError
from trmfin.learn.bundle import Bundle, provenance
from trmfin.learn.policy import Policy
from trmfin.scoring.blocks import Source, open_source
from trmfin.scoring.folder import (
    EXPLAINED,
    JOB,
    MANIFEST,
    PREPARED,
    PROGRESS,
    RECORDS,
    TABLES,
    Shard,
    add_progress,
    finished_parts,
    locked,
    read_manifest,
    remove_parts,
    verify_run,
)
from trmfin.scoring.job import checked_settings, describe, differences
from trmfin.scoring.scores import Effort
from trmfin.scoring.shard import scored_shard
from trmfin.scoring.thresholds import BandCount, band_table
from trmfin.sequences.profile import Profile
from trmfin.sequences.task import Task
from trmfin.shipped import Pipeline

SHARD_ROWS = 50_000
MAX_REJECT_SHARE = 0.10  # of raw rows


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a caller is told while a run goes on."""

    rows: int  # scored so far, earlier sessions included
    total: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A finished run in short."""

    rows: int
    rows_now: int  # scored by this call; the others were there already
    seconds: float  # of this call
    effort: Effort
    bands: tuple[BandCount, ...]
    raw_rows: int = 0  # read while preparing into the run folder; 0 where the data were prepared before
    rejected: int = 0  # of them
    rounded: int = 0  # amounts of the others that had more decimals than their column
    records: int | None = None  # scores that were explained; None = it was not asked
    needs_human: int = 0  # of them
    explaining_seconds: float = 0.0  # of this call


Tell = Callable[[Progress], None]


class Explaining(Protocol):
    """Writes records of a run's scores, after the scores and before the manifest. It lies above scoring: `trmfin.explaining`."""

    def described(self, bundle: Bundle, cutoff: float) -> dict[str, Any]:
        """What of it decides the records' bytes: a part of the job. cutoff: the policy's that scores are flagged by.

        Raises ConfigError where the bundle cannot be explained so.
        """

    def write(self, bundle: Bundle, source: Source, out: Path, job: dict[str, Any]) -> dict[str, Any]:
        """Write what is not there yet. Returns entries of the manifest, `files` (path → sha256) among them."""


def score_run(
    bundle: Bundle,
    prepared: Path,
    out: Path,
    *,
    steps: int | None = None,
    policy: Policy | None = None,
    halt_epsilon: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    shard_rows: int = SHARD_ROWS,
    resume: bool = False,
    pipeline: Pipeline | None = None,
    max_reject_share: float = MAX_REJECT_SHARE,
    explaining: Explaining | None = None,
    tell: Tell = lambda progress: None,
) -> Summary:
    """Score every sample of the folder `prepared` into the run folder `out`.

    pipeline: then `prepared` is raw data, which it prepares into OUT/prepared first; more rejects than the share are a DataError.
    policy: in place of the bundle's. halt_epsilon: in place of the policy's, in log-odds; 0 = all steps.
    shard_rows: samples per Parquet file, and the most that is in memory at once.
    explaining: writes records of scores into OUT/records.
    resume: go on with what an interrupted run left in `out`; it must be of the same bundle, data, settings and versions.
    Raises DataError on unusable data, ConfigError on steps beyond the trained ones or an epsilon below 0, RunError where
    `out` holds something else, is being written by another process or cannot be written.
    """
    started = datetime.now(UTC)
    policy = bundle.policy if policy is None else policy
    explained = {} if explaining is None else {"explain": explaining.described(bundle, policy.cutoff)}
    bundle = replace(bundle, policy=policy if halt_epsilon is None else replace(policy, halt_epsilon=halt_epsilon))
    settings = checked_settings(bundle, steps=steps, batch_size=batch_size, threads=threads, shard_rows=shard_rows)
    if pipeline is None:
        source = open_source(prepared, bundle.task)
    here = pipeline is not None or os.path.realpath(prepared) == os.path.realpath(out / PREPARED)
    with locked(out):
        _refuse_used(out, resume, here)
        remove_parts(out)
        if pipeline is not None:
            source = _prepare(pipeline, prepared, out, max_reject_share, bundle.task)
        job = describe(bundle, source, settings) | explained
        if (out / MANIFEST).exists():
            return _already_finished(out, job, bundle.policy, source if here else None)
        done = _begin(out, job)
        kept = sum(shard.rows for shard in done)
        shards = done + _score_shards(bundle, source, out, job, {shard.number for shard in done}, kept, tell)
        shards.sort(key=lambda shard: shard.number)
        scored = datetime.now(UTC)
        more = {} if explaining is None else explaining.write(bundle, source, out, job)
        return _finish(out, job, shards, bundle, source if here else None, (started, scored), kept, more)


def _refuse_used(out: Path, resume: bool, here: bool) -> None:
    """Raises RunError where the folder holds anything that this call may not go on with. here: whether it reads OUT/prepared."""
    if not resume and (out / MANIFEST).exists():
        raise RunError(f"{out}: holds a finished run; choose another --out (--resume only checks that it is whole)")
    if not resume and (out / JOB).exists():
        raise RunError(f"{out}: holds an interrupted run; go on with --resume or choose another --out")
    ours = {PREPARED} if here else set()
    ours |= {MANIFEST, JOB, PROGRESS, EXPLAINED, RECORDS, *TABLES} if _begun(out) else set()
    with reading(out, RunError):
        names = sorted(path.name for path in out.iterdir())
    if strange := [name for name in names if not name.startswith(".") and name not in ours]:
        raise RunError(f"{out}: holds {strange[0]!r}, which is no part of a run; choose a new or empty folder for --out")


def _prepare(pipeline: Pipeline, raw: Path, out: Path, max_reject_share: float, task: Task) -> Source:
    """Raw data through the pipeline, as `python -m trmfin.prepare` does it, into the run folder; not again where they are there.

    Raises RunError where the folder holds a run of other raw data or of another pipeline.
    """
    folder, raws = out / PREPARED, read_raws(pipeline, raw)
    if (folder / "manifest.json").exists():
        there = verified(folder)
        asked = {"pipeline": pipeline.name, "pipeline_sha256": pipeline.sha256, **{table: raw.sha256 for table, raw in raws.items()}}
        named = {name: there.get(name) for name in ("pipeline", "pipeline_sha256")}
        lines = differences(named | {item["table"]: item["sha256"] for item in there["inputs"]}, asked)
        if not lines:
            return open_source(folder, task)
        if _begun(out):
            raise RunError(
                f"{out}: holds a run of another pipeline or raw data: {'; '.join(lines)}; ask for the same again or choose another --out"
            )
    elif _begun(out):
        raise RunError(f"{out}: holds a run without {PREPARED}/manifest.json, so not one of raw data; choose another --out")
    now = datetime.now(UTC)
    intake = take_in(pipeline, raws, now)
    if intake.too_many(max_reject_share):
        write_rejects(intake.rejects, folder)
        check_share(intake, max_reject_share, f"every rejected row is in {folder / 'rejects.parquet'}")
    assemble(pipeline, intake, now).write(folder)
    return open_source(folder, task)


def _begun(out: Path) -> bool:
    return (out / MANIFEST).exists() or (out / JOB).exists()


def _begin(out: Path, job: dict[str, Any]) -> list[Shard]:
    """Make the folder this job's, or find it to be. Returns the shards that are already there."""
    if (out / JOB).exists():
        _refuse_another(out, read_json(out / JOB, RunError), job)
        return finished_parts(out, PROGRESS, Shard.from_json, TABLES)
    write_json(job, out / JOB)
    return []


def _refuse_another(out: Path, found: dict[str, Any], job: dict[str, Any]) -> None:
    if lines := differences(found, job):
        raise RunError(f"{out}: holds another run: {'; '.join(lines)}; ask for the same again or choose another --out")


def _score_shards(bundle: Bundle, source: Source, out: Path, job: dict[str, Any], done: set[int], rows: int, tell: Tell) -> list[Shard]:
    settings, shards = job["settings"], []
    tell(Progress(rows=rows, total=source.rows))
    for number, block in source.blocks(settings["shard_rows"], skip=done):
        shard = scored_shard(bundle, block, number, out, settings, partial(_tell_from, tell, rows, source.rows))
        add_progress(out, PROGRESS, shard)
        shards.append(shard)
        rows += shard.rows
    return shards


def _tell_from(tell: Tell, before: int, total: int, rows: int) -> None:
    tell(Progress(rows=before + rows, total=total))


def _finish(
    out: Path,
    job: dict[str, Any],
    shards: list[Shard],
    bundle: Bundle,
    here: Source | None,
    times: tuple[datetime, datetime],
    kept: int,
    more: dict[str, Any],
) -> Summary:
    """Write the manifest. here: the prepared data, where they lie in the run folder: then they are part of the run. more: of records."""
    (started, scored), finished, policy = times, datetime.now(UTC), bundle.policy
    effort = sum((shard.effort for shard in shards), Effort())
    counts = tuple(sum(shard.bands[i] for shard in shards) for i in range(len(policy.bands)))
    rows = sum(shard.rows for shard in shards)
    inside = {} if here is None else {f"{PREPARED}/{name}": sha for name, sha in here.whole.items()}
    files = inside | {name: sha for shard in shards for name, sha in shard.files.items()} | more.pop("files", {})
    manifest = (
        job
        | more
        | {
            "files": files,
            "counts": {"rows": rows, "shards": len(shards), "bands": dict(zip((name for name, _ in policy.bands), counts, strict=True))},
            "effort": vars(effort),
            "profile": {"reference": bundle.profile.to_json(), "now": _profile(bundle, shards).to_json()},
            "code": provenance(),
            "times": {"started": started.isoformat(), "finished": finished.isoformat(), "rows_kept_from_before": kept},
        }
    )
    write_json(sealed(manifest), out / MANIFEST)
    _tidy(out)
    return Summary(
        rows=rows,
        rows_now=rows - kept,
        seconds=(scored - started).total_seconds(),
        effort=effort,
        bands=band_table(counts, rows, policy),
        explaining_seconds=(finished - scored).total_seconds(),
        **_record_counts(manifest),
        **_raw_counts(here),
    )


def _profile(bundle: Bundle, shards: list[Shard]) -> Profile:
    """Of all samples of the run, in the bins of the bundle's."""
    like = bundle.profile.features
    parts = [like.with_counts(shard.rows, [np.array(counts, np.int64) for counts in shard.cells]) for shard in shards]
    return sum(parts, like.emptied)


def _already_finished(out: Path, job: dict[str, Any], policy: Policy, here: Source | None) -> Summary:
    """A resume of a run that is finished checks it and does nothing."""
    manifest = read_manifest(out)
    _refuse_another(out, {key: manifest.get(key) for key in job}, job)
    verify_run(out)
    _tidy(out)
    rows, counts = manifest["counts"]["rows"], tuple(manifest["counts"]["bands"][name] for name, _ in policy.bands)
    bands, effort = band_table(counts, rows, policy), Effort(**manifest["effort"])
    return Summary(rows=rows, rows_now=0, seconds=0.0, effort=effort, bands=bands, **_record_counts(manifest), **_raw_counts(here))


def _record_counts(manifest: dict[str, Any]) -> dict[str, Any]:
    found = manifest.get("records")
    return {} if found is None else {"records": found["count"], "needs_human": found["needs_human"]}


def _raw_counts(here: Source | None) -> dict[str, int]:
    raws = () if here is None else here.raw.values()
    return {name: sum(raw[key] for raw in raws) for name, key in (("raw_rows", "read"), ("rejected", "rejected"), ("rounded", "rounded"))}


def _tidy(out: Path) -> None:
    for name in (JOB, PROGRESS, EXPLAINED):
        remove_file(out / name)
