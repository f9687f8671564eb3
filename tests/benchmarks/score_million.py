"""Rows per second, peak memory and the share of time outside the network, for runs of any size; LightGBM in the same table.

    python tests/benchmarks/score_million.py --rows 10000 100000 1000000 [--bundle BUNDLE] [--threads 1] [--keep FOLDER]

The clients are those of the credit file (TRMFIN_DATA, by default ../shared/data), repeated under new ids with jittered amounts,
as prepared data. Each run is a process of its own, so that its peak memory is its own; making the data is not timed. Without
--bundle the network is untrained, of --preset: its speed does not depend on the weights, but it never halts early. LightGBM gets
challenger_features, whose making is timed, from data that are in memory whole.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
FILE = "credit_default_taiwan/default_of_credit_card_clients.csv"


def credit(data: Path) -> Any:
    """The credit file as prepared data."""
    from trmfin.data.prepared import apply, read_raws
    from trmfin.shipped import load_pipeline

    use = load_pipeline("payment_history")
    return apply(use, read_raws(use, data / FILE), datetime.now(UTC))


def repeated(base: Any, rows: int) -> Any:
    """`rows` clients: the base's again and again, amounts moved by up to 5 %; events by month, as the pipeline gives them."""
    random, size = np.random.default_rng(0), len(base.samples)
    copies = -(-rows // size)
    events = pl.concat([_copy(base.events, copy, size, random) for copy in range(copies)])
    samples = pl.concat([_copy(base.samples, copy, size, random) for copy in range(copies)]).head(rows)
    kept = events.join(samples.select("client_id"), on="client_id", how="semi", maintain_order="left")
    return replace(base, events=kept.sort("event_time", maintain_order=True), samples=samples, manifest={})


def _copy(table: pl.DataFrame, copy: int, size: int, random: np.random.Generator) -> pl.DataFrame:
    amounts = [name for name in ("billed", "paid") if name in table.columns]
    ids = [name for name in ("event_id", "sample_id", "client_id") if name in table.columns]
    jitter = [(pl.col(name) * pl.Series(random.uniform(0.95, 1.05, len(table)))).round().cast(pl.Int64).alias(name) for name in amounts]
    return table.with_columns(*(pl.format("{}-{}", pl.lit(copy), name).alias(name) for name in ids), *jitter)


def bundle_of(base: Any, preset: str, folder: Path) -> None:
    """An untrained bundle for these data."""
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.calibrate import Calibration
    from trmfin.learn.policy import Policy
    from trmfin.model.config import PRESETS
    from trmfin.model.ensemble import Ensemble
    from trmfin.sequences.fitted import Fitted
    from trmfin.sequences.sequences import build
    from trmfin.shipped import load_pipeline

    task, config = load_pipeline("payment_history").task, PRESETS[preset]
    sequences = build(base, task)
    fitted = Fitted.fit(sequences, np.arange(len(sequences)), config.bins)
    reference = base.samples.select("sample_id").head(1).with_columns(group=pl.lit("all"))
    plain = Calibration(kind="identity", parameters=((),))
    Bundle(
        network=Ensemble(task, fitted, config).eval(),
        task=task,
        fitted=fitted,
        calibration=plain,
        policy=Policy(),
        card={},
        reference=reference,
        sha256="",
    ).save(folder)


def timed(function: Callable[..., Any], total: list[float]) -> Callable[..., Any]:
    """`function`, its wall time added to total[0]."""

    def run(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **options)
        total[0] += time.perf_counter() - began
        return result

    return run


def measure(bundle: Path, prepared: Path, out: Path, threads: int) -> dict[str, float]:
    """Score in this process: wall seconds, those of them inside the network, peak memory."""
    from trmfin.learn.bundle import Bundle
    from trmfin.model.ensemble import Cores, Ensemble
    from trmfin.scoring.runs import score_run

    inside = [0.0]
    for owner, name in ((Ensemble, "encode"), (Ensemble, "setting"), (Ensemble, "read"), (Cores, "__call__")):
        setattr(owner, name, timed(getattr(owner, name), inside))
    model = Bundle.load(bundle)
    before = peak_mib()
    began = time.perf_counter()
    summary = score_run(model, prepared, out, threads=threads)
    seconds = time.perf_counter() - began
    return {
        "rows": summary.rows,
        "seconds": seconds,
        "inside": inside[0],
        "mib": peak_mib(),
        "before": before,
        "saved": summary.effort.saved,
    }


def peak_mib() -> float:
    """Most memory this process had so far. Not ru_maxrss, which a child inherits from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def lightgbm_speed(base: Any, data: Any, threads: int) -> float:
    """Rows per second of LightGBM with the challengers' features and their first setting."""
    from trmfin.learn.baselines import challenger
    from trmfin.shipped import load_pipeline

    features = load_pipeline("payment_history").challenger_features
    y = base.samples["target_default"].cast(pl.Float64).to_numpy()
    rows = np.arange(len(y))
    trained = challenger("lightgbm")(features(base), y, rows[1::2], rows[2::2], rows[:1], tries=1, n_jobs=threads)
    began = time.perf_counter()
    trained.predict(features(data))
    return len(data.samples) / (time.perf_counter() - began)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--bundle", type=Path)
    options.add_argument("--preset", default="tiny")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--keep", type=Path, help="make the data here and leave them")
    options.add_argument("--one", type=Path, nargs=3, help=argparse.SUPPRESS)  # bundle, prepared, out: what a process of its own does
    asked = options.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one, asked.threads)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare(asked, asked.keep or Path(temporary))


def compare(asked: argparse.Namespace, folder: Path) -> None:
    base = credit(Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data"))
    bundle = asked.bundle or folder / "bundle"
    if asked.bundle is None:
        bundle_of(base, asked.preset, bundle)
    heads = {"rows": 10, "seconds": 9, "rows/s": 8, "outside network": 16, "steps spared": 13, "peak MiB": 9, "of the run": 11}
    print(" ".join(f"{head:>{width}}" for head, width in {**heads, "LightGBM rows/s": 16}.items()), flush=True)
    for rows in asked.rows:
        data = repeated(base, rows)
        data.write(folder / f"prepared-{rows}")
        other = lightgbm_speed(base, data, asked.threads)
        del data
        one = [str(bundle.resolve()), str(folder / f"prepared-{rows}"), str(folder / f"run-{rows}-{time.time_ns()}")]
        command = [sys.executable, __file__, "--threads", str(asked.threads), "--one", *one]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT)
        found = json.loads(done.stdout)
        outside = 1 - found["inside"] / found["seconds"]
        print(
            f"{rows:>10,} {found['seconds']:>9.1f} {rows / found['seconds']:>8,.0f} {outside:>16.1%} {found['saved']:>13.1%} "
            f"{found['mib']:>9,.0f} {found['mib'] - found['before']:>11,.0f} {other:>16,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
