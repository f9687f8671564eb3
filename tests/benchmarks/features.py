"""Raw rows into what a network is given: seconds of each part, rows a second, peak memory, growth with size.

    python tests/benchmarks/features.py [--sizes 100000 1000000 10000000] [--events 10000000] [--skip-file] [--most-filled 20000000]

Each line is measured in a process of its own, with all the cores there are, so that its peak memory is its own. Making or reading
the raw table is not timed, but its memory counts.

transactions  the card file of TRMFIN_DATA (by default ../shared/data; left out where it is not there), then simulated worlds of
              so many transactions; each is an event and a sample with two histories, and their whole windows are summed up.
25 columns    so many events of 25 columns (14 numbers, 9 categories, time, key), a hundred of each client, one sample a client,
              every event in one window and no summaries. This is the work that a loader of event sequences does before a network
              sees them.

check         the raw table through its schema and `prepare`.
find          `build`, which finds where the histories of every sample begin and end: positions, no values.
fill          one pass of the samples through `batch()`, 512 at a time, in one thread: the values of every window, what is not yet
              known masked, and summaries.
filled        the share of the samples in that pass: where there are more than `--most-filled`, batches are taken evenly from all of
              them, and the seconds of `fill` are what the whole pass would take at that rate.
found/s       rows of the raw table a second of check and find; filled/s: of check, find and fill.
growth        time a row of check, find and fill over that of the smallest simulated world: 1.00 is linear.
challenger    the fifteen features of the Handbook, of the same transactions.
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
from types import SimpleNamespace
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
CARDS = "card_fraud_handbook/transactions.parquet"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
START = datetime(2024, 1, 1, tzinfo=UTC)
NUMBERS, CATEGORIES, EACH = 14, 9, 100  # columns, columns, events of a client
BATCH = 512  # samples
HEADS = {
    "table": 16, "rows": 11, "samples": 11, "check s": 8, "find s": 8, "fill s": 8, "filled": 7, "found/s": 9, "filled/s": 9, "growth": 6,
    "peak MiB": 8, "| challenger s": 14,
}  # fmt: skip


def card_file() -> Path:
    return Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data") / CARDS


def peak_mib() -> float:
    """Most memory this process had so far. Not ru_maxrss, which a child inherits from the process that started it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def fill(sequences: Any, most: int) -> dict[str, float]:
    """Batches of at most about so many samples, evenly from all: seconds that all would take, share taken, events seen in windows."""
    starts = np.arange(0, len(sequences), BATCH)
    starts = starts[:: max(-(-len(sequences) // most), 1)]
    began, taken, seen = time.perf_counter(), 0, 0
    for first in starts.tolist():
        batch = sequences.batch(np.arange(first, min(first + BATCH, len(sequences))))
        taken, seen = taken + len(batch.mask), seen + int(batch.mask[:, 1:].sum())
    share = taken / len(sequences)
    return {"fill": (time.perf_counter() - began) / share, "filled": share, "seen": seen}


def made(use: Any, table: pl.DataFrame, name: str, most: int) -> tuple[Any, dict[str, float]]:
    """The raw table as prepared data, and what its parts took."""
    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.sequences.sequences import build

    began = time.perf_counter()
    data = apply(use, {name: raw_from_frame(table, "table")}, NOW)
    checked = time.perf_counter()
    sequences = build(data, use.task)
    found = {"check": checked - began, "find": time.perf_counter() - checked}
    found |= {"rows": len(table), "samples": len(sequences)} | fill(sequences, most)
    return data, found | {"mib": peak_mib()}


def transactions(rows: int, most: int) -> dict[str, float]:
    """So many simulated transactions, or those of the file where rows is 0."""
    from trmfin.data.simulate.transactions import World, simulate
    from trmfin.shipped import load_pipeline

    if rows:  # as many days for every size, so that windows are as full
        cards = max(-(-rows // 190), 50)
        table = simulate(World(customers=cards, terminals=3 * cards // 2, days=120, seed=0)).head(rows)
    else:
        table = pl.read_parquet(card_file())
    use = load_pipeline("transactions")
    data, found = made(use, table, "transactions", most)
    assert found["samples"] == len(table) == len(data.samples) == (rows or len(table)) and found["seen"] > 0
    began = time.perf_counter()
    assert len(use.challenger_features(data)) == len(table)
    return found | {"challenger": time.perf_counter() - began}


class Wide(dy.Schema):
    """An event of 25 columns, and its id."""

    event_id = dy.String(primary_key=True)
    time = dy.Datetime(time_zone="UTC", time_unit="us")
    client = dy.String()
    number_0, number_1, number_2, number_3, number_4, number_5, number_6 = (dy.Float64() for _ in range(7))
    number_7, number_8, number_9, number_10, number_11, number_12, number_13 = (dy.Float64() for _ in range(7))
    category_0, category_1, category_2, category_3, category_4, category_5, category_6, category_7, category_8 = (
        dy.String() for _ in range(9)
    )  # fmt: skip


def wide(count: int) -> pl.DataFrame:
    """The raw table of so many events."""
    random, clients = np.random.default_rng(0), count // EACH
    seconds = np.sort(random.integers(0, 365 * 86_400, count))
    client = random.permutation(np.repeat(np.arange(clients), EACH))
    return pl.DataFrame(
        {
            "event_id": pl.Series(np.arange(count)).cast(pl.String),
            "time": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + START,
            "client": pl.Series(client).cast(pl.String),
            **{f"number_{k}": random.lognormal(3, 1, count) for k in range(NUMBERS)},
            **{f"category_{k}": pl.Series(random.integers(0, 20, count)).cast(pl.String) for k in range(CATEGORIES)},
        }
    )


def prepare(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """An event a row, known at once; a sample a client, after the last of them."""
    rows = tables["events"]
    events = rows.drop("line").rename({"time": "event_time"}).with_columns(known_at="event_time", event_type=pl.lit("event"))
    clients = rows.select("client").unique(maintain_order=True)
    return events, clients.select("client", sample_id="client", as_of=pl.lit(START + timedelta(days=366)).cast(pl.Datetime("us", "UTC")))


def events(count: int, most: int) -> dict[str, float]:
    """So many events of 25 columns, every one of them in one window."""
    from trmfin.sequences.task import Field, History, Target, Task

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
    use = SimpleNamespace(name="wide", sha256="", schemas={"events": Wide}, aliases={}, prepare=prepare, task=task)
    _, found = made(use, wide(count), "events", most)
    assert found["rows"] == count and (found["filled"] < 1 or found["seen"] == count)
    return found


def apart(job: str, size: int, most: int) -> dict[str, float]:
    """`transactions` or `events` in a fresh process."""
    words = [sys.executable, __file__, "--job", job, str(size), "--most-filled", str(most)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def tables(sizes: list[int], count: int, with_file: bool, most: int) -> Iterator[str]:
    """The lines that are printed."""
    yield " ".join(f"{head:>{width}}" for head, width in HEADS.items())
    jobs = [("card file", "transactions", 0)] * (with_file and card_file().exists())
    jobs += [("simulated", "transactions", size) for size in sizes] + [("25 columns", "events", count)] * (count > 0)
    smallest = 0.0
    for name, job, size in jobs:
        found = apart(job, size, most)
        each = (found["check"] + found["find"]) / found["rows"], (found["check"] + found["find"] + found["fill"]) / found["rows"]
        smallest = smallest or (each[1] if name == "simulated" else 0.0)
        cells = [
            name, f"{found['rows']:,.0f}", f"{found['samples']:,.0f}", f"{found['check']:.2f}", f"{found['find']:.2f}",
            f"{found['fill']:.2f}", f"{found['filled']:.0%}", f"{1 / each[0]:,.0f}", f"{1 / each[1]:,.0f}",
            f"{each[1] / smallest:.2f}" if name == "simulated" else "", f"{found['mib']:,.0f}",
            f"{found['challenger']:.2f}" if "challenger" in found else "",
        ]  # fmt: skip
        yield " ".join(f"{cell:>{width}}" for cell, width in zip(cells, HEADS.values(), strict=True))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    options.add_argument("--events", type=int, default=10_000_000, help="of 25 columns; 0 for none")
    options.add_argument("--skip-file", action="store_true")
    options.add_argument("--most-filled", type=int, default=20_000_000, help="samples of a table in the pass of batches, about")
    options.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # what a process of its own does, and how much
    asked = options.parse_args()
    if asked.job:
        job = {"transactions": transactions, "events": events}[asked.job[0]]
        print(json.dumps(job(int(asked.job[1]), asked.most_filled)))
        return
    for line in tables(asked.sizes, asked.events, not asked.skip_file, asked.most_filled):
        print(line, flush=True)


if __name__ == "__main__":
    main()
