"""`score --explain adverse` on many clients of whom one in twenty is adverse: seconds, growth of memory, and a kill in the middle.

    python tests/benchmarks/explain_many.py [--rows 10000 100000] [--bundle sample_data/payments/bundle] > docs/results/explaining-many.txt

Clients are those of `score_million.py`: the credit file's, repeated under new ids. The policy's cut-off is put where 5 % of the first
size lie above it. Each run is a process of its own on one thread, with shards of --shard-rows samples. Every size is run whole; the
smallest once more, killed with SIGKILL after half of its shards were explained and then resumed, and its files compared byte by byte.

scoring, explaining   seconds of either part; a case: milliseconds of explaining one, the second pass under noise included
peak MiB              most memory of the process until scores were written, and until records were
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
SHARE = 0.05
LIMITS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


def job(bundle: Path, data: Path, out: Path, shard_rows: int, resume: bool) -> dict[str, Any]:
    """Score and explain in this process."""
    from tests.benchmarks.score_million import peak_mib
    from trmfin.explaining.explainer import Asked
    from trmfin.explaining.records import Records
    from trmfin.learn.bundle import Bundle
    from trmfin.scoring.runs import score_run

    began, found = time.perf_counter(), dict[str, Any]()

    def tell(done: int, total: int) -> None:
        if not found:
            found.update(scoring=time.perf_counter() - began, scoring_mib=peak_mib(), resumed=done)
        found.update(cases=total)

    records = Records(asked=Asked(which="adverse"), tell=tell)
    score_run(Bundle.load(bundle), data, out, threads=1, shard_rows=shard_rows, explaining=records, resume=resume)
    return found | {"explaining": time.perf_counter() - began - found["scoring"], "mib": peak_mib()}


def started(bundle: Path, data: Path, out: Path, shard_rows: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--job", *map(str, (bundle, data, out)), "--shard-rows", str(shard_rows), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | LIMITS)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    told, _ = process.communicate()
    assert process.returncode == 0, f"the job ended with {process.returncode}"
    found: dict[str, Any] = json.loads(told)
    return found


def killed(bundle: Path, data: Path, out: Path, shard_rows: int, shards: int) -> None:
    """A run that dies after so many shards were explained."""
    from trmfin.scoring.folder import EXPLAINED

    process = started(bundle, data, out, shard_rows)
    while process.poll() is None and not ((path := out / EXPLAINED).exists() and len(path.read_bytes().splitlines()) >= shards):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def with_cutoff(source: Path, data: Path, target: Path) -> None:
    """The bundle with its cut-off where SHARE of the samples lie above."""
    from trmfin.data.prepared import Prepared
    from trmfin.learn.bundle import Bundle
    from trmfin.scoring.engine import score_rows
    from trmfin.sequences.sequences import build

    bundle = Bundle.load(source)
    sequences = build(Prepared.read(data), bundle.task).aligned(bundle.fitted)
    scores = score_rows(bundle, sequences, np.arange(len(sequences))).score
    replace(bundle, policy=replace(bundle.policy, cutoff=float(np.quantile(scores, 1 - SHARE)))).save(target)


def line(rows: int, found: dict[str, Any]) -> str:
    each = 1000 * found["explaining"] / max(found["cases"] - found["resumed"], 1)
    return (
        f"{rows:>9,} {found['cases']:>8,} {found['scoring']:>10.1f} {found['explaining']:>12.1f} {each:>10.1f} "
        f"{found['scoring_mib']:>18,.0f} {found['mib']:>12,.0f}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--bundle", type=Path, default=CHECKOUT / "sample_data" / "payments" / "bundle")
    options.add_argument("--shard-rows", type=int, default=2_500)
    options.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--job", nargs=3, type=Path, help=argparse.SUPPRESS)  # bundle, data, out of a process of its own
    asked = options.parse_args()
    if asked.job:
        print(json.dumps(job(*asked.job, asked.shard_rows, asked.resume)))
        return
    from tests.benchmarks.score_million import prepared, raw_clients, repeated
    from tests.scoring.models import contents

    with tempfile.TemporaryDirectory() as temporary:
        folder, base = Path(temporary), prepared(raw_clients())
        for rows in asked.rows:
            repeated(base, rows).write(folder / f"data-{rows}")
        least = min(asked.rows)
        with_cutoff(asked.bundle, folder / f"data-{least}", folder / "bundle")
        print(f"clients of {raw_clients().name}, repeated; bundle {asked.bundle.parent.name}/{asked.bundle.name}; one thread")
        print("     rows    cases    scoring   explaining  ms a case  peak MiB, scoring  explaining", flush=True)
        for rows in asked.rows:
            print(
                line(rows, finished(started(folder / "bundle", folder / f"data-{rows}", folder / f"run-{rows}", asked.shard_rows))),
                flush=True,
            )
        again, half = folder / "killed", max(least // asked.shard_rows // 2, 1)
        killed(folder / "bundle", folder / f"data-{least}", again, asked.shard_rows, half)
        found = finished(started(folder / "bundle", folder / f"data-{least}", again, asked.shard_rows, "--resume"))
        same = contents(again) == contents(folder / f"run-{least}")
        end = "the same bytes" if same else "OTHER BYTES"
        print(f"killed, then resumed with {found['resumed']:,} of {found['cases']:,} cases explained: {end}")


if __name__ == "__main__":
    main()
