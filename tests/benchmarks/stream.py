"""One transaction at a time: how long an answer takes, and what a million windows weigh.

    python tests/benchmarks/stream.py [--entities 1000000] [--transactions 5000] [--preset tiny|own] [--lasting]

A stream over the transactions pipeline holds so many cards and terminals, half of each, and of each as many events as it ever
keeps, an hour apart; then transactions of these come one by one, in one thread, and each takes the place of an older one. The
network is untrained, of --preset: its speed does not depend on the weights. `own` is the shape of the pipeline's own recipe, as
`train` makes it: four networks with more bins. The transactions are a simulated world's, their cards
and terminals drawn anew over all that there are.

prepare   a raw row through the pipeline's schema and `prepare`: what a caller does who has raw rows
step      the prepared row encoded, its two windows found, the network, calibration, the transaction taken in
--lasting the same through the log on the disk, flushed before each answer; then how long opening takes for each record of that log,
          and how long a checkpoint takes to write all windows, and a start to read them
resident  memory of the process less what it held before the first event, over the number of entities
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
CHUNK = 20_000  # events taken in at once while windows are made
HOUR = 3_600_000_000  # microseconds
OWN = "own"  # not a preset's shape but that of the pipeline's recipe


def resident_mib() -> float:
    """What this process holds now."""
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def raw_table(count: int, entities: int) -> pl.DataFrame:
    """So many simulated transactions, in time, each card and terminal drawn from half as many as there are entities."""
    from trmfin.data.simulate.transactions import World, simulate

    world = simulate(World(customers=1_000, terminals=1_000, days=max(30, -(-count // 1_500)), seed=0)).head(count)
    random = np.random.default_rng(0)
    drawn = {name: random.integers(0, entities // 2, len(world)).astype(str) for name in ("CUSTOMER_ID", "TERMINAL_ID")}
    return world.with_columns(pl.Series(name, values) for name, values in drawn.items()).drop("TX_FRAUD", "TX_FRAUD_SCENARIO")


def untrained(use: Any, preset: str, raw: pl.DataFrame) -> Any:
    """A bundle for the pipeline, its weights as they were drawn, bins of these transactions."""
    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.learn.bundle import Bundle
    from trmfin.learn.calibrate import Calibration
    from trmfin.learn.policy import Policy
    from trmfin.learn.profile import reference_profile
    from trmfin.learn.recipe import Recipe
    from trmfin.model.ensemble import Ensemble
    from trmfin.sequences.fitted import Fitted
    from trmfin.sequences.sequences import build

    recipe = Recipe.chosen(use.recipe, use.name, preset_name="" if preset == OWN else preset)
    sequences = build(apply(use, {"transactions": raw_from_frame(raw, "world")}, NOW), use.task)
    edges = recipe.model.bins + 2 * recipe.model.splits  # as many as splits could give: nothing is labelled here
    fitted = Fitted.fit(sequences, np.arange(len(sequences)), edges)
    return Bundle(
        network=Ensemble(use.task, fitted, recipe.model).eval(),
        task=use.task,
        fitted=fitted,
        calibration=Calibration(kind="identity", parameters=((),)),
        policy=Policy(),
        card={},
        reference=pl.DataFrame({"sample_id": ["0"], "group": ["all"]}),
        profile=reference_profile(sequences.aligned(fitted), np.arange(len(sequences)), None, 0.0),
        sha256="0" * 64,
    )


def fill(stream: Any, prepare: Any, entities: int, raw: pl.DataFrame) -> None:
    """Make every entity's window, full: one transaction is taken in, and stands in all places under identities and times of its own."""
    half = entities // 2
    for first in range(0, half, CHUNK):
        count = min(CHUNK, half - first)
        names = pl.Series([str(name) for name in range(first, first + count)])
        rows = raw[np.resize(np.arange(len(raw)), count)].with_columns(
            pl.format("before-{}", names).alias("TRANSACTION_ID"),
            CUSTOMER_ID=names,
            TERMINAL_ID=names,
            TX_DATETIME=pl.lit(datetime(2018, 3, 1)),
        )
        stream.take(prepare(rows)[0])
    for rings in stream.rings.values():
        before = np.arange(-rings.width + 1, 1)
        for place, (block, counts, lost) in enumerate(zip(rings.blocks, rings.counts, rings.lost, strict=True)):
            used = min(len(block), len(rings.places) - place * len(block))
            block[:used] = np.repeat(block[:used, :1], rings.width, axis=1)
            block["id"][:used] += before.astype(np.uint64)
            for name in ("known_at", "operand time event_time"):
                block[name][:used] += before * HOUR
            counts[:used], lost[:used] = rings.width, True


def held(stream: Any) -> dict[str, int]:
    """History → how many events the emptiest of its windows holds, those beyond a window's length included."""
    return {
        name: min(int(counts[: len(rings.places) - place * len(counts)].min()) for place, counts in enumerate(rings.counts))
        for name, rings in stream.rings.items()
    }


def measured(entities: int, transactions: int, preset: str, lasting: bool) -> list[str]:
    """The lines that are printed."""
    import torch

    from trmfin.data.files import raw_from_frame
    from trmfin.data.prepared import apply
    from trmfin.scoring.lasting import lasting as kept
    from trmfin.scoring.stream import Stream
    from trmfin.shipped import load_pipeline

    torch.set_num_threads(1)
    use = load_pipeline("transactions")
    raw = raw_table(transactions, entities)
    bundle = untrained(use, preset, raw)

    def prepare(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        data = apply(use, {"transactions": raw_from_frame(rows, "now")}, NOW)
        return data.events, data.samples

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with kept(bundle, folder / "stream") if lasting else nullcontext() as durable:
            stream = Stream(bundle) if durable is None else durable.stream
            before, began = resident_mib(), time.perf_counter()
            fill(stream, prepare, entities, raw)
            filling, resident = time.perf_counter() - began, resident_mib() - before
            times = []
            for place in range(len(raw)):
                began = time.perf_counter()
                events, samples = prepare(raw[place : place + 1])
                middle = time.perf_counter()
                (durable or stream).step(events, samples)
                times.append((middle - began, time.perf_counter() - middle))
        again = reopened(bundle, stream, folder, len(raw)) if lasting else []
    parts = np.array(times[len(times) // 10 :]) * 1e3  # the first tenth warms up
    events = ", ".join(f"{count} events a {name}" for name, count in held(stream).items())
    members = bundle.network.networks
    shape = f"{len(members)} x {sum(weights.numel() for weights in members[0].parameters()):,} parameters"
    lines = [
        f"{stream.entities:,} entities, {events} (filled in {filling:.0f} s), {len(parts):,} transactions, one thread, "
        f"preset {preset} ({shape})"
    ]
    for name, values in (("prepare", parts[:, 0]), ("step", parts[:, 1]), ("both", parts.sum(1))):
        lines.append(f"{name:8} ms: p50 {np.median(values):6.2f}  p99 {np.quantile(values, 0.99):6.2f}  most {values.max():6.2f}")
    lines.append(
        f"memory: {resident / 1024:.2f} GiB resident for the windows, {resident * 2**20 / stream.entities:,.0f} bytes an entity, "
        f"{stream.bytes / stream.entities:,.0f} of them the window; process {resident_mib() / 1024:.2f} GiB"
    )
    return lines + again


def reopened(bundle: Any, stream: Any, folder: Path, records: int) -> list[str]:
    """How long the log's records and the stream's windows take to be read again. CPU too: others may be using the machine."""
    from trmfin.scoring import lasting
    from trmfin.scoring.stream import Stream

    def timed(work: Any) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - wall, time.process_time() - cpu

    def opened() -> None:
        with lasting.lasting(bundle, folder / "stream"):
            pass

    log, state = folder / "stream" / f"{lasting.LOG}{0:08d}", folder / "state"
    wall, cpu = timed(opened)
    lines = [
        f"opening: {wall / records * 1e3:.2f} ms a record ({cpu / records * 1e3:.2f} of CPU), {log.stat().st_size / records:,.0f} bytes"
    ]
    written, read = timed(lambda: lasting.write_state(stream, state)), timed(lambda: lasting.read_state(Stream(bundle), state))
    size = sum(path.stat().st_size for path in state.iterdir()) / 2**30
    names = (("checkpoint", written), ("restore", read))
    return lines + [f"{name}: {wall:.1f} s ({cpu:.1f} of CPU), {size:.2f} GiB of windows" for name, (wall, cpu) in names]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--entities", type=int, default=1_000_000)
    options.add_argument("--transactions", type=int, default=5_000)
    options.add_argument("--preset", default="tiny", help=f"or {OWN}: the shape of the pipeline's recipe")
    options.add_argument("--lasting", action="store_true")
    asked = options.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # libraries read it when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    for line in measured(asked.entities, asked.transactions, asked.preset, asked.lasting):
        print(line)


if __name__ == "__main__":
    main()
