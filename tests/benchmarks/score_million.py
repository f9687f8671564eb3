"""Rows per second, growth with size, peak memory and time outside the network, for runs of any size; LightGBM in the same table.

    python tests/benchmarks/score_million.py --rows 10000 100000 1000000 [--threads 1] [--keep FOLDER]
    python tests/benchmarks/score_million.py --rows 100000 --bundle BUNDLE --halt-epsilon 0 .02

The clients are those of the credit file (TRMFIN_DATA, by default ../shared/data; where it is not there, those of the sample
data), repeated under new ids with amounts moved by up to 5 %, as prepared data on disk. Making them is not timed. Each model scores
them in a process of its own, so that its peak memory is its own, with as many threads for the network, LightGBM and polars.

TRM     `score_run`, whole: hashes of the input checked, blocks read, sequences, network, calibration, tables written and hashed.
        Without --bundle the network is untrained, of --preset: its speed does not depend on the weights, but what halting saves does.
epsilon what takes the place of the policy's halt_epsilon: by default 0, all steps; each that is named has a line of its own.
        steps saved: supervision steps of samples; calls saved: of the network, a batch each, as a batch shrinks before it ends.
growth  time per row over that of the first size at that epsilon: 1.00 is linear. Wanted: about 1, outside network at most 25 %,
        a flat peak.
LightGBM  the challenger's first setting, trained on half of the clients (not timed). read: the same prepared data, checked, all
        in memory; features: `challenger_features` of them; predict: LightGBM alone. rows/s: once of predict, once of all three.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
CREDIT = "credit_default_taiwan/default_of_credit_card_clients.csv"
HEADS = {
    "rows": 10, "epsilon": 7, "seconds": 8, "rows/s": 7, "growth": 6, "outside network": 15, "steps saved": 11, "calls saved": 11,
    "peak MiB": 8, "of the run": 10, "| LightGBM read s": 17, "features s": 10, "predict s": 9, "predict rows/s": 14, "all rows/s": 10,
}  # fmt: skip


def raw_clients() -> Path:
    """The credit file where it is there, else the raw sample data."""
    file = Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CREDIT
    return file if file.exists() else CHECKOUT / "sample_data" / "payments" / "raw"


def prepared(raw: Path) -> Any:
    from trmfin.data.prepared import apply, read_raws
    from trmfin.shipped import load_pipeline

    use = load_pipeline("payment_history")
    return apply(use, read_raws(use, raw), datetime.now(UTC))


def repeated(base: Any, rows: int) -> Any:
    """`rows` samples: the base's again and again, under new ids and with amounts moved by up to 5 %, in the base's order."""
    random = np.random.default_rng(0)
    copies = range(-(-rows // len(base.samples)))
    samples = pl.concat([_copy(base.samples, copy) for copy in copies]).head(rows)
    events = pl.concat([_moved(_copy(base.events, copy), random) for copy in copies])
    kept = events.join(samples.select("client_id"), on="client_id", how="semi", maintain_order="left")
    return replace(base, events=kept, samples=samples, manifest={})


def _copy(table: pl.DataFrame, copy: int) -> pl.DataFrame:
    ids = [name for name in ("event_id", "sample_id", "client_id") if name in table.columns]
    return table.with_columns(pl.format("{}-{}", pl.lit(copy), name).alias(name) for name in ids)


def _moved(events: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    factors = {name: pl.Series(random.uniform(0.95, 1.05, len(events))) for name in ("billed", "paid")}
    moved = events.with_columns((pl.col(name) * factor).round().cast(pl.Int64) for name, factor in factors.items())
    return moved.with_columns(used=pl.col("billed") / pl.col("limit"))


def untrained(base: Any, preset: str, folder: Path) -> None:
    """A bundle for these data, its weights as they were drawn."""
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.calibrate import Calibration
    from trmfin.learn.policy import Policy
    from trmfin.learn.profile import reference_profile
    from trmfin.model.config import PRESETS
    from trmfin.model.ensemble import Ensemble
    from trmfin.sequences.fitted import Fitted
    from trmfin.sequences.sequences import build
    from trmfin.shipped import load_pipeline

    task, config = load_pipeline("payment_history").task, PRESETS[preset]
    sequences = build(base, task)
    fitted = Fitted.fit(sequences, np.arange(len(sequences)), config.bins)
    Bundle(
        network=Ensemble(task, fitted, config).eval(),
        task=task,
        fitted=fitted,
        calibration=Calibration(kind="identity", parameters=((),)),
        policy=Policy(),
        card={},
        reference=base.samples.select("sample_id").head(1).with_columns(group=pl.lit("all")),
        profile=reference_profile(sequences.aligned(fitted), np.arange(len(sequences)), None, 0.0),
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


def trm(bundle: Path, data: Path, out: Path, threads: int, epsilon: float) -> dict[str, float]:
    """Score in this process: wall seconds, those of them inside the network, peak memory."""
    from trmfin.learn.bundle import Bundle
    from trmfin.model.ensemble import Cores, Ensemble
    from trmfin.scoring.runs import score_run

    inside = [0.0]
    for owner, name in ((Ensemble, "encode"), (Ensemble, "setting"), (Ensemble, "read"), (Cores, "start"), (Cores, "__call__")):
        setattr(owner, name, timed(getattr(owner, name), inside))
    model = Bundle.load(bundle)
    before = peak_mib()
    began = time.perf_counter()
    summary = score_run(model, data, out, threads=threads, halt_epsilon=epsilon)
    seconds = time.perf_counter() - began
    return {
        "rows": summary.rows_now,
        "seconds": seconds,
        "inside": inside[0],
        "mib": peak_mib(),
        "before": before,
        "epsilon": epsilon,
        "steps": summary.effort.sample_steps_saved,
        "calls": summary.effort.calls_saved,
    }


def lightgbm(base: Path, data: Path, threads: int) -> dict[str, float]:
    """Train on half of `base`, then score `data` in this process: seconds to read them, to make features and to predict."""
    from trmfin.data.prepared import Prepared
    from trmfin.learn.baselines import challenger
    from trmfin.shipped import load_pipeline

    features = load_pipeline("payment_history").challenger_features
    known = Prepared.read(base)
    y = known.samples["target_default"].cast(pl.Float64).to_numpy()
    rows = np.flatnonzero(~np.isnan(y))
    trained = challenger("lightgbm")(features(known), y, rows[1::2], rows[2::2], rows[:1], tries=1, n_jobs=threads)
    read, making, predicting = [0.0], [0.0], [0.0]
    given = timed(Prepared.read, read)(data)
    table = timed(features, making)(given)
    answers = timed(trained.predict, predicting)(table)
    return {"rows": len(answers), "read": read[0], "features": making[0], "predict": predicting[0]}


def peak_mib() -> float:
    """Most memory this process had so far. Not ru_maxrss, which a child inherits from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def apart(job: str, folders: list[Path], threads: int, epsilon: float = 0.0) -> dict[str, float]:
    """`trm` or `lightgbm` in a fresh process with so many threads."""
    command = [sys.executable, __file__, "--threads", str(threads), "--halt-epsilon", str(epsilon)]
    command += ["--job", job, *(str(folder.resolve()) for folder in folders)]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT, env=os.environ | limits)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(sizes: list[int], epsilons: list[float], bundle: Path | None, preset: str, threads: int, folder: Path) -> Iterator[str]:
    """The table, line by line."""
    raw = raw_clients()
    base = prepared(raw)
    base.write(folder / "base")
    if bundle is None:
        bundle = folder / "bundle"
        untrained(base, preset, bundle)
    yield f"{len(base.samples):,} samples of {raw.name}, repeated; {threads} threads; bundle {bundle.name}"
    yield " ".join(f"{head:>{width}}" for head, width in HEADS.items())
    first: dict[float, float] = {}
    for rows in sizes:
        data = folder / f"prepared-{rows}"
        repeated(base, rows).write(data)
        theirs = apart("lightgbm", [folder / "base", data], threads)
        for epsilon in epsilons:
            ours = apart("trm", [bundle, data, folder / f"run-{rows}-{time.time_ns()}"], threads, epsilon)
            assert ours["rows"] == theirs["rows"] == rows
            yield line(rows, ours, theirs, first.setdefault(epsilon, ours["seconds"] / rows))


def line(rows: int, ours: dict[str, float], theirs: dict[str, float], first: float) -> str:
    """One row of the table. first: seconds per row of the first size."""
    seconds, mib = ours["seconds"], ours["mib"]
    read, features, predict = (theirs[part] for part in ("read", "features", "predict"))
    cells = [
        f"{rows:,}", f"{ours['epsilon']:g}", f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{seconds / rows / first:.2f}",
        f"{1 - ours['inside'] / seconds:.1%}",
        f"{ours['steps']:.1%}", f"{ours['calls']:.1%}", f"{mib:,.0f}", f"{mib - ours['before']:,.0f}",
        f"{read:.2f}", f"{features:.2f}", f"{predict:.2f}", f"{rows / predict:,.0f}", f"{rows / (read + features + predict):,.0f}",
    ]  # fmt: skip
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, HEADS.values(), strict=True))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--bundle", type=Path)
    options.add_argument("--halt-epsilon", type=float, nargs="+", default=[0.0])
    options.add_argument("--preset", default="tiny")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--keep", type=Path, help="make the data here and leave them")
    options.add_argument("--job", nargs="+", help=argparse.SUPPRESS)  # what a process of its own does: trm or lightgbm, and folders
    asked = options.parse_args()
    if asked.job:
        job = {"trm": partial(trm, epsilon=asked.halt_epsilon[0]), "lightgbm": lightgbm}[asked.job[0]]
        print(json.dumps(job(*map(Path, asked.job[1:]), threads=asked.threads)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        for text in compare(asked.rows, asked.halt_epsilon, asked.bundle, asked.preset, asked.threads, folder):
            print(text, flush=True)


if __name__ == "__main__":
    main()
