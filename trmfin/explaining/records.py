"""The records of a run: written shard by shard after the scores, resumed after a kill, read back and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.files import json_bytes, make_folder, read_parquet, reading, replacing, sha256_of
from trmfin.data.parquet import parquet_batches, parquet_groups
from trmfin.errors import RunError
from trmfin.explaining.case import plain
from trmfin.explaining.explainer import Asked, Explainer, picked
from trmfin.explaining.record import OWN, chained, checked, flat, line
from trmfin.learn.bundle import Bundle
from trmfin.learn.policy import Policy
from trmfin.scoring.blocks import Source
from trmfin.scoring.folder import EXPLAINED, RECORDS, add_progress, finished_parts
from trmfin.scoring.shards import part_name
from trmfin.sequences.sequences import build

TOGETHER = 512  # records that are in memory at once
SCORED = ("score", "step", "logits", "halts", "band")  # of a record's inference, that stand in the scores' table
SHORT = 60  # letters of a value that are shown
Tell = Callable[[int, int], None]  # cases explained so far, and in all


@dataclass(frozen=True, kw_only=True)
class Part:
    """The records of one shard, finished: a line of the progress file, an entry of the manifest."""

    number: int
    records: int
    needs_human: int  # of them
    root: str  # what the first line follows
    end: str  # hash of the last line
    files: dict[str, str]  # path below the run folder → sha256

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Records:
    """Writes a run's records: what `score_run` takes as `explaining`."""

    asked: Asked
    tell: Tell = lambda cases, total: None

    def described(self, bundle: Bundle, cutoff: float) -> dict[str, Any]:
        """What decides the records' bytes. Raises ConfigError where the bundle cannot be explained so: before anything is scored."""
        self.asked.check_for(bundle, cutoff)
        return asdict(self.asked)

    def write(self, bundle: Bundle, source: Source, out: Path, job: dict[str, Any]) -> dict[str, Any]:
        """Records of the run's scores, a JSONL and a Parquet file a shard; shards that are whole already are kept."""
        size = int(job["settings"]["shard_rows"])
        tables = [out / "scores" / part_name(number) for number in range(-(-source.rows // size))]
        chosen = _chosen(self.asked, tables, bundle.policy)
        done = {part.number: part for part in finished_parts(out, EXPLAINED, lambda line: Part(**line), (RECORDS,))}
        total, so_far = sum(map(len, chosen)), sum(part.records for part in done.values())
        self.tell(so_far, total)
        explainer = Explainer(bundle, self.asked, {"inputs": job["inputs"]["files"], "settings": job["settings"]})
        skip = {number for number, rows in enumerate(chosen) if not len(rows)} | done.keys()
        for number, block in source.blocks(size, skip=skip):
            rows, before = chosen[number], so_far
            sequences = build(block, bundle.task).aligned(bundle.fitted)
            table = read_parquet(tables[number], RunError)[rows.tolist()]
            root = hashlib.sha256(json_bytes({"job": job, "shard": number})).hexdigest()
            bodies = explainer.bodies(block, sequences, rows, table, tell=lambda n, before=before: self.tell(before + n, total))  # type: ignore[misc]
            done[number] = _written(out, number, root, chained(bodies, root))
            add_progress(out, EXPLAINED, done[number])
            so_far += len(rows)
        parts = [done[number] for number in sorted(done)]
        return {
            "files": {name: sha for part in parts for name, sha in part.files.items()},
            "records": {
                "comparison": explainer.comparison.sha256,
                "count": sum(part.records for part in parts),
                "needs_human": sum(part.needs_human for part in parts),
                "shards": {str(part.number): {"records": part.records, "root": part.root, "end": part.end} for part in parts},
            },
        }


def read_records(out: Path, manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every record of a finished run, as `placed_records` checks them."""
    return (record for _, record in placed_records(out, manifest))


def placed_records(out: Path, manifest: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every record of a finished run after its place in its shard, from 0. Raises RunError naming what is not as it was written.

    Checked are the chain, that the records' tables say the same, that there is a record for each score that was asked to be explained
    and no other, and that it says what the scores' table says.
    """
    if (kept := manifest.get("records")) is None:
        return
    asked, policy = Asked(**manifest["explain"]), Policy.from_json(manifest["policy"])
    tables = [out / "scores" / part_name(number) for number in range(int(manifest["counts"]["shards"]))]
    people, chosen = 0, _chosen(asked, tables, policy)
    asked_for = {number: len(rows) for number, rows in enumerate(chosen) if len(rows)}
    if asked_for != (found := {int(number): part["records"] for number, part in kept["shards"].items()}):
        raise RunError(
            f"{out}: has {sum(found.values()):,} records in shards {_named(found)}, but {sum(asked_for.values()):,} scores in shards "
            f"{_named(asked_for)} were asked to be explained; restore the run from a copy"
        )
    for number in sorted(found):
        for place, record in enumerate(_shard(out, number, kept["shards"][str(number)], tables[number], chosen[number])):
            people += bool(record["needs_human"])
            yield place, record
    if (kept["count"], kept["needs_human"]) != (sum(found.values()), people):
        raise RunError(
            f"{out}: its manifest names {kept['count']} records of which {kept['needs_human']} need a person, found are "
            f"{sum(found.values())} and {people}; restore the run from a copy"
        )


def _named(shards: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(shards))) or "(none)"


def _chosen(asked: Asked, tables: Iterable[Path], policy: Policy) -> list[NDArray[np.int64]]:
    """Of each of a run's tables of scores, which rows are to be explained."""
    scores = [read_parquet(path, RunError)["score"].fill_null(np.nan).to_numpy() for path in tables]
    return picked(asked, scores, policy.cutoff)


def _shard(out: Path, number: int, part: dict[str, Any], scores: Path, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """A shard's records, compared with its table, and with rows of the scores' table."""
    lines, table = (out / RECORDS / name for name in _names(number))
    of_scores, done = read_parquet(scores, RunError)[rows.tolist()], 0
    with reading(lines, RunError), lines.open("rb") as file:
        records = checked(file, part["root"], part["end"], f"{RECORDS}/{lines.name}")
        for batch in parquet_batches(table, TOGETHER, RunError):
            some = list(islice(records, len(batch)))
            for place, record in enumerate(some, start=done):
                if place < len(of_scores):
                    _check_score(record, of_scores.row(place, named=True), f"{RECORDS}/{lines.name}, line {place + 1}", scores.name)
            _check_table(batch, flat(some), done, f"{RECORDS}/{table.name}")
            yield from some
            done += len(some)
        more = sum(1 for _ in records)
    if more or done != len(rows):
        raise RunError(f"{RECORDS}/{table.name}: has {done} rows, {len(rows)} records were written; restore the run from a copy")


def _check_score(record: Mapping[str, Any], row: Mapping[str, Any], where: str, table: str) -> None:
    told = {"sample_id": record["sample_id"], "as_of": record["as_of"]} | {name: record["inference"][name] for name in SCORED}
    _check_same(told, {name: plain(row[name]) for name in told}, f"{where} (sample {record['sample_id']!r})", f"scores/{table}")


def _check_table(batch: pl.DataFrame, told: pl.DataFrame, first: int, where: str) -> None:
    if batch.schema != told.schema:
        raise RunError(f"{where}: has not the columns of records ({', '.join(told.columns)}) in their types; restore the run from a copy")
    batch, told = (frame.with_columns(pl.col("checks", "values").list.sort()) for frame in (batch, told))  # theirs is no order
    if batch.equals(told):
        return
    for place, (row, line_) in enumerate(zip(batch.iter_rows(named=True), told.iter_rows(named=True), strict=False), start=first + 1):
        _check_same(row, line_, f"{where}, row {place}", f"the record of {line_['sample_id']!r}")
    raise RunError(f"{where}: has rows after row {first + len(told)}, the last that is a record; restore the run from a copy")


def _check_same(found: Mapping[str, Any], expected: Mapping[str, Any], where: str, who: str) -> None:
    """Raises RunError naming the first entry that is another."""
    for name in expected:
        if found[name] != expected[name]:
            said, told = (str(value)[:SHORT] for value in (found[name], expected[name]))
            raise RunError(f"{where}: {name} is {said}, {who} says {told}; restore the run from a copy")


def _names(number: int) -> tuple[str, str]:
    stem = Path(part_name(number)).stem
    return f"{stem}.jsonl", f"{stem}.parquet"


def _written(out: Path, number: int, root: str, records: Iterator[dict[str, Any]]) -> Part:
    """Written as they come, so that few are in memory."""
    make_folder(out / RECORDS)
    lines, table = (out / RECORDS / name for name in _names(number))
    count, people, end = 0, 0, root
    with replacing(table) as columns, parquet_groups(columns) as write, replacing(lines) as file:
        while some := list(islice(records, TOGETHER)):
            for record in some:
                file.write(line(record))
                count, people, end = count + 1, people + bool(record["needs_human"]), record[OWN]
            write(flat(some))
    return Part(
        number=number,
        records=count,
        needs_human=people,
        root=root,
        end=end,
        files={f"{RECORDS}/{path.name}": sha256_of(path, RunError) for path in (lines, table)},
    )
