"""The sample data, and `make demo` on them: they are what today's code makes, and the demo scores and judges all of them."""

import json
import re
import shlex
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from tests.learn import tiny
from trmfin.command import application
from trmfin.data.files import sha256_of
from trmfin.explaining.records import read_records
from trmfin.explaining.replay import Replayer
from trmfin.learn.bundle import Bundle
from trmfin.learn.recipe import Recipe
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import ModelConfig
from trmfin.scoring.folder import verify_run

PREPARE, SCORE, EXPLAIN, EVALUATE = range(4)  # the demo's commands in their order


@pytest.fixture(scope="module")
def sample(checkout: Path) -> Path:
    return checkout / "sample_data" / "payments"


@pytest.fixture(scope="module")
def demo(checkout: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder that the four commands of `make demo` fill, and what each printed."""
    out, printed = tmp_path_factory.mktemp("demo"), []
    makefile = (checkout / "Makefile").read_text()
    recipe = makefile[makefile.index("\ndemo:") : makefile.index("\n\n", makefile.index("\ndemo:"))]
    with tiny.few_draws():
        for name, options in re.findall(r"^\t\$\(PY\) -m trmfin\.(\w+) (.+)$", recipe, re.MULTILINE):
            words = shlex.split(options.replace("$(SAMPLE)", str(sample)).replace("$(DEMO)", str(out)))
            result = CliRunner().invoke(application(import_module(f"trmfin.{name}").main), words)
            assert result.exit_code == 0, result.output
            printed.append(result.stdout)
    assert len(printed) == 4
    return out, printed


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def scores(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "scores" / "*.parquet")


def test_the_demo_scores_every_sample_and_says_into_which_band_it_falls(sample: Path, demo: tuple[Path, list[str]]) -> None:
    out, printed = demo
    samples = pl.read_parquet(sample / "prepared" / "samples.parquet")["sample_id"]
    assert len(samples) == 2672 and scores(out / "run")["sample_id"].equals(samples)
    assert f"\nwrote {out / 'prepared'}: 2,672 events, 2,672 samples\n" in printed[PREPARE]
    assert printed[SCORE].startswith("scored 2,672 rows in ")
    bands = re.findall(r"^(?:low|medium|high) +\d\.\d{3} +([\d,]+) +\d+\.\d%$", printed[SCORE], re.MULTILINE)
    assert len(bands) == 3 and sum(int(rows.replace(",", "")) for rows in bands) == 2672


def test_the_demo_judges_the_bundle_on_every_sample_and_writes_its_report(demo: tuple[Path, list[str]]) -> None:
    out, printed = demo
    assert {"report.json", "report.md", "predictions.parquet", "calibration.png", "steps.png"} <= {
        p.name for p in (out / "report").iterdir()
    }
    auc = read(out / "report" / "report.json")["models"]["trm"]["auc"]["mean"]
    assert re.search(r"^# payment_history: bundle [0-9a-f]{12} on 2,672 samples$", printed[EVALUATE], re.MULTILINE)
    assert f"\n| trm | {auc:.4f} [" in printed[EVALUATE] and auc > 0.75
    assert (out / "report" / "report.md").read_text() in printed[EVALUATE]


def test_the_demo_explains_the_highest_scores(demo: tuple[Path, list[str]]) -> None:
    out, printed = demo
    assert f"{out / 'run'}: 25 records, each byte and the chain as written" in printed[EXPLAIN]
    best = scores(out / "run").sort("score", descending=True)["sample_id"][0]
    assert f"\nthe highest score:\n\n{best}  as of " in printed[EXPLAIN]


def test_the_sample_runs_records_stand(sample: Path) -> None:
    manifest = verify_run(sample / "run")
    replayer, records = Replayer(Bundle.load(sample / "bundle"), manifest), list(read_records(sample / "run", manifest))
    assert len(records) == 160
    assert [what for place in range(0, 160, 16) for what in replayer.again(records[place], place).differences] == []


def test_the_sample_bundle_is_of_todays_default_tiny_recipe(sample: Path) -> None:
    card, recipe = read(sample / "bundle" / "card.json"), Recipe.default("tiny")
    known = set(recipe.model.to_json()) & set(card["model"])  # the card also counts parameters; a field younger than it has its default
    assert ModelConfig.from_json({name: card["model"][name] for name in known}) == recipe.model
    assert TrainSettings.from_json(card["training"]) == recipe.training


def test_the_prepared_sample_holds_what_prepare_makes_of_the_raw_one(sample: Path, demo: tuple[Path, list[str]]) -> None:
    kept, made = (read(folder / "prepared" / "manifest.json") for folder in (sample, demo[0]))
    assert kept["inputs"] == made["inputs"] and kept["counts"] == made["counts"]
    for name in kept["files"]:
        assert kept["files"][name] == sha256_of(sample / "prepared" / name)
        assert_frame_equal(*(pl.read_parquet(folder / "prepared" / name) for folder in (sample, demo[0])), check_exact=True)


def test_the_prepared_sample_is_what_prepare_makes_byte_for_byte(sample: Path, demo: tuple[Path, list[str]]) -> None:
    made_with = read(sample / "run" / "manifest.json")["versions"]["polars"]
    if made_with != version("polars"):
        pytest.skip(f"the sample's files were written with polars {made_with}; another version may write other bytes")
    kept, made = (read(folder / "prepared" / "manifest.json") for folder in (sample, demo[0]))
    assert kept["files"] == made["files"]


def test_the_sample_run_is_whole_and_of_the_sample_bundle_and_data(sample: Path) -> None:
    manifest = verify_run(sample / "run")
    assert manifest["bundle"]["sha256"] == sha256_of(sample / "bundle" / "manifest.json")
    assert manifest["inputs"]["files"] == {name: sha256_of(sample / "prepared" / name) for name in manifest["inputs"]["files"]}
    assert set(manifest["inputs"]["files"]) == {"events.parquet", "samples.parquet"}


def test_the_sample_run_holds_the_scores_that_the_bundle_gives_now(sample: Path, demo: tuple[Path, list[str]]) -> None:
    kept, now = scores(sample / "run"), scores(demo[0] / "run")
    assert kept.schema == now.schema
    assert_frame_equal(kept.select("sample_id", "as_of", "score"), now.select("sample_id", "as_of", "score"), rel_tol=0, abs_tol=1e-5)
