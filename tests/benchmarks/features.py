"""Raw transactions into windows: rows a second, peak memory, growth with size; and ten million events of 25 columns in one pass.

    python tests/benchmarks/features.py [--sizes 100000 1000000 10000000] [--events 10000000] [--skip-file]

Each line is measured in a process of its own, with all the cores there are, so that its peak memory is its own. Making or reading
the table is not timed.

transactions  the card file of TRMFIN_DATA (by default ../shared/data; left out where it is not there), then simulated worlds of
              so many transactions. check: the raw table through its schema and `prepare`; windows: `build`, which finds both
              histories of every transaction; challenger: the fifteen features of the Handbook of the same transactions. growth:
              check and windows, time a row over that of the smallest world: 1.00 is linear.
events        so many events of 25 columns (14 numbers, 9 categories, time, key), a hundred of each client, one sample a client:
              `build`, then all samples once through `batch()`, every event in one of them, and through nothing else. This is the
              work that a loader of event sequences does before a network sees them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
CARDS = "card_fraud_handbook/transactions.parquet"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
START = datetime(2024, 1, 1, tzinfo=UTC)
NUMBERS, CATEGORIES, EACH = 14, 9, 100  # columns, columns, events of a client
HEADS = {"table": 16, "rows": 11, "check s": 8, "windows s": 9, "rows/s": 8, "growth": 6, "peak MiB": 8, "| challenger s": 14}


def card_file() -> Path:
    return Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CARDS


def peak_mib() -> float:
    """Most memory this process had so far. Not ru_maxrss, which a child inherits from the process that started it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def transactions(rows: int) -> dict[str, float]:
    """Check and build so many simulated transactions, or those of the file where rows is 0."""
    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.data.simulate.transactions import World, simulate
    from trmfin.sequences.sequences import build
    from trmfin.shipped import load_pipeline

    if rows:  # as many days for every size, so that windows are as full
        cards = max(-(-rows // 190), 50)
        table = simulate(World(customers=cards, terminals=3 * cards // 2, days=120, seed=0)).head(rows)
    else:
        table = pl.read_parquet(card_file())
    use = load_pipeline("transactions")
    began = time.perf_counter()
    data = apply(use, {"transactions": raw_from_frame(table, "table")}, NOW)
    checked = time.perf_counter()
    sequences = build(data, use.task)
    built, mib = time.perf_counter(), peak_mib()
    assert len(sequences) == len(table) == len(data.samples) == (rows or len(table))
    began_challenger = time.perf_counter()
    assert len(use.challenger_features(data)) == len(table)
    found = {"rows": len(table), "check": checked - began, "windows": built - checked, "mib": mib}
    return found | {"challenger": time.perf_counter() - began_challenger}


def wide(count: int) -> tuple[Any, Any]:
    """So many events of 25 columns as prepared data, and their task."""
    from trmfin.data.prepared import Prepared
    from trmfin.sequences.task import Field, History, Target, Task

    random, clients = np.random.default_rng(0), count // EACH
    seconds = np.sort(random.integers(0, 365 * 86_400, count))
    times = pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + START
    client = random.permutation(np.repeat(np.arange(clients), EACH))
    events = pl.DataFrame(
        {
            "event_id": pl.Series(np.arange(count)).cast(pl.String),
            "event_time": times,
            "known_at": times,
            "event_type": pl.repeat("event", count, eager=True),
            "client": pl.Series(client).cast(pl.String),
            **{f"number_{k}": random.lognormal(3, 1, count) for k in range(NUMBERS)},
            **{f"category_{k}": pl.Series(random.integers(0, 20, count)).cast(pl.String) for k in range(CATEGORIES)},
        }
    )
    samples = pl.DataFrame(
        {
            "sample_id": [str(k) for k in range(clients)],
            "as_of": pl.repeat(START + timedelta(days=366), clients, eager=True),
            "client": [str(k) for k in range(clients)],
        }
    )
    fields = [Field(name=f"number_{k}", column=f"number_{k}", transform="signed_log") for k in range(NUMBERS)]
    fields += [Field(name=f"category_{k}", column=f"category_{k}", transform="category") for k in range(CATEGORIES)]
    fields += [Field(name="age", column="event_time", transform="gap_seconds", against="as_of")]
    task = Task(
        name="wide",
        histories=(History(name="all", keys=("client",), length=EACH),),
        fields=tuple(fields),
        targets=(Target(name="any", head="binary", meaning="nothing: no target is known"),),
        primary="any",
        group="client",
    )
    return Prepared(events=events, samples=samples), task


def events(count: int) -> dict[str, float]:
    """Build so many events of 25 columns and take every sample through `batch` once."""
    from trmfin.sequences.sequences import build

    data, task = wide(count)
    began = time.perf_counter()
    sequences = build(data, task)
    built, seen = time.perf_counter(), 0
    for first in range(0, len(sequences), 512):
        batch = sequences.batch(np.arange(first, min(first + 512, len(sequences))))
        seen += int(batch.mask[:, 1:].sum())
    assert seen == count
    return {"rows": count, "windows": built - began, "batches": time.perf_counter() - built, "mib": peak_mib()}


def apart(job: str, size: int) -> dict[str, float]:
    """`transactions` or `events` in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--job", job, str(size)], stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def tables(sizes: list[int], count: int, with_file: bool) -> Iterator[str]:
    """The lines that are printed."""
    yield " ".join(f"{head:>{width}}" for head, width in HEADS.items())
    jobs = [("card file", 0)] * (with_file and card_file().exists()) + [("simulated", size) for size in sizes]
    smallest = 0.0
    for name, size in jobs:
        found = apart("transactions", size)
        each = (found["check"] + found["windows"]) / found["rows"]
        smallest = smallest or (each if size else 0.0)
        growth = f"{each / smallest:.2f}" if smallest else ""
        cells = [
            name, f"{found['rows']:,.0f}", f"{found['check']:.2f}", f"{found['windows']:.2f}", f"{1 / each:,.0f}", growth,
            f"{found['mib']:,.0f}", f"{found['challenger']:.2f}",
        ]  # fmt: skip
        yield " ".join(f"{cell:>{width}}" for cell, width in zip(cells, HEADS.values(), strict=True))
    if count:
        found = apart("events", count)
        seconds = found["windows"] + found["batches"]
        yield (
            f"{count:,} events of 25 columns: windows {found['windows']:.1f} s, one pass of batches {found['batches']:.1f} s, "
            f"together {seconds:.1f} s, {count / seconds:,.0f} events/s, peak {found['mib']:,.0f} MiB"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    options.add_argument("--events", type=int, default=10_000_000, help="of 25 columns; 0 for none")
    options.add_argument("--skip-file", action="store_true")
    options.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # what a process of its own does, and how much
    asked = options.parse_args()
    if asked.job:
        job = {"transactions": transactions, "events": events}[asked.job[0]]
        print(json.dumps(job(int(asked.job[1]))))
        return
    for line in tables(asked.sizes, asked.events, not asked.skip_file):
        print(line, flush=True)


if __name__ == "__main__":
    main()
