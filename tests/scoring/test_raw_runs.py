"""Runs of raw data: no row is lost in silence, and no byte changes unseen, of what was prepared either."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.scoring.models import bundle_for, contents, saved
from tests.scoring.test_api import CONFIG, statements
from tests.worlds import month
from trmfin.data.files import read_parquet
from trmfin.data.prepared import apply, read_raws
from trmfin.errors import RunError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.folder import JOB, read_manifest, verify_run
from trmfin.scoring.runs import score_run
from trmfin.shipped import load_pipeline

USE = load_pipeline("payment_history")
FILES = {f"prepared/{name}" for name in ("events.parquet", "samples.parquet", "rejects.parquet", "manifest.json")}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """A bundle, and a raw file of 32 rows: two break a rule, and two amounts have three decimals, one of them in a row that breaks it."""
    folder = tmp_path_factory.mktemp("ready")
    line = pl.int_range(pl.len()) + 2
    status = pl.when(line.is_in([3, 20])).then(99).otherwise("status")
    paid = pl.when(line.is_in([3, 4])).then(7.125).otherwise("paid")
    statements().with_columns(status=status, paid=paid).write_csv(folder / "raw.csv")
    prepared = apply(USE, read_raws(USE, folder / "raw.csv"), month(12))
    return saved(prepared, bundle_for(prepared, USE.task, CONFIG), folder)[0], folder / "raw.csv"


@pytest.fixture(scope="module")
def run(ready: tuple[Bundle, Path]) -> Path:
    out = ready[1].parent / "run"
    score(ready, out)
    return out


def score(ready: tuple[Bundle, Path], out: Path, **options: Any) -> Any:
    return score_run(*ready, out, **({"pipeline": USE, "shard_rows": 8, "threads": 1} | options))


def test_the_manifest_names_the_raw_file_and_every_row_of_it_is_accepted_or_rejected(ready: tuple[Bundle, Path], run: Path) -> None:
    raw = verify_run(run)["inputs"]["raw"]
    sha256 = hashlib.sha256(ready[1].read_bytes()).hexdigest()
    assert raw == {"long": {"name": "raw.csv", "sha256": sha256, "read": 32, "accepted": 30, "rejected": 2, "rounded": 1}}
    assert read_parquet(run / "prepared" / "rejects.parquet")["line"].to_list() == [3, 20]


def test_data_that_were_prepared_before_bring_their_raw_files_along(ready: tuple[Bundle, Path], run: Path, tmp_path: Path) -> None:
    summary = score((ready[0], ready[1].parent / "prepared"), tmp_path / "run", pipeline=None)
    assert verify_run(tmp_path / "run")["inputs"] == verify_run(run)["inputs"]
    assert (summary.raw_rows, summary.rejected) == (0, 0)  # who prepared them was told then


def test_two_runs_of_the_same_raw_data_differ_in_times_alone(ready: tuple[Bundle, Path], run: Path, tmp_path: Path) -> None:
    score(ready, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(run)
    assert {path for path in contents(run) if path.startswith("prepared/")} == FILES == {f for f in verify_run(run)["files"] if f in FILES}


def test_rejected_rows_are_counted_by_the_run_and_by_its_resume(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    first, again = score(ready, tmp_path / "run"), score(ready, tmp_path / "run", resume=True)
    assert (first.raw_rows, first.rejected) == (again.raw_rows, again.rejected) == (32, 2)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_changed_byte_of_any_file_is_named(run: Path, tmp_path: Path, place: float) -> None:
    shutil.copytree(run, tmp_path / "run")
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert FILES < set(names)
    for name in names:
        path = tmp_path / "run" / name
        whole = path.read_bytes()
        at = int(place * len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RunError, match=name):
            verify_run(tmp_path / "run")
        path.write_bytes(whole)
    assert verify_run(tmp_path / "run")


def test_a_missing_and_a_foreign_file_among_the_prepared_are_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "prepared" / "rejects.parquet").rename(tmp_path / "run" / "prepared" / "truth.parquet")
    with pytest.raises(RunError, match=r"prepared/rejects\.parquet is missing; prepared/truth\.parquet does not belong to it"):
        verify_run(tmp_path / "run")


def test_what_is_prepared_in_a_run_folder_belongs_to_its_run_alone(ready: tuple[Bundle, Path], run: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "run" / "prepared"
    shutil.copytree(run / "prepared", prepared)
    with pytest.raises(RunError, match="holds 'prepared', which is no part of a run"):
        score((ready[0], ready[1].parent / "prepared"), tmp_path / "run", pipeline=None)
    assert score((ready[0], prepared), tmp_path / "run", pipeline=None).rejected == 2
    assert contents(tmp_path / "run") == contents(run)


def test_a_run_of_prepared_data_is_not_resumed_as_one_of_raw_data(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    score((ready[0], ready[1].parent / "prepared"), tmp_path / "run", pipeline=None)
    with pytest.raises(RunError, match=r"holds a run without prepared/manifest\.json, so not one of raw data"):
        score(ready, tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "prepared").exists() and not (tmp_path / "run" / JOB).exists()
    assert read_manifest(tmp_path / "run")
