"""Which fields still look as in training, or as in another run, and how much of them is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import Made, explained
from tests.scoring.models import PANEL, bundle_for, panel, saved
from trmfin.data.files import read_json, write_json
from trmfin.data.prepared import Prepared
from trmfin.data.seal import sealed
from trmfin.errors import DataError, RunError
from trmfin.explaining.explainer import Asked
from trmfin.learn.bundle import Bundle
from trmfin.scoring.drift import NotComparable, drift
from trmfin.scoring.field_drift import field_bins, field_drift, labels
from trmfin.scoring.runs import score_run
from trmfin.scoring.views import Run, opened
from trmfin.sequences.profile import Cells
from trmfin.sequences.task import Target

CLIENTS = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    asked = Asked(which="topk:1", group="all_applicants")
    return explained(tmp_path_factory.mktemp("fields"), clients=CLIENTS, asked=asked)


@pytest.fixture(scope="module")
def run(made: Made) -> Run:
    return opened(made.run)


def scored(bundle: Bundle, prepared: Prepared, folder: Path) -> Run:
    prepared.write(folder / "prepared")
    score_run(bundle, folder / "prepared", folder / "run", threads=1)
    return opened(folder / "run")


def resealed(run: Run, folder: Path, change: Callable[[dict[str, Any]], object]) -> Run:
    """The run with another manifest, as an older version would have written it."""
    shutil.copytree(run.folder, folder)
    manifest = {key: value for key, value in read_json(folder / "manifest.json", RunError).items() if key != "seal"}
    change(manifest)
    write_json(sealed(manifest), folder / "manifest.json")
    return opened(folder)


def test_nothing_has_moved_where_the_data_are_those_of_training(run: Run) -> None:
    found = field_drift(run)
    assert found["psi"].to_list() == [0, 0, 0] and set(found["verdict"]) == {"stable"} and found["missing_now"].sum() == 0
    assert set(found.select("field", "at").iter_rows()) == {("billed", "statements"), ("status", "statements"), ("limit", "sample")}
    assert drift(run).psi == 0 and drift(run).by_chance == pytest.approx(9 * 2 / CLIENTS)
    assert field_drift(run, run)["psi"].to_list() == [0, 0, 0]


def test_the_field_that_was_shifted_is_the_worst_and_the_index_is_the_formula(made: Made, run: Run, tmp_path: Path) -> None:
    data = panel(CLIENTS)
    later = scored(made.bundle, replace(data, samples=data.samples.with_columns(pl.col("limit") * 3)), tmp_path)
    found = field_drift(later)
    assert found.row(0)[:3] == ("limit", "sample", "much drift") and found["psi"][1:].to_list() == [0, 0]
    edges = next(cells.edges for cells in made.bundle.profile.features.cells if cells.field == "limit")
    limits = np.arange(CLIENTS) * 104729 % 1000 * 1000 + 1000
    seen = [np.searchsorted(np.float32(edges), np.float32(np.log1p(limits * times / 100)), side="right") for times in (1, 3)]
    e, a = (np.maximum(np.bincount(bins, minlength=len(edges) + 1), 0.5) / CLIENTS for bins in seen)
    some = np.bincount(np.concatenate(seen), minlength=len(edges) + 1) > 0
    assert found["psi"][0] == pytest.approx(((a - e) * np.log(a / e))[some].sum())
    bins = field_bins(later, None, "limit", "sample")
    assert bins["psi"].sum() == pytest.approx(found["psi"][0]) and bins["bin"][-1] == "(missing)"
    assert bins["reference"].sum() == pytest.approx(1) == bins["now"].sum()
    assert field_drift(later, run).row(0)[:3] == ("limit", "sample", "much drift")


def test_cells_that_go_missing_words_that_are_new_and_events_that_end_are_told(made: Made, tmp_path: Path) -> None:
    data = panel(CLIENTS)
    odd = pl.int_range(pl.len()) % 2 == 1
    gone = data.events.with_columns(
        pl.when(~odd).then("billed").alias("billed"), status=pl.when(odd).then(pl.lit("new")).otherwise("status")
    )
    found = {
        row["field"]: row for row in field_drift(scored(made.bundle, replace(data, events=gone), tmp_path / "a")).iter_rows(named=True)
    }
    assert found["billed"]["missing_then"] == 0 and 0.4 < found["billed"]["missing_now"] < 0.6
    assert found["billed"]["verdict"] == found["status"]["verdict"] == "much drift" and found["status"]["missing_now"] == 0
    ended = scored(made.bundle, replace(data, events=data.events.clear()), tmp_path / "b")
    table = field_drift(ended)
    assert table["verdict"].to_list() == ["no cells now", "no cells now", "stable"] and table["cells_now"].to_list() == [0, 0, 1]
    with pytest.raises(NotComparable, match="no cells"):
        field_bins(ended, None, "billed", "statements")


def test_the_shares_of_missing_cells_are_those_of_the_data(made: Made, tmp_path: Path) -> None:
    data = panel(CLIENTS)
    fewer = data.samples.with_columns(limit=pl.when(pl.int_range(pl.len()) % 5 > 0).then("limit"))
    found = field_drift(scored(made.bundle, replace(data, samples=fewer), tmp_path))
    assert dict(found.select("field", "missing_now").iter_rows())["limit"] == pytest.approx(0.2) and found["field"][0] == "limit"


def test_fields_of_another_bundle_are_not_compared_but_scores_are(run: Run, tmp_path: Path) -> None:
    data = panel(90)
    other, prepared = saved(data, bundle_for(data, PANEL, seed=3), tmp_path)
    score_run(other, prepared, tmp_path / "run", threads=1)
    with pytest.raises(NotComparable, match="of another bundle"):
        field_drift(run, opened(tmp_path / "run"))
    assert drift(run, opened(tmp_path / "run")).psi > 0


def test_an_older_run_and_one_without_rows_say_what_to_do(run: Run, tmp_path: Path) -> None:
    older = resealed(run, tmp_path / "older", lambda manifest: manifest.pop("profile"))
    for ask in (field_drift, drift):
        with pytest.raises(NotComparable, match="older than profiles of its data; score again"):
            ask(older)
    assert drift(older, run).psi == 0 == drift(run, older).psi
    with pytest.raises(NotComparable, match="older than profiles"):
        field_drift(run, older)


def test_a_run_of_no_rows_cannot_be_compared(made: Made, run: Run, tmp_path: Path) -> None:
    bands = dict.fromkeys(run.manifest["counts"]["bands"], 0)
    empty = {"files": {}, "counts": {"rows": 0, "shards": 0, "bands": bands}}
    now = made.bundle.profile.features.emptied.to_json()
    none = resealed(run, tmp_path / "none", lambda manifest: manifest.update(empty | {"profile": run.manifest["profile"] | {"now": now}}))
    assert none.profiles is not None and none.profiles.now.samples == 0
    with pytest.raises(NotComparable, match="no samples"):
        field_drift(none)
    with pytest.raises(NotComparable, match="no score"):
        drift(none)


def test_a_task_whose_score_has_no_log_odds_still_tells_its_fields(tmp_path: Path) -> None:
    data, target = panel(60), Target(name="default", head="quantiles", levels=(0.1, 0.9), meaning="loss")
    bundle, prepared = saved(data, bundle_for(data, replace(PANEL, targets=(target,))), tmp_path)
    score_run(bundle, prepared, tmp_path / "run", threads=1)
    found = opened(tmp_path / "run")
    with pytest.raises(NotComparable, match="kept no scores to compare with"):
        drift(found)
    assert field_drift(found)["psi"].to_list() == [0, 0, 0]


def test_a_field_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(DataError, match="no field 'age' at 'sample'; it has billed at statements"):
        field_bins(run, None, "age", "sample")


def test_bins_are_told_as_plain_values() -> None:
    edges = tuple(float(np.log1p(value)) for value in (10.0, 99.0, 1234.0))
    number = Cells(field="x", at="sample", transform="signed_log", edges=edges, counts=(0, 1, 2, 0))
    assert labels(number) == ["below 10", "10 to 99", "99 to 1234", "above 1234"]
    constant = replace(number, transform="number", edges=(5.0, float(np.nextafter(np.float32(5), np.float32(9)))), counts=(0, 3, 0))
    assert labels(constant) == ["below 5", "5", "above 5"]
    narrow = replace(number, transform="number", edges=(1.00001, 1.00002, 1.00003), counts=(0, 1, 1, 0))
    assert labels(narrow)[0] == "below 1.00001" and len(set(labels(narrow))) == 4
    code = Cells(field="x", at="sample", transform="category", words=("a",), counts=(1, 0, 0))
    assert labels(code) == ["a", "(another)", "(unknown in training)"]
