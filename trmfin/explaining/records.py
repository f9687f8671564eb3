"""The records of a run: written shard by shard after the scores, resumed after a kill, read back and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trmfin.data.files import json_bytes, make_folder, read_parquet, reading, replacing, sha256_of, write_parquet
from trmfin.errors import RunError
from trmfin.explaining.explainer import Asked, Explainer, picked
from trmfin.explaining.record import OWN, chained, checked, flat, line
from trmfin.learn.bundle import Bundle
from trmfin.scoring.blocks import Source
from trmfin.scoring.folder import EXPLAINED, RECORDS, add_progress, finished_parts
from trmfin.scoring.shards import part_name
from trmfin.sequences.sequences import build

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
        scores = [read_parquet(path, RunError)["score"].fill_null(np.nan).to_numpy() for path in tables]
        chosen = picked(self.asked, scores, bundle.policy.cutoff)
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
            done[number] = _written(out, number, root, list(chained(bodies, root)))
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
    """Every record of a finished run, its chain checked. Raises RunError naming the file and line that is not as it was written."""
    for number, part in sorted(manifest.get("records", {}).get("shards", {}).items(), key=lambda item: int(item[0])):
        path = out / RECORDS / _names(int(number))[0]
        with reading(path, RunError), path.open("rb") as file:
            yield from checked(file, part["root"], part["end"], f"{RECORDS}/{path.name}")


def _names(number: int) -> tuple[str, str]:
    stem = Path(part_name(number)).stem
    return f"{stem}.jsonl", f"{stem}.parquet"


def _written(out: Path, number: int, root: str, records: list[dict[str, Any]]) -> Part:
    make_folder(out / RECORDS)
    lines, table = (out / RECORDS / name for name in _names(number))
    with replacing(lines) as file:
        for record in records:
            file.write(line(record))
    write_parquet(flat(records), table)
    return Part(
        number=number,
        records=len(records),
        needs_human=sum(bool(record["needs_human"]) for record in records),
        root=root,
        end=records[-1][OWN],
        files={f"{RECORDS}/{path.name}": sha256_of(path, RunError) for path in (lines, table)},
    )
