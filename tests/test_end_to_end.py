"""The credit file through every command, in this process: prepare, train, score, evaluate; and what a score must not depend on."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.learn import tiny
from trmfin import evaluate, prepare, score, train
from trmfin.command import application
from trmfin.data.files import read_raw
from trmfin.learn.metrics import auc

RECIPE = """
preset = "tiny"
[training]
epochs = 3
pretrain_epochs = 0.1
validations = 2
"""
LABEL = "default_next_month"
PROTECTED = ("SEX", "AGE", "MARRIAGE")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with tiny.few_draws():
        yield


def run(command: ModuleType, *arguments: object) -> None:
    result = CliRunner().invoke(application(command.main), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def scored(raw: pl.DataFrame, bundle: Path, folder: Path) -> pl.DataFrame:
    """Scores and the path to them of the clients of a raw table, in its order."""
    raw.write_csv(folder / "clients.csv")
    run(score, bundle, folder / "clients.csv", "--pipeline", "payment_history", "--out", folder / "run", "--threads", 1)
    return pl.read_parquet(folder / "run" / "scores" / "*.parquet")


@pytest.fixture(scope="module")
def clients(real_data: Path) -> pl.DataFrame:
    """The first 1,500 rows of the credit file, as text."""
    return read_raw(real_data / "credit_default_taiwan" / "default_of_credit_card_clients.csv").frame.head(1_500)


@pytest.fixture(scope="module")
def bundle(clients: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained on the first 1,000 clients."""
    folder = tmp_path_factory.mktemp("trained")
    clients.head(1_000).write_csv(folder / "clients.csv")
    (folder / "recipe.toml").write_text(RECIPE)
    run(prepare, "payment_history", folder / "clients.csv", "--out", folder / "prepared")
    options = ("--config", folder / "recipe.toml", "--workers", 1)
    run(train, "payment_history", folder / "prepared", "--out", folder / "bundle", *options)
    return folder / "bundle"


@pytest.fixture(scope="module")
def others(clients: pl.DataFrame) -> pl.DataFrame:
    """The 500 clients that the bundle was not trained on."""
    return clients.tail(500)


@pytest.fixture(scope="module")
def scores(others: pl.DataFrame, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return scored(others, bundle, tmp_path_factory.mktemp("scored"))


def test_a_trained_bundle_ranks_clients_it_has_not_seen(others: pl.DataFrame, scores: pl.DataFrame) -> None:
    assert scores["sample_id"].equals(others["ID"].alias("sample_id")) and scores["score"].is_between(0, 1).all()
    assert auc(others[LABEL].cast(pl.Int64), scores["score"]) > 0.6


def test_an_evaluation_of_the_bundle_judges_the_scores_that_score_gives(
    others: pl.DataFrame, bundle: Path, scores: pl.DataFrame, tmp_path: Path
) -> None:
    others.write_csv(tmp_path / "clients.csv")
    run(prepare, "payment_history", tmp_path / "clients.csv", "--out", tmp_path / "prepared")
    run(evaluate, "payment_history", tmp_path / "prepared", "--bundle", bundle, "--out", tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    expected = auc(others[LABEL].cast(pl.Int64), scores["score"])
    assert report["models"]["trm"]["auc"]["mean"] == pytest.approx(expected, abs=1e-4)
    assert report["protocol"]["words"].endswith(" on 500 samples")


def test_scores_do_not_depend_on_protected_attributes(others: pl.DataFrame, bundle: Path, scores: pl.DataFrame, tmp_path: Path) -> None:
    mixed = others.with_columns(pl.col(PROTECTED).reverse())
    assert all((mixed[name] != others[name]).any() for name in PROTECTED)
    assert scored(mixed, bundle, tmp_path).equals(scores)


def test_scores_do_depend_on_the_newest_status(others: pl.DataFrame, bundle: Path, scores: pl.DataFrame, tmp_path: Path) -> None:
    """So that equal scores above say something."""
    assert not scored(others.with_columns(pl.col("PAY_0").reverse()), bundle, tmp_path)["score"].equals(scores["score"])


def test_without_protected_attributes_and_label_scores_are_the_same(
    others: pl.DataFrame, bundle: Path, scores: pl.DataFrame, tmp_path: Path
) -> None:
    assert scored(others.drop(LABEL, *PROTECTED), bundle, tmp_path).equals(scores)


@pytest.mark.parametrize("headers", [{LABEL: "default payment next month"}, {"PAY_0": "PAY_1"}])
def test_older_headers_give_the_same_scores(
    others: pl.DataFrame, bundle: Path, scores: pl.DataFrame, tmp_path: Path, headers: dict[str, str]
) -> None:
    assert scored(others.rename(headers), bundle, tmp_path).equals(scores)
