"""Scoring: how long a run of 5,000 small samples takes, files included."""

from pathlib import Path

import polars as pl
from pytest_benchmark.fixture import BenchmarkFixture

from tests.scoring.models import PANEL, bundle_for, panel, saved
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
