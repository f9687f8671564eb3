"""The record: one JSON line a decision, from which score and reasons can be worked out again. Chained, so that no line goes missing.

A record's bytes are a function of data, bundle and code: when it was made stands in the run's manifest. `docs/record.schema.json`
says what it holds. Each line names the hash of the one before; a shard's first line names what the shard was made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import polars as pl

from trmfin.errors import RunError
from trmfin.explaining.case import moments
from trmfin.explaining.shape import faults
from trmfin.scoring.views import Run, collected

VERSION = 4
PREVIOUS, OWN = "prev_sha256", "sha256"
EVERY = 50  # of so many records of a shard the first is compared with other groups and the group's rows: it takes many times the passes
FLAT = pl.Schema(
    {
        "record_id": pl.String(),
        "sample_id": pl.String(),
        "as_of": pl.Datetime("us", "UTC"),
        "score": pl.Float64(),
        "decision": pl.String(),
        "needs_human": pl.Boolean(),
        "checks": pl.List(pl.Struct({"check": pl.String(), "said": pl.String()})),
        "base": pl.Float64(),
        "values": pl.List(pl.Struct({"player": pl.String(), "value": pl.Float64()})),
        "reasons": pl.List(pl.Struct({"rank": pl.Int64(), "code": pl.String(), "text": pl.String(), "contribution": pl.Float64()})),
        OWN: pl.String(),
        "record": pl.String(),  # the whole JSON line
    }
)


def line(record: Mapping[str, Any]) -> bytes:
    """The one way to write a record: keys sorted, no spaces, no NaN."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def sealed(body: Mapping[str, Any], previous: str) -> dict[str, Any]:
    """A record after another: with the other's hash and its own."""
    record = {key: value for key, value in body.items() if key != OWN} | {PREVIOUS: previous}
    return record | {OWN: hashlib.sha256(line(record)).hexdigest()}


def chained(bodies: Iterable[Mapping[str, Any]], root: str) -> Iterator[dict[str, Any]]:
    """Records one after the other, the first after `root`."""
    previous = root
    for body in bodies:
        record = sealed(body, previous)
        previous = record[OWN]
        yield record


def checked(lines: Iterable[bytes], root: str, end: str, where: str) -> Iterator[dict[str, Any]]:
    """The records of a shard of which no byte was changed and none is missing. Raises RunError naming the line that is not right.

    root: what the first line follows. end: hash of the last.
    """
    previous, number = root, 0
    for number, text in enumerate(lines, start=1):
        record = parsed(text, f"{where}, line {number}")
        at = f"{where}, line {number} (sample {record.get('sample_id')!r})"
        if record[PREVIOUS] != previous:
            raise RunError(f"{at}: follows a record that is not the one before it: a line was dropped, added or moved; restore the file")
        if sealed(record, previous) != record:
            raise RunError(f"{at}: was changed, its hash does not fit; restore the file")
        check_shape(record, at)
        previous = record[OWN]
        yield record
    if previous != end:
        raise RunError(
            f"{where}: ends with line {number}, which is not the record that the manifest names as its last ({end[:12]}): "
            "lines were dropped or added; restore the file"
        )


def parsed(text: bytes, where: str) -> dict[str, Any]:
    """A record's line, checked only to be written as they are. Raises RunError where it is none, or of another version."""
    try:
        record = json.loads(text)
        written = line(record)
    except (ValueError, RecursionError) as problem:  # a number or a letter that JSON has no word for is no line of ours either
        raise RunError(f"{where}: is no JSON ({problem}); restore the file") from problem
    if not isinstance(record, dict) or not {PREVIOUS, OWN} <= record.keys():
        raise RunError(f"{where}: is no record; restore the file")
    if record.get("schema_version") != VERSION:
        raise RunError(
            f"{where}: schema_version {record.get('schema_version')!r}, this version reads {VERSION}; read it with the one that wrote it"
        )
    if written != text:
        raise RunError(f"{where}: is not written as records are, so it was edited; restore the file")
    return record


def check_shape(record: Mapping[str, Any], where: str) -> None:
    """Raises RunError naming what a record lacks, or has of another kind than records have."""
    if found := faults(record):
        more = f" (and {len(found) - 1} more faults)" if len(found) > 1 else ""
        raise RunError(
            f"{where}: has not the shape of a record: {found[0]}{more}; its hashes were made to fit, restore the run from a copy"
        )


def is_compared(place: int) -> bool:
    """Whether the record at a place of its shard, from 0, says how alike the principal factors are against other groups."""
    return place % EVERY == 0


def record_of(run: Run, sample_id: str) -> dict[str, Any] | None:
    """A sample's record, from the run's tables; None where it has none.

    Checked are its own hash, its shape and its score, and whether it was compared with other groups as its place in the shard asks
    for; not the chain. Raises RunError where it was changed or cannot be read.
    """
    if run.records is None:
        return None
    mine, names = pl.col("sample_id") == sample_id, run.records.select("sample_id").with_row_index("place")
    found = collected(run.records.filter(mine).select("record", "score"), run.folder)
    if found.is_empty():
        return None
    (text, score), place = found.row(0), int(collected(names.filter(mine), run.folder)["place"][0])
    where = f"{run.folder}, the record of {sample_id}"
    record = parsed(text.encode() + b"\n", where)
    if sealed(record, record[PREVIOUS]) != record:
        raise RunError(f"{where}: was changed, its hash does not fit; restore the run from a copy")
    check_shape(record, where)
    if record["sample_id"] != sample_id or record["inference"]["score"] != score:
        raise RunError(f"{where}: is not what its table says; restore the run from a copy")
    if ("groups" in record["stability"]) != is_compared(_in_shard(run, place)):
        raise RunError(
            f"{where}: comparisons with other groups stand in one record of {EVERY}, from the first; restore the run from a copy"
        )
    return record


def _in_shard(run: Run, place: int) -> int:
    """The place in its shard, from 0, of the record at a place among all of a run."""
    shards = sorted(run.manifest["records"]["shards"].items(), key=lambda item: int(item[0]))
    starts = accumulate((int(part["records"]) for _, part in shards), initial=0)
    return place - max(start for start in starts if start <= place)


def checks_of(run: Run) -> pl.DataFrame:
    """check, said, records: what the release checks of a run's records said, how often; empty where there are no records.

    Raises RunError where the records are of a version that does not tell.
    """
    if run.records is None:
        return pl.DataFrame(schema={"check": pl.String, "said": pl.String, "records": pl.UInt32})
    told = run.records.select(pl.col("checks").explode()).unnest("checks")
    return collected(told.group_by("check", "said").agg(records=pl.len()).sort("check", "said"), run.folder)


def flat(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """One row a record: what is asked most, and the whole line."""
    rows = [
        {
            "record_id": record["record_id"],
            "sample_id": record["sample_id"],
            "as_of": record["as_of"],
            "score": record["inference"]["score"],
            "decision": record["inference"]["decision"],
            "needs_human": bool(record["needs_human"]),
            "checks": [{"check": name, "said": said} for name, said in record["checks"].items()],
            "base": record["attribution"]["base"],
            "values": [{"player": name, "value": value} for name, value in record["attribution"]["values"].items()],
            "reasons": [{key: reason[key] for key in ("rank", "code", "text", "contribution")} for reason in record["reasons"]],
            OWN: record[OWN],
            "record": line(record).decode().rstrip("\n"),
        }
        for record in records
    ]
    texts = pl.Schema({**FLAT, "as_of": pl.String()})
    return pl.DataFrame(rows, schema=texts).with_columns(moments("as_of"))
