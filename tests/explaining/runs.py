"""A small explained run on disk, and ways to tamper with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from tests.scoring.models import CONFIG, PANEL, bundle_for, panel, saved
from trmfin.data.files import read_json, sha256_of, write_json, write_parquet
from trmfin.data.seal import sealed
from trmfin.explaining.explainer import Asked
from trmfin.explaining.record import OWN, chained, flat, line
from trmfin.explaining.records import Records
from trmfin.learn.bundle import Bundle
from trmfin.learn.policy import Policy
from trmfin.learn.reference import reference
from trmfin.scoring.runs import score_run
from trmfin.sequences.explained import Change, Player, Reason
from trmfin.sequences.sequences import build

TASK = replace(
    PANEL,
    players=(
        Player(name="bills", fields=("billed",), lengths=("statements",)),
        Player(name="lateness", fields=("status",)),
        Player(name="limit", fields=("limit",)),
    ),
    reasons=(
        Reason(code="B", player="bills", text="Statements of {billed.most} at most, {billed.newest} in {last}"),
        Reason(code="S", player="lateness", text="Status {status.newest} after {events} statements"),
        Reason(code="L", player="limit", text="A limit of {limit}"),
    ),
    changes=(Change(column="billed"), Change(column="limit", of="sample", direction="up")),
)
MEASURED = {"cases": 24, "jaccard": 0.9, "standard_error": 0.02, "least_score": 0.0}
ALIKE = {"averages": dict.fromkeys(("all_applicants", "near_cutoff_approved", "portfolio"), MEASURED)}
ASKED = Asked(which="all", group="all_applicants")
LINES, TABLE, SCORES = "records/part-00000.jsonl", "records/part-00000.parquet", "scores/part-00000.parquet"


@dataclass(frozen=True, kw_only=True)
class Made:
    bundle: Bundle
    bundle_folder: Path
    prepared: Path
    run: Path


def explained(folder: Path, clients: int = 12, asked: Asked = ASKED, **settings: Any) -> Made:
    """`clients` samples scored and explained in one shard, or in as many as settings say."""
    data = panel(clients)
    bundle = bundle_for(data, TASK, CONFIG, Policy(cutoff=0.4))
    sequences = build(data, TASK).aligned(bundle.fitted)
    everybody = reference(sequences, sequences.batch(range(clients)).rows, None, 0.4)
    groups = pl.concat([everybody, everybody[: clients // 2].with_columns(group=pl.lit("portfolio"))])
    bundle, prepared = saved(data, replace(bundle, reference=groups, card=ALIKE), folder)
    score_run(bundle, prepared, folder / "run", threads=1, explaining=Records(asked=asked), **settings)
    return Made(bundle=bundle, bundle_folder=folder / "bundle", prepared=prepared, run=folder / "run")


def records_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run / LINES).read_bytes().splitlines()]


def lines_changed(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Lines of the first shard changed, and nothing else."""

    def tamper(run: Path) -> None:
        path = run / LINES
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return tamper


def record_changed(place: int, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """One record's content changed, its hash left as it was."""

    def changed(lines: list[bytes]) -> list[bytes]:
        record = json.loads(lines[place])
        change(record)
        return [*lines[:place], line(record), *lines[place + 1 :]]

    return lines_changed(changed)


def rehashed(run: Path) -> None:
    """The manifest made to fit the files as they are now, as somebody would who may write the folder."""
    manifest = read_json(run / "manifest.json", ValueError)  # type: ignore[arg-type]
    files = {name: sha256_of(run / name) for name in manifest["files"] if (run / name).exists()}
    write_json(sealed({key: value for key, value in manifest.items() if key != "seal"} | {"files": files}), run / "manifest.json")


def rechained(run: Path, records: list[dict[str, Any]]) -> None:
    """Lines of the first shard with these records, and every hash made anew; tables are left as they are."""
    manifest = read_json(run / "manifest.json", ValueError)  # type: ignore[arg-type]
    part = manifest["records"]["shards"]["0"]
    again = list(chained(records, part["root"]))
    (run / LINES).write_bytes(b"".join(map(line, again)))
    part["end"] = again[-1][OWN] if again else part["root"]
    manifest["records"]["needs_human"] = sum(bool(record.get("needs_human")) for record in records)
    write_json(sealed({key: value for key, value in manifest.items() if key != "seal"}), run / "manifest.json")
    rehashed(run)


def broken(place: int, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """One record made into what is none, and every hash made anew."""

    def tamper(run: Path) -> None:
        records = records_of(run)
        change(records[place])
        rechained(run, records)

    return tamper


def forged(place: int, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """One record's content changed, the tables with it, and every hash made anew: only a replay can find it."""

    def tamper(run: Path) -> None:
        records = records_of(run)
        name = records[place]["sample_id"]
        change(records[place])
        rechained(run, records)
        write_parquet(flat(records_of(run)), run / TABLE)
        scores, told = pl.read_parquet(run / SCORES), records[place]
        mine = {"sample_id": told["sample_id"]} | {key: told["inference"][key] for key in ("score", "step", "logits", "halts", "band")}
        rows = [row | mine if row["sample_id"] == name else row for row in scores.iter_rows(named=True)]
        write_parquet(pl.DataFrame(rows, schema=scores.schema), run / SCORES)
        rehashed(run)

    return tamper
