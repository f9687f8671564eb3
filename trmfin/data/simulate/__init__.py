"""Seeded worlds: `python -m trmfin.data.simulate payments --clients 300 --months 12 --seed 7 --out FOLDER`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trmfin.data import files
from trmfin.errors import DataError

TRUTH = pl.Schema({"sample_id": pl.String, "target": pl.String, "probability": pl.Float64})
TRUTH_FILE = "truth.parquet"
TIME_IN_CSV = "%Y-%m-%d %H:%M:%S"


def write_world(name: str, table: pl.DataFrame, truth: pl.DataFrame | None = None, *, out: Path) -> Path:
    """Write a world's raw table, OUT/raw/NAME.csv, and its truth, OUT/raw/truth.parquet. Returns OUT/raw.

    table and truth: as the world's `simulate` gives them. A world without truth leaves no truth.parquet in the folder, not
    even another world's. Equal tables give equal bytes. Raises RunError where the folder cannot be written.
    """
    raw = out / "raw"
    files.make_folder(raw)
    with files.replacing(raw / f"{name}.csv") as file:
        table.write_csv(file, datetime_format=TIME_IN_CSV)
    if truth is None:
        files.remove_file(raw / TRUTH_FILE)
    else:
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
