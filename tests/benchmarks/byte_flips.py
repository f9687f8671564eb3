"""Random bytes of every kind of input are changed, one at a time: each change ends in one clear line or in rejects, never in a traceback.

    python tests/benchmarks/byte_flips.py --flips 1000 --seed 0 > docs/results/byte-flips.txt

Of each kind of file so many bytes are changed in a small simulated world, and what `score` does with that file runs in this process,
under the same handling of errors: raw files are prepared and scored, prepared data are scored, bundles are loaded. Every change must
end in one of the first three ENDS; in prepared data and bundles, where every byte is under a hash, in the first. What does not is
printed with its place, and the program ends with 1.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import typer

from trmfin.command import guarded
from trmfin.data.files import read_json, read_parquet
from trmfin.data.prepared import apply, read_raws
from trmfin.data.simulate import write_world
from trmfin.data.simulate.payments import simulate
from trmfin.errors import DataError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.runs import score_run
from trmfin.shipped import load_pipeline, shipped_folder

CLIENTS, MONTHS = 10, 5
ENDS = {
    "refused": "exit 1 and one line of error, which for prepared data and bundles names the file",
    "rejects": "exit 0; some rows are kept apart with their reasons, and accepted + rejected = read",
    "harmless": "exit 0 and every row accepted: the byte means nothing, or makes another value that the schema allows",
    "TRACEBACK": "anything else",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file, and what reads it."""

    name: str
    files: tuple[Path, ...]  # changed in turn
    read: Callable[[Path], object]  # given the run folder to write
    sealed: bool  # whether every byte is under a hash


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A change that ended as none may."""

    file: str
    place: int
    mask: int  # the byte was XORed with it
    what: str


def kinds(folder: Path) -> tuple[Kind, ...]:
    """A small world in `folder`, prepared, and a copy of the model that ships; their files by kind."""
    raw = write_world("payments", *simulate(CLIENTS, MONTHS, seed=3), out=folder)
    prepared, bundle, use = folder / "prepared", folder / "bundle", load_pipeline("payment_history")
    apply(use, read_raws(use, raw), datetime.now(UTC)).write(prepared)
    shutil.copytree(shipped_folder("sample_data") / "payments" / "bundle", bundle)
    model, parts = Bundle.load(bundle), sorted(path for path in bundle.iterdir() if path.name != "manifest.json")
    text, typed = raw / "payments.csv", folder / "payments.parquet"
    pl.read_csv(text).write_parquet(typed)  # not as trmfin writes it: without checksums of pages

    def kind(name: str, read: Callable[[Path], object], *files: Path) -> Kind:
        return Kind(name=name, files=files, read=read, sealed="raw" not in name)

    return (
        kind("raw CSV", lambda out: score_run(model, text, out, pipeline=use, threads=1), text),
        kind("raw Parquet", lambda out: score_run(model, typed, out, pipeline=use, threads=1), typed),
        kind("prepared Parquet", lambda out: score_run(model, prepared, out, threads=1), *sorted(prepared.glob("*.parquet"))),
        kind("prepared manifest", lambda out: score_run(model, prepared, out, threads=1), prepared / "manifest.json"),
        kind("bundle", lambda out: Bundle.load(bundle), *parts),
        kind("bundle manifest", lambda out: Bundle.load(bundle), bundle / "manifest.json"),
    )


def flip(kind: Kind, flips: int, seed: int, folder: Path) -> Iterator[tuple[str, Fault | None]]:
    """Change so many bytes of the kind's files, one at a time and back again: how each ended. `folder` is for what is written."""
    drawn, out = random.Random(f"{seed} {kind.name}"), folder / "run"
    for number in range(flips):
        path = kind.files[number % len(kind.files)]
        whole = path.read_bytes()
        place, mask = drawn.randrange(len(whole)), drawn.randrange(1, 256)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
        try:
            yield end(kind, path, out), None
        except (Exception, pl.exceptions.PanicException) as problem:
            yield "TRACEBACK", Fault(file=path.name, place=place, mask=mask, what=f"{type(problem).__name__}: {problem}")
        finally:
            path.write_bytes(whole)
            shutil.rmtree(out, ignore_errors=True)


def end(kind: Kind, path: Path, out: Path) -> str:
    """Read the changed file as a command does and judge how it ends. Raises AssertionError where it may not end so."""
    with redirect_stderr(io.StringIO()) as said:
        try:
            guarded(lambda: kind.read(out) and None)()
            code = 0
        except typer.Exit as exit:
            code = exit.exit_code
    lines = said.getvalue().splitlines()
    if code:
        assert code == 1 and len(lines) == 1 and lines[0].startswith("error: "), f"exit {code}, {lines}"
        assert not kind.sealed or path.name in lines[0] or "format" in lines[0], f"does not name the file: {lines[0]}"
        return "refused"
    assert not lines, f"said {lines}"
    assert not kind.sealed, "was not found"
    manifest = read_json(out / "prepared" / "manifest.json", DataError)
    rejects = read_parquet(out / "prepared" / "rejects.parquet")
    for item in manifest["inputs"]:
        assert item["accepted"] + item["rejected"] == item["rows_read"], "accepted + rejected is not what was read"
    assert rejects.height == sum(item["rejected"] for item in manifest["inputs"]), "not every rejected row was kept"
    assert rejects["rules"].list.len().min() != 0, "a row was rejected without a reason"
    return "rejects" if rejects.height else "harmless"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--flips", type=int, default=1000, help="of each kind of file")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    os.fsync = lambda descriptor: None  # whether the disk keeps its word is no question here
    print(f"python tests/benchmarks/byte_flips.py --flips {asked.flips} --seed {asked.seed}\n")
    print(f"{'changed byte in':<18}" + "".join(f"{name:>11}" for name in ENDS), flush=True)
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds(Path(folder)):
            found = list(flip(kind, asked.flips, asked.seed, Path(folder)))
            counts = Counter(name for name, _ in found)
            print(f"{kind.name:<18}" + "".join(f"{counts[name]:>11,}" for name in ENDS), flush=True)
            faults += [fault for _, fault in found if fault]
    print("\n" + "\n".join(f"{name:<11}{meaning}" for name, meaning in ENDS.items()))
    for fault in faults:
        print(f"{fault.file}, byte {fault.place}, XOR {fault.mask}: {fault.what}", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
