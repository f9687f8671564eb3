"""Whatever is changed in a run with records is found and named: by the manifest, by the chain, or by a replay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.explaining.runs import (
    LINES,
    SCORES,
    TABLE,
    Made,
    broken,
    explained,
    forged,
    lines_changed,
    rechained,
    record_changed,
    records_of,
    rehashed,
)
from trmfin.data.files import write_parquet
from trmfin.errors import BundleError, RunError, TrmfinError
from trmfin.explaining.record import line, sealed
from trmfin.explaining.records import placed_records, read_records
from trmfin.explaining.replay import Replayer
from trmfin.learn.bundle import Bundle
from trmfin.scoring.folder import verify_run

Tamper = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"))


@pytest.fixture
def run(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.run, tmp_path / "run"))


def problems(run: Path, bundle: Bundle) -> str:
    """What `explain RUN --replay` finds wrong; "" where all stands."""
    try:
        manifest = verify_run(run)
        replayer = Replayer(bundle, manifest)
        found = [replayer.again(record, place) for place, record in placed_records(run, manifest)]
    except TrmfinError as problem:
        return str(problem)
    return "; ".join(f"{each.sample_id}: {what}" for each in found for what in each.differences)


def test_an_untouched_run_stands(made: Made, run: Path) -> None:
    assert problems(run, made.bundle) == ""
    assert len(records_of(run)) == 12


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Tamper:
    return lambda run: (run / name).write_bytes(change((run / name).read_bytes())) and None  # type: ignore[func-returns-value]


def _value(record: dict[str, Any]) -> None:
    record["attribution"]["values"]["bills"] += 0.5


def _manifest(change: Callable[[dict[str, Any]], object]) -> Tamper:
    def tamper(run: Path) -> None:
        manifest = json.loads((run / "manifest.json").read_text())
        change(manifest)
        (run / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=1) + "\n")

    return tamper


BY_THE_MANIFEST: dict[str, tuple[Tamper, str]] = {
    "a score": (record_changed(3, lambda r: r["inference"].update(score=0.01)), f"{LINES} was changed"),
    "one byte of a line": (_bytes(LINES, lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:]), f"{LINES} was changed"),
    "a cut file": (_bytes(LINES, lambda b: b[:-200]), f"{LINES} was changed"),
    "a missing file": (lambda run: (run / LINES).unlink(), f"{LINES} is missing"),
    "a file too many": (lambda run: (run / "records/part-00001.jsonl").touch(), "records/part-00001.jsonl does not belong"),
    "the records' table": (_bytes(TABLE, lambda b: b[:-1] + bytes([b[-1] ^ 1])), f"{TABLE} was changed"),
    "the scores' table": (_bytes("scores/part-00000.parquet", lambda b: b[:50] + b"x" + b[51:]), "scores/part-00000.parquet was changed"),
    "the manifest": (_manifest(lambda m: m["policy"].update(cutoff=0.9)), "manifest.json: was changed"),
    "the chain's end": (_manifest(lambda m: m["records"]["shards"]["0"].update(end="0" * 64)), "manifest.json: was changed"),
}


@pytest.mark.parametrize("kind", BY_THE_MANIFEST)
def test_a_changed_byte_is_named_by_its_file(kind: str, made: Made, run: Path) -> None:
    tamper, said = BY_THE_MANIFEST[kind]
    tamper(run)
    assert said in problems(run, made.bundle)


BY_THE_CHAIN: dict[str, tuple[Tamper, str]] = {
    "a score": (record_changed(3, lambda r: r["inference"].update(score=0.01)), "line 4 (sample 's3'): was changed"),
    "a value": (record_changed(0, _value), "line 1 (sample 's0'): was changed"),
    "a reason's words": (record_changed(5, lambda r: r["reasons"][0].update(text="no reason")), "line 6 (sample 's5'): was changed"),
    "a hash": (record_changed(2, lambda r: r.update(sha256="0" * 64)), "line 3 (sample 's2'): was changed"),
    "two lines swapped": (lines_changed(lambda rows: [rows[1], rows[0], *rows[2:]]), "line 1 (sample 's1'): follows a record"),
    "the first line dropped": (lines_changed(lambda rows: rows[1:]), "line 1 (sample 's1'): follows a record"),
    "a line dropped": (lines_changed(lambda rows: rows[:4] + rows[5:]), "line 5 (sample 's5'): follows a record"),
    "the last line dropped": (
        lines_changed(lambda rows: rows[:-1]),
        "ends with line 11, which is not the record that the manifest names as its last",
    ),
    "a line twice": (lines_changed(lambda rows: [*rows[:4], rows[3], *rows[4:]]), "line 5 (sample 's3'): follows a record"),
    "a line written otherwise": (
        lines_changed(lambda rows: [json.dumps(json.loads(rows[0])).encode() + b"\n", *rows[1:]]),
        "line 1: is not written as records are",
    ),
    "a number that JSON has no word for": (
        lines_changed(lambda rows: [rows[0].replace(b'"base":', b'"base":NaN,"x":'), *rows[1:]]),
        "line 1: is no JSON",
    ),
    "half a letter": (lines_changed(lambda rows: [rows[0].replace(b'"s0"', b'"\\ud800"'), *rows[1:]]), "line 1: is no JSON"),
    "no JSON": (lines_changed(lambda rows: [*rows[:2], b"{\n", *rows[3:]]), "line 3: is no JSON"),
    "no record": (lines_changed(lambda rows: [*rows[:2], b"[]\n", *rows[3:]]), "line 3: is no record"),
    "a newer schema": (record_changed(1, lambda r: r.update(schema_version=99)), "line 2: schema_version 99, this version reads 4"),
}


@pytest.mark.parametrize("kind", BY_THE_CHAIN)
def test_what_the_manifest_was_made_to_fit_is_named_by_its_line(kind: str, made: Made, run: Path) -> None:
    tamper, said = BY_THE_CHAIN[kind]
    tamper(run)
    rehashed(run)
    assert said in problems(run, made.bundle)


def _event(record: dict[str, Any]) -> None:
    record["data"]["case"]["events"][-1]["billed"] += 5_000_000


def _mitigating(record: dict[str, Any]) -> None:
    record["mitigating"][0]["code"] = "X"


def _reasons(record: dict[str, Any]) -> None:
    record["reasons"] = record["reasons"][1:]


BY_A_REPLAY: dict[str, tuple[Tamper, str]] = {
    "a score": (forged(3, lambda r: r["inference"].update(score=0.01)), "s3: inference.score was 0.01, is "),
    "log-odds": (forged(3, lambda r: r["inference"]["logits"].__setitem__(-1, 9.0)), "s3: inference.logits[3] was 9, is "),
    "a value": (forged(3, _value), "s3: attribution.values.bills was "),
    "the base": (forged(3, lambda r: r["attribution"].update(base=0.0)), "s3: attribution.base was 0, is "),
    "reasons": (forged(4, _reasons), "s4: reasons had "),
    "what lowers a score": (forged(1, _mitigating), "s1: mitigating[0].code was 'X', is "),
    "how alike groups are": (forged(0, lambda r: r["stability"].update(groups={})), "s0: stability.groups.portfolio was not there, is "),
    "a decision": (forged(3, lambda r: r["inference"].update(decision="approved")), "s3: inference.decision was 'approved', is "),
    "a check": (forged(3, lambda r: r["checks"].update(mapping="fail")), "s3: checks.mapping was 'fail', is 'pass'"),
    "an event": (forged(4, _event), "s4: "),
    "a record's name": (forged(3, lambda r: r.update(record_id="0" * 32)), "s3: record_id was"),
    "a sample's name": (forged(3, lambda r: r.update(sample_id="t3")), "t3: sample_id was 't3', is 's3'"),
    "another comparison": (
        forged(3, lambda r: r["attribution"]["comparison"].update(sha256="0" * 64)),
        "s3: attribution.comparison.sha256",
    ),
}


@pytest.mark.parametrize("kind", BY_A_REPLAY)
def test_what_every_hash_was_made_to_fit_is_named_by_a_replay(kind: str, made: Made, run: Path) -> None:
    tamper, said = BY_A_REPLAY[kind]
    tamper(run)
    assert list(read_records(run, verify_run(run))), "no hash tells"
    assert said in problems(run, made.bundle)


def _tables(**names: Callable[[pl.DataFrame], pl.DataFrame]) -> Tamper:
    """Tables changed and hashes made to fit."""

    def tamper(run: Path) -> None:
        for name, change in names.items():
            path = run / {"scores": SCORES, "records": TABLE}[name]
            write_parquet(change(pl.read_parquet(path)), path)
        rehashed(run)

    return tamper


def _fourth(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(table: pl.DataFrame) -> pl.DataFrame:
        rows = table.to_dicts()
        rows[3][column] = value
        return pl.DataFrame(rows, schema=table.schema)

    return change


def _resealed(change: Callable[[dict[str, Any]], object]) -> Tamper:
    def tamper(run: Path) -> None:
        _manifest(change)(run)
        rehashed(run)

    return tamper


BY_THE_TABLES: dict[str, tuple[Tamper, str]] = {
    "a record's score": (
        broken(3, lambda r: r["inference"].update(score=0.01)),
        f"{LINES}, line 4 (sample 's3'): score is 0.01, {SCORES} says ",
    ),
    "a record's band": (broken(3, lambda r: r["inference"].update(band="x")), f"line 4 (sample 's3'): band is x, {SCORES} says "),
    "a record's log-odds": (broken(3, lambda r: r["inference"]["logits"].__setitem__(0, 9.0)), "line 4 (sample 's3'): logits is [9.0,"),
    "a record's sample": (broken(3, lambda r: r.update(sample_id="t3")), f"line 4 (sample 't3'): sample_id is t3, {SCORES} says s3"),
    "a record's reasons": (broken(4, _reasons), f"{TABLE}, row 5: reasons is "),
    "a score": (_tables(scores=_fourth("score", 0.01)), "line 4 (sample 's3'): score is 0."),
    "a row of the table": (_tables(records=_fourth("needs_human", None)), f"{TABLE}, row 4: needs_human is None, the record of 's3' says "),
    "a row's line": (_tables(records=_fourth("record", "{}")), f"{TABLE}, row 4: record is {{}}, the record of 's3' says {{"),
    "a row too few": (_tables(records=lambda t: t.head(11)), f"{TABLE}: has 11 rows, 12 records were written"),
    "a row too many": (_tables(records=lambda t: pl.concat([t, t.tail(1)])), f"{TABLE}: has rows after row 12"),
    "no rows": (_tables(records=lambda t: t.clear()), f"{TABLE}: has 0 rows, 12 records were written"),
    "another column": (_tables(records=lambda t: t.with_columns(more=1)), f"{TABLE}: has not the columns of records"),
    "no such column": (_tables(records=lambda t: t.drop("base")), f"{TABLE}: has not the columns of records"),
    "a file that is no table": (lambda run: (run / TABLE).write_bytes(b"PAR1") and rehashed(run), f"{TABLE}: is not whole Parquet"),  # type: ignore[func-returns-value]
    "two rows swapped": (_tables(records=lambda t: t[[1, 0, *range(2, 12)]]), f"{TABLE}, row 1: record_id is "),
    "the last record left out": (lambda run: rechained(run, records_of(run)[:-1]), f"{TABLE}: has rows after row 11"),
    "the last record twice": (lambda run: rechained(run, [*records_of(run), records_of(run)[-1]]), f"{TABLE}: has 12 rows, 12 records"),
    "how many need a person": (_resealed(lambda m: m["records"].update(needs_human=99)), "its manifest names 12 records of which 99 need"),
    "how many a shard has": (
        _resealed(lambda m: m["records"]["shards"]["0"].update(records=11)),
        "has 11 records in shards 0, but 12 scores",
    ),
    "a shard": (_resealed(lambda m: m["records"]["shards"].pop("0")), "has 0 records in shards (none), but 12 scores in shards 0 were"),
}


@pytest.mark.parametrize("kind", BY_THE_TABLES)
def test_what_lines_and_tables_say_of_each_other_is_compared(kind: str, made: Made, run: Path) -> None:
    tamper, said = BY_THE_TABLES[kind]
    tamper(run)
    assert said in problems(run, made.bundle)


def test_a_line_that_follows_the_last_is_not_called_one_too_few(made: Made, run: Path) -> None:
    last = records_of(run)[-1]
    lines_changed(lambda rows: [*rows, line(sealed(last, last["sha256"]))])(run)
    rehashed(run)
    assert "ends with line 13, which is not the record that the manifest names as its last" in problems(run, made.bundle)


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a step that was not run": (lambda r: r["inference"].update(step=9), "inference.logits has 4 entries, inference.step is 9"),
    "no checks": (lambda r: r.pop("checks"), "checks is missing"),
    "no values": (lambda r: r["attribution"].update(values={}, values_by_step={}), "attribution.values is empty"),
    "a renamed player": (
        lambda r: r["attribution"]["values"].update(x=r["attribution"]["values"].pop("bills")),
        "attribution.values_by_step is of bills, lateness, limit, attribution.values of ",
    ),
    "words for a number": (lambda r: r["inference"].update(score="high"), "inference.score is 'high', expected a number"),
    "a part too many": (lambda r: r["model"].update(more=1), "model.more is no part of a record"),
    "a list for an object": (lambda r: r.update(data=[]), "data is '[]', expected an object"),
    "no day": (lambda r: r.update(as_of="2024-99-01T00:00:00.000000Z"), "as_of is '2024-99-01"),
    "money that is none": (
        lambda r: r["data"]["case"]["sample"].update(limit="much"),
        "data.case.sample.limit is 'much', expected a number",
    ),
    "a number beyond all": (lambda r: r["attribution"].update(base=1e301), "attribution.base is '1e+301', expected a number"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_record_is_named_by_its_line_and_by_a_replay_whatever_the_hashes(kind: str, made: Made, run: Path) -> None:
    change, said = BROKEN[kind]
    broken(4, change)(run)
    assert f"{LINES}, line 5 (sample 's4'): has not the shape of a record: {said}" in problems(run, made.bundle)
    record = records_of(run)[4]
    assert said in Replayer(made.bundle, verify_run(run)).again(record, 4).differences[0]


def test_another_bundle_is_refused(made: Made, run: Path) -> None:
    assert "was made by bundle" in problems(run, replace(made.bundle, sha256="1" * 64))


def test_another_comparison_group_is_refused_by_the_bundle_and_by_the_replay(made: Made, run: Path, tmp_path: Path) -> None:
    fewer = made.bundle.reference.head(5)
    assert "the comparison group is not the one" in problems(run, replace(made.bundle, reference=fewer))
    folder = Path(shutil.copytree(made.bundle_folder, tmp_path / "bundle"))
    pl.DataFrame(fewer).write_parquet(folder / "reference.parquet")
    with pytest.raises(BundleError, match="reference.parquet was changed"):
        Bundle.load(folder)


def test_a_run_without_records_says_so(made: Made) -> None:
    with pytest.raises(RunError, match="has no records; score with --explain"):
        Replayer(made.bundle, {"bundle": {"sha256": made.bundle.sha256}})
