"""Scores as tables: types that others may rely on, and names that cannot leave the run folder."""

from dataclasses import replace

import polars as pl
import pytest

from tests.scoring.models import PANEL, panel, world
from trmfin.scoring.engine import score_rows
from trmfin.scoring.shards import SCORES, frames, output_folder, part_name
from trmfin.sequences.task import Target


def test_lists_hold_the_steps_that_were_run() -> None:
    found = world(panel(20))
    scores = score_rows(found.bundle, found.sequences, found.rows, epsilon=0.3)
    table = frames(scores, PANEL, found.bundle.policy)["scores"]
    assert table.schema == SCORES
    assert table["logits"].list.len().to_list() == table["step"].to_list() and table["step"].n_unique() > 1
    assert not table["logits"].explode().is_nan().any()


def test_a_target_without_a_score_has_null_scores_and_bands() -> None:
    target = Target(name="days", head="quantiles", levels=(0.5,), meaning="days late")
    found = world(panel(6), replace(PANEL, targets=(target,), primary="days"))
    tables = frames(score_rows(found.bundle, found.sequences, found.rows), found.bundle.task, found.bundle.policy)
    assert tables["scores"]["score"].null_count() == tables["scores"]["band"].null_count() == 6
    assert tables["outputs/days"].schema == pl.Schema({"sample_id": pl.String(), "quantile_0.5": pl.Float32()})


@pytest.mark.parametrize(
    ("name", "folder"), [("k10", "outputs/k10"), ("..", "outputs/%2E%2E"), ("a/../../b", "outputs/a%2F%2E%2E%2F%2E%2E%2Fb")]
)
def test_a_target_name_cannot_leave_the_run_folder(name: str, folder: str) -> None:
    assert output_folder(name) == folder


def test_parts_sort_as_they_count() -> None:
    assert [part_name(0), part_name(12)] == ["part-00000.parquet", "part-00012.parquet"]
