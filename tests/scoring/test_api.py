"""Scoring from Python: whatever goes in, the same scores come out, and no row is lost in silence."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import trmfin
from tests.scoring.models import bundle_for, saved
from trmfin.data.files import raw_from_frame
from trmfin.data.prepared import Prepared, apply
from trmfin.errors import BundleError, ConfigError, DataError
from trmfin.model.config import ModelConfig
from trmfin.scoring.api import Scorer
from trmfin.shipped import load_pipeline

CONFIG = ModelConfig(width=16, head_width=8, latent_steps=1, answer_steps=1, supervision_steps=2, bins=4)


def statements(clients: int = 8, months: int = 4) -> pl.DataFrame:
    """A raw long table: client, month, status, billed, paid, limit."""
    return pl.DataFrame(
        [
            {
                "client": f"C{c}",
                "month": f"2024-{m + 1:02}",
                "status": (c + m) % 3 - 1,
                "billed": 100 * c + 10 * m,
                "paid": 10 * c,
                "limit": 1000 * (c + 1),
            }
            for c in range(clients)
            for m in range(months)
        ]
    )


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return apply(load_pipeline("payment_history"), {"long": raw_from_frame(statements(), "frame")}, datetime.now(UTC))


@pytest.fixture(scope="module")
def folder(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    saved(prepared, bundle_for(prepared, load_pipeline("payment_history").task, CONFIG), folder)
    return folder


@pytest.fixture
def scorer(folder: Path) -> Scorer:
    return trmfin.load(folder / "bundle")


def test_prepared_data_folders_and_frames_give_the_same_scores(scorer: Scorer, prepared: Prepared, folder: Path) -> None:
    expected = scorer.score(prepared)
    assert expected["sample_id"].to_list()[:2] == ["C0@2024-01", "C0@2024-02"] and len(expected) == 32
    assert expected["score"].is_between(0, 1).all() and expected["score"].n_unique() > 20
    for found in (
        scorer.score(folder / "prepared"),
        scorer.score(str(folder / "prepared")),
        scorer.score(statements(), pipeline="payment_history"),
    ):
        assert isinstance(found, pl.DataFrame) and found.equals(expected)


def test_pandas_in_gives_pandas_out(scorer: Scorer, prepared: Prepared) -> None:
    found = scorer.score(statements().to_pandas(), pipeline="payment_history")
    assert isinstance(found, pd.DataFrame)
    np.testing.assert_array_equal(found["score"], scorer.score(prepared)["score"])
    assert str(found["as_of"].dt.tz) == "UTC"


def test_a_raw_file_is_prepared_first(scorer: Scorer, prepared: Prepared, tmp_path: Path) -> None:
    statements().write_csv(tmp_path / "raw.csv")
    assert scorer.score(tmp_path / "raw.csv", pipeline="payment_history").equals(scorer.score(prepared))


def with_bad(clients: int) -> pl.DataFrame:
    """`statements` of which the first so many clients' four rows each break a rule."""
    bad = pl.col("client").is_in([f"C{c}" for c in range(clients)])
    return statements().with_columns(status=pl.when(bad).then(99).otherwise("status"))


@pytest.mark.parametrize("method", ["score", "tables"])
def test_rejected_rows_are_told_and_kept_with_their_reasons(scorer: Scorer, method: str) -> None:
    with pytest.warns(UserWarning, match=r"4 of 32 raw rows were rejected") as told:
        found = getattr(scorer, method)(with_bad(1), pipeline="payment_history", max_reject_share=0.125)
    assert [Path(warning.filename) for warning in told] == [Path(__file__)]  # the line that asked for scores
    assert len(found if method == "score" else found["scores"]) + len(scorer.rejects) == 32
    assert scorer.rejects["line"].to_list() == [1, 2, 3, 4] and all(scorer.rejects["rules"].list.len() > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.score(statements(), pipeline="payment_history")
    assert scorer.rejects.is_empty()


def test_a_frame_of_mostly_bad_rows_is_an_error_and_no_short_answer(scorer: Scorer, tmp_path: Path) -> None:
    with_bad(5).write_csv(tmp_path / "raw.csv")
    for data, name in ((with_bad(5), "frame"), (tmp_path / "raw.csv", "raw.csv")):
        said = rf"{name}: 20 of 32 rows \(62\.50%\) are rejected, more than the 10\.00% allowed .+ every rejected row is in \.rejects"
        with pytest.raises(DataError, match=said):
            scorer.score(data, pipeline="payment_history")
        assert len(scorer.rejects) == 20
    with pytest.raises(DataError, match="4 of 32 rows"):
        scorer.tables(with_bad(1), pipeline="payment_history")
    with pytest.warns(UserWarning, match="20 of 32"):
        assert len(scorer.score(with_bad(5), pipeline="payment_history", max_reject_share=1)) == 12
    with pytest.raises(DataError, match=r"32 of 32 rows \(100\.00%\) are rejected, so none is left"):
        scorer.score(with_bad(8), pipeline="payment_history", max_reject_share=1)


def test_fewer_steps_can_be_asked_for(scorer: Scorer, prepared: Prepared) -> None:
    assert scorer.score(prepared, steps=1)["step"].to_list() == [1] * 32
    with pytest.raises(ConfigError, match="the model was trained for 2"):
        scorer.score(prepared, steps=3)


def test_a_frame_without_a_pipeline_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ConfigError, match="found a DataFrame and no pipeline"):
        scorer.score(statements())


def test_data_that_are_not_there_are_named(scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        scorer.score(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="nowhere"):
        trmfin.load(tmp_path / "nowhere")
