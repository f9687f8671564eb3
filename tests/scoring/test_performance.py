"""A run judged by what happened since: by the same metrics as models are."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import explained
from trmfin.data.files import raw_from_frame
from trmfin.explaining.explainer import Asked
from trmfin.learn.metrics import auc, average_precision, ks
from trmfin.scoring.outcomes import append
from trmfin.scoring.performance import by, calibration, cost_curve, judged, metrics
from trmfin.scoring.views import Run, opened

CLIENTS, KNOWN = 90, 80


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Eighty of ninety outcomes are known, of which the riskier happened more often."""
    folder = tmp_path_factory.mktemp("judged")
    made = explained(folder, clients=CLIENTS, asked=Asked(which="topk:1", group="all_applicants"))
    run = opened(made.run)
    rows = run.scores.collect()[:KNOWN]
    happened = np.random.default_rng(0).random(KNOWN) < rows["score"].to_numpy()
    table = pl.DataFrame({"sample_id": rows["sample_id"], "outcome": happened.astype(int)})
    append(run, raw_from_frame(table[: KNOWN // 2], "outcomes"), datetime(2026, 5, 1, tzinfo=UTC))
    named = table[KNOWN // 2 :].with_columns(segment=pl.Series([("cards", "loans", None, "loans")[n % 4] for n in range(KNOWN // 2)]))
    append(run, raw_from_frame(named, "outcomes"), datetime(2026, 5, 2, tzinfo=UTC))
    return run


def test_metrics_are_those_of_the_scores_with_known_outcomes(run: Run) -> None:
    found = judged(run)
    assert len(found.rows) == KNOWN and found.scored == CLIENTS and found.enough
    told = {row["metric"]: row for row in metrics(found, draws=50).iter_rows(named=True)}
    for name, metric in (("AUC", auc), ("KS", ks), ("AP", average_precision)):
        assert told[name]["value"] == pytest.approx(metric(found.y, found.p))
        assert told[name]["low"] <= told[name]["high"]


def test_every_row_stands_in_calibration_in_one_month_and_in_one_band(run: Run) -> None:
    found = judged(run)
    curve, months, bands = calibration(found), by(found, "month"), by(found, "band")
    assert curve["rows"].sum() == KNOWN and (curve["low"] <= curve["observed"]).all() and (curve["observed"] <= curve["high"]).all()
    assert months["month"].is_sorted() and bands["mean_score"].is_sorted()
    for parts in (months, bands):
        assert parts["samples"].sum() == KNOWN
        assert (parts["samples"] * parts["event_rate"]).sum() == pytest.approx(found.y.sum())


def test_segments_are_those_that_outcomes_told(run: Run) -> None:
    parts = by(judged(run), "segment")
    assert parts["segment"].to_list() == ["cards", "loans"] and parts["samples"].to_list() == [10, 20]
    for name, rate in parts.select("segment", "event_rate").iter_rows():
        assert rate == judged(run).rows.filter(pl.col("segment") == name)["outcome"].mean()


def test_the_cost_curve_is_what_each_cut_off_would_have_cost(run: Run) -> None:
    found, costs = judged(run), run.policy.costs
    curve = cost_curve(found, run)
    assert run.policy.cutoff in curve["cutoff"].to_list() and curve["cutoff"].is_sorted()
    for cutoff, cost in curve[::7].iter_rows():
        flagged = found.p >= cutoff
        one_by_one = [
            costs.false_negative * y if not stop else costs.false_positive * (1 - y) for y, stop in zip(found.y, flagged, strict=True)
        ]
        assert cost == pytest.approx(np.mean(one_by_one))


def test_without_enough_outcomes_nothing_is_judged(run: Run, tmp_path: Path) -> None:
    bare = opened(Path(shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("outcomes"))))
    assert not judged(bare).enough and len(judged(bare).rows) == 0
    table = pl.DataFrame({"sample_id": ["s1", "s2"], "outcome": [1, 0]})
    append(bare, raw_from_frame(table, "outcomes"), datetime(2026, 5, 1, tzinfo=UTC))
    assert not judged(bare).enough
