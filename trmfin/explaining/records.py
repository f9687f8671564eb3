"""The records of a run: written shard by shard after the scores, resumed after a kill, read back and checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trmfin.data.files import changing, json_bytes, make_folder, read_parquet, reading, remove_file, replacing, sha256_of, write_parquet
from trmfin.errors import RunError
from trmfin.explaining.explainer import Asked, Explainer, picked
from trmfin.explaining.record import OWN, chained, checked, flat, line
from trmfin.learn.bundle import Bundle
from trmfin.scoring.blocks import Source
from trmfin.scoring.folder import EXPLAINED, FULL, RECORDS, files_present
from trmfin.scoring.shards import part_name
from trmfin.sequences.sequences import build

Tell = Callable[[int, int], None]  # cases explained so far, and in all


@dataclass(frozen=True, kw_only=True)
class Part:
    """The records of one shard: a line of the progress file, an entry of the manifest."""

    number: int
    records: int
    needs_human: int  # of them
    root: str  # what the first line follows
    end: str  # hash of the last line
    files: dict[str, str]  # path below the run folder → sha256


@dataclass(frozen=True, kw_only=True)
class Records:
    """Writes a run's records: what `score_run` takes as `explaining`."""

    asked: Asked
    tell: Tell = lambda cases, total: None

    def described(self, bundle: Bundle) -> dict[str, Any]:
        """What decides the records' bytes. Raises ConfigError where the bundle cannot be explained so: before anything is scored."""
        self.asked.check_for(bundle)
        return asdict(self.asked)

    def write(self, bundle: Bundle, source: Source, out: Path, job: dict[str, Any]) -> dict[str, Any]:
        """Records of the run's scores, a JSONL and a Parquet file a shard; shards that are whole already are kept."""
        size = int(job["settings"]["shard_rows"])
        tables = [out / "scores" / part_name(number) for number in range(-(-source.rows // size))]
        scores = [read_parquet(path, RunError)["score"].fill_null(np.nan).to_numpy() for path in tables]
        chosen = picked(self.asked, scores, bundle.policy.cutoff)
        done = {part.number: part for part in _finished(out)}
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
            _note(out, done[number])
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


def _finished(out: Path) -> list[Part]:
    """The parts of an interrupted run whose files are whole; what else lies among the records is removed."""
    parts: dict[int, Part] = {}
    path = out / EXPLAINED
    with reading(path, RunError):
        found = path.read_bytes().splitlines() if path.exists() else []
    for text in found:
        try:
            part = Part(**json.loads(text))
        except (ValueError, TypeError):  # the line that was being written when the process was killed
            break
        if all((out / name).is_file() and sha256_of(out / name, RunError) == expected for name, expected in part.files.items()):
            parts[part.number] = part
    kept = {name for part in parts.values() for name in part.files}
    for name in files_present(out, (RECORDS,)) - kept:
        remove_file(out / name)
    with replacing(path) as file:
        for part in parts.values():
            file.write(_line(part))
    return list(parts.values())


def _note(out: Path, part: Part) -> None:
    with changing(out / EXPLAINED, *FULL), (out / EXPLAINED).open("ab") as file:
        file.write(_line(part))
        file.flush()
        os.fsync(file.fileno())


def _line(part: Part) -> bytes:
    return json.dumps(asdict(part), sort_keys=True).encode() + b"\n"
