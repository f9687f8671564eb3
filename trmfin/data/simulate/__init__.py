"""Seeded worlds with known truth: `python -m trmfin.data.simulate payments --clients 300 --months 12 --seed 7 --out FOLDER`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trmfin.data import files
from trmfin.data.simulate import payments
from trmfin.errors import ConfigError, DataError

TRUTH = pl.Schema({"sample_id": pl.String, "target": pl.String, "probability": pl.Float64})
TRUTH_FILE = "truth.parquet"
WORLDS = {"payments": payments.simulate}


def write_world(name: str, *, clients: int, months: int, seed: int, out: Path) -> Path:
    """Write a world's raw table and its truth: OUT/raw/NAME.csv and OUT/raw/truth.parquet. Returns OUT/raw.

    Equal arguments give equal bytes. Raises ConfigError on an unknown world or a size it cannot have, RunError where the
    folder cannot be written.
    """
    if name not in WORLDS:
        raise ConfigError(f"simulate: found world {name!r}; expected {' or '.join(map(repr, WORLDS))}")
    table, truth = WORLDS[name](clients, months, seed)
    raw = out / "raw"
    files.make_folder(raw)
    with files.replacing(raw / f"{name}.csv") as file:
        table.write_csv(file)
    files.write_parquet(truth, raw / TRUTH_FILE)
    return raw


def read_truth(folder: Path, samples: pl.DataFrame) -> pl.DataFrame | None:
    """The truth that lies beside simulated raw files, of those samples that were made; None where the folder has none.

    A raw row that was rejected has a truth but no sample, and is left out. Raises DataError where the file has other columns.
    """
    path = folder / TRUTH_FILE
    with files.reading(path, DataError):
        if not path.exists():
            return None
    truth = files.read_parquet(path)
    if truth.schema != TRUTH:
        found = ", ".join(f"{column} {kind}" for column, kind in truth.schema.items())
        raise DataError(f"{path}: found columns {found}; expected {', '.join(f'{c} {k}' for c, k in TRUTH.items())}; simulate it again")
    return truth.join(samples.select("sample_id"), on="sample_id", how="semi", maintain_order="left")
