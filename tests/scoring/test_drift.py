"""Whether scores still look like another run's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import explained
from trmfin.errors import DataError
from trmfin.explaining.explainer import Asked
from trmfin.scoring.drift import by_chance, drift, psi, verdict
from trmfin.scoring.views import Run, opened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = explained(tmp_path_factory.mktemp("drift"), clients=200, asked=Asked(which="topk:1", group="all_applicants"))
    return opened(made.run)


def moved(run: Run, folder: Path, change: pl.Expr) -> Run:
    """The run's scores, changed, as a folder that is read without its hashes."""
    (folder / "scores").mkdir(parents=True)
    for path in run.files("scores"):
        pl.read_parquet(path).with_columns(change).write_parquet(folder / "scores" / path.name)
    return Run(folder=folder, manifest=run.manifest)


def test_the_index_is_the_formula() -> None:
    parts = psi([100, 200, 700], [150, 250, 600])
    e, a = np.array([0.1, 0.2, 0.7]), np.array([0.15, 0.25, 0.6])
    assert parts == pytest.approx((a - e) * np.log(a / e)) and np.isfinite(psi([10, 0], [0, 10])).all()
    with pytest.raises(DataError, match="both need some"):
        psi([0, 0], [1, 1])


def test_a_run_has_not_drifted_from_itself(run: Run) -> None:
    found = drift(run, run)
    assert found.psi == 0 and found.verdict == "stable" and found.missing == (0, 0)
    assert found.bins["reference"].sum() == pytest.approx(1) and (found.bins["reference"] == found.bins["now"]).all()
    assert found.bins["lower"][0] == 0 and found.bins["upper"][-1] == 1 and 0 < found.by_chance < 0.2


def test_scores_that_moved_are_found(run: Run, tmp_path: Path) -> None:
    higher = drift(moved(run, tmp_path / "a", pl.col("score").sqrt()), run)
    assert higher.verdict == "much drift" and higher.psi > 0.25 and higher.psi == pytest.approx(higher.bins["psi"].sum())
    gone = drift(
        moved(run, tmp_path / "b", pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("score")).alias("score")), run
    )
    assert gone.missing == (0, pytest.approx(0.25))
    fewer = drift(moved(run, tmp_path / "c", (pl.col("step") - 1).alias("step")), run)
    assert dict(fewer.steps.select("step", "now").iter_rows())[3] == 1 and dict(fewer.steps.select("step", "reference").iter_rows())[4] == 1


def test_a_run_without_scores_cannot_be_compared(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no score"):
        drift(moved(run, tmp_path / "none", pl.lit(None, pl.Float64).alias("score")), run)


def test_the_verdict_waits_until_chance_alone_gives_less_than_some_drift() -> None:
    assert [verdict(index, 0.09) for index in (0.09, 0.1, 0.24, 0.25)] == ["stable", "some drift", "some drift", "much drift"]
    assert {verdict(index, 0.1) for index in (0.0, 0.2, 3.0)} == {"too few to tell"}


def test_what_chance_is_expected_to_give_is_what_it_gives() -> None:
    random, reference = np.random.default_rng(0), np.full(10, 200)
    for n in (100, 500):
        drawn = [psi(reference, random.multinomial(n, np.full(10, 0.1))).sum() for _ in range(2000)]
        expected = by_chance(reference, np.full(10, n // 10)) - 9 / reference.sum()  # the reference itself is not drawn here
        assert np.mean(drawn) == pytest.approx(expected, rel=0.15)
