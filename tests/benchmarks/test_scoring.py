"""Scoring: how long a run of 5,000 small samples takes, files included; and that ten kills at random moments change no byte."""

from pathlib import Path

import polars as pl
from pytest_benchmark.fixture import BenchmarkFixture

from tests.scoring.models import PANEL, bundle_for, panel, saved
from tests.scoring.test_runs import CLIENTS, HALTING, contents, kill_amid
from trmfin.scoring.runs import score_run

ROWS = 5_000


def test_a_run_of_5000_samples(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    bundle, prepared = saved(panel(ROWS), bundle_for(panel(ROWS), PANEL), tmp_path)
    runs = iter(range(100))

    def run() -> Path:
        out = tmp_path / f"run-{next(runs)}"
        score_run(bundle, prepared, out, threads=1)
        return out

    out = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    assert len(pl.read_parquet(out / "scores" / "part-*.parquet")) == ROWS


def test_ten_kills_at_random_moments_change_no_byte(tmp_path: Path, checkout: Path) -> None:
    data = panel(CLIENTS)
    bundle, prepared = saved(data, bundle_for(data, PANEL, policy=HALTING), tmp_path)
    score_run(bundle, prepared, tmp_path / "undisturbed", shard_rows=1, threads=1)
    kept = 0
    for kill in range(10):
        kill_amid(tmp_path, tmp_path / "run", checkout, after=kept + 1, shard_rows=1)
        lines = (tmp_path / "run" / "progress.jsonl").read_bytes().splitlines()
        assert kept < len(lines) < CLIENTS, f"kill {kill + 1}: {len(lines)} shards were finished"
        kept = len(lines)
    score_run(bundle, prepared, tmp_path / "run", shard_rows=1, threads=1, resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")
