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

from tests.explaining.runs import LINES, TABLE, Made, explained, forged, lines_changed, record_changed, records_of, rehashed
from trmfin.errors import BundleError, RunError, TrmfinError
from trmfin.explaining.records import read_records
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
        found = [replayer.again(record) for record in read_records(run, manifest)]
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
    "the last line dropped": (lines_changed(lambda rows: rows[:-1]), "ends with line 11, but more records were written"),
    "a line twice": (lines_changed(lambda rows: [*rows[:4], rows[3], *rows[4:]]), "line 5 (sample 's3'): follows a record"),
    "a line written otherwise": (
        lines_changed(lambda rows: [json.dumps(json.loads(rows[0])).encode() + b"\n", *rows[1:]]),
        "line 1: is not written as records are",
    ),
    "no JSON": (lines_changed(lambda rows: [*rows[:2], b"{\n", *rows[3:]]), "line 3: is no JSON"),
    "no record": (lines_changed(lambda rows: [*rows[:2], b"[]\n", *rows[3:]]), "line 3: is no record"),
    "a newer schema": (record_changed(1, lambda r: r.update(schema_version=99)), "line 2: schema_version 99, this version reads 1"),
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
    "a score": (forged(3, lambda r: r["inference"].update(score=0.01)), "s3: score was 0.010000"),
    "log-odds": (forged(3, lambda r: r["inference"]["logits"].__setitem__(-1, 9.0)), "s3: log-odds differ by"),
    "a value": (forged(3, _value), "s3: values differ by 0.5"),
    "the base": (forged(3, lambda r: r["attribution"].update(base=0.0)), "s3: base differ by"),
    "reasons": (forged(4, _reasons), "s4: reasons were"),
    "what lowers a score": (forged(4, _mitigating), "s4: mitigating were X"),
    "how alike groups are": (forged(0, lambda r: r["stability"].update(groups={})), "s0: stability was"),
    "a decision": (forged(3, lambda r: r["inference"].update(decision="approved")), "s3: decision was 'approved'"),
    "a check": (forged(3, lambda r: r["checks"].update(mapping="fail")), "s3: check mapping was 'fail'"),
    "an event": (forged(4, _event), "s4: "),
    "a sample's name": (forged(3, lambda r: r.update(record_id="0" * 32)), "s3: record_id was"),
    "another comparison": (forged(3, lambda r: r["attribution"]["comparison"].update(sha256="0" * 64)), "s3: attribution.comparison"),
}


@pytest.mark.parametrize("kind", BY_A_REPLAY)
def test_what_every_hash_was_made_to_fit_is_named_by_a_replay(kind: str, made: Made, run: Path) -> None:
    tamper, said = BY_A_REPLAY[kind]
    tamper(run)
    assert list(read_records(run, verify_run(run))), "no hash tells"
    assert said in problems(run, made.bundle)


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
