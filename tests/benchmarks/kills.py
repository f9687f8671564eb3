"""Raw data are scored in a process that is killed again and again: resumed, each run ends with the bytes of an undisturbed one.

    python tests/benchmarks/kills.py --clients 3000 --kills 10 --seed 0 > docs/results/kills.txt

A simulated world is scored with the shipped sample bundle (`score --pipeline payment_history`), once undisturbed. Then as often as
asked, each time into another folder, the process is killed (SIGKILL) and started again with --resume. The kills are spread over the
undisturbed run's wall time, one at a random moment of each equal part of it, so that they also fall on start, preparing and the end.
Compared is every byte of the run folder but the times in manifest.json and the seal over them.

The second table is how much a score moves with what should not move it: the size of batches, of shards, the number of threads.
The program ends with 1 where a run differs or a score moves by more than 1e-5.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.scoring.models import contents  # noqa: E402
from trmfin.data.prepared import Prepared  # noqa: E402
from trmfin.data.simulate import write_world  # noqa: E402
from trmfin.data.simulate.payments import simulate  # noqa: E402
from trmfin.learn.bundle import Bundle  # noqa: E402
from trmfin.scoring.engine import score_rows  # noqa: E402
from trmfin.scoring.runs import score_run  # noqa: E402
from trmfin.sequences.sequences import build  # noqa: E402
from trmfin.shipped import shipped_folder  # noqa: E402

BUNDLE = shipped_folder("sample_data") / "payments" / "bundle"
MONTHS, SHARD_ROWS = 12, 500
BATCHES, BATCHED_ROWS = (1, 7, 256), 500  # a batch of one is slow: so many samples, evenly spaced
SHARDS, THREADS = (SHARD_ROWS, 7_000, 50_000), (1, 2)
HALTING = 0.05  # log-odds: settled samples leave their batch, which a tie must not do in one batch and not in another
MOST = 1e-5  # that a score may move


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A run that was killed and resumed."""

    second: float  # after its start
    amid: str  # what it was doing
    shards: int  # finished by then
    identical: bool  # with the undisturbed one in the end


def start(raw: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Score raw data into `out` in a process of its own; what it prints is not kept, what goes wrong is seen."""
    command = [sys.executable, "-m", "trmfin.score", str(BUNDLE), str(raw), "--out", str(out), "--pipeline", "payment_history"]
    command += ["--shard-rows", str(SHARD_ROWS), "--threads", "1", *options]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)


def undisturbed(raw: Path, out: Path) -> float:
    """Score to the end: wall seconds."""
    began = time.perf_counter()
    if code := start(raw, out).wait():
        raise SystemExit(f"{out}: the undisturbed run ended with {code}, expected 0; see above")
    return time.perf_counter() - began


def moments(kills: int, seconds: float, seed: int) -> list[float]:
    """One random moment in each of so many equal parts of the time."""
    drawn = random.Random(seed)
    return [(part + drawn.random()) * seconds / kills for part in range(kills)]


def killed(raw: Path, out: Path, second: float, expected: dict[str, bytes]) -> Kill:
    """Score, kill after so many seconds, resume to the end and compare with the bytes expected."""
    with start(raw, out) as process:
        time.sleep(second)
        process.send_signal(signal.SIGKILL)
    amid, shards = found(out)
    whole = start(raw, out, "--resume").wait() == 0
    return Kill(second=second, amid=amid, shards=shards, identical=whole and contents(out) == expected)


def found(out: Path) -> tuple[str, int]:
    """What a run was doing when it was killed, and how many shards it had finished, by what lies in its folder."""
    if (out / "manifest.json").exists():
        return "ended", len(list((out / "scores").glob("part-*.parquet")))
    if not (out / "job.json").exists():
        return ("preparing" if (out / ".lock").exists() else "starting"), 0
    progress = out / "progress.jsonl"
    return "scoring", progress.read_bytes().count(b"\n") if progress.exists() else 0


def movements(prepared: Path, folder: Path) -> Iterator[tuple[str, float]]:
    """What should not move a score, and how far it moves one at most."""
    model = Bundle.load(BUNDLE)
    sequences = build(Prepared.read(prepared), model.task).aligned(model.fitted)
    rows = np.unique(np.linspace(0, len(sequences) - 1, BATCHED_ROWS).astype(np.int64))
    for epsilon, how in ((0.0, "all steps"), (HALTING, f"halting at {HALTING:g}")):
        batched = [score_rows(model, sequences, rows, batch_size=size, epsilon=epsilon, threads=1).score for size in BATCHES]
        yield f"batches of {listed(BATCHES)}, {len(rows):,} samples, {how}", widest(batched)
    runs = {}
    for shard, threads in [(size, 1) for size in SHARDS] + [(SHARD_ROWS, count) for count in THREADS[1:]]:
        out = folder / f"run-{shard}-{threads}"
        score_run(model, prepared, out, shard_rows=shard, threads=threads)
        table = pl.concat([pl.read_parquet(part) for part in sorted((out / "scores").iterdir())])
        runs[shard, threads] = table["score"].to_numpy()
    yield f"shards of {listed(SHARDS)}, all samples", widest([runs[size, 1] for size in SHARDS])
    yield f"{listed(THREADS)} threads, all samples", widest([runs[SHARD_ROWS, count] for count in THREADS])


def listed(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(f'{n:,}' for n in numbers[:-1])} and {numbers[-1]:,}"


def widest(scores: list[NDArray[np.float64]]) -> float:
    """The largest difference between any two of these for one sample; each is (N,)."""
    return float(np.ptp(np.stack(scores), axis=0).max())


def compare(clients: int, kills: int, seed: int, folder: Path) -> Iterator[tuple[str, bool]]:
    """The tables, line by line, with whether each is as it must be."""
    raw = write_world("payments", *simulate(clients, MONTHS, seed), out=folder)
    seconds = undisturbed(raw, folder / "undisturbed")
    expected = contents(folder / "undisturbed")
    shards = sum(name.startswith("scores/") for name in expected)
    yield f"{clients:,} clients, raw, in {shards} shards of {SHARD_ROWS} samples; undisturbed {seconds:.1f} s\n", shards > 1
    yield f"{'kill':>4} {'second':>7} {'amid':>10} {'shards':>7} {'identical':>10}", True
    for number, second in enumerate(moments(kills, seconds, seed), 1):
        kill = killed(raw, folder / f"killed-{number}", second, expected)
        said = f"{number:>4} {second:>7.2f} {kill.amid:>10} {kill.shards:>7} {'yes' if kill.identical else 'NO':>10}"
        yield said, kill.identical
    yield f"\n{'largest difference of a score between':<60} found, at most {MOST:g} wanted", True
    for what, moved in movements(folder / "undisturbed" / "prepared", folder):
        yield f"{what:<60} {moved:.1e}", moved <= MOST


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=3000)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    print(f"$ python tests/benchmarks/kills.py --clients {asked.clients} --kills {asked.kills} --seed {asked.seed}\n", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for line, as_wanted in compare(asked.clients, asked.kills, asked.seed, Path(folder)):
            print(line, flush=True)
            good &= as_wanted
    sys.exit(not good)


if __name__ == "__main__":
    main()
