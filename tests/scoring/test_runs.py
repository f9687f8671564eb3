"""Scoring runs: resumed ones end with the bytes of undisturbed ones, and a folder holds one run only."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import PANEL, bundle_for, contents, panel, saved
from trmfin.data.files import read_json
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError, DataError, RunError
from trmfin.learn.bundle import Bundle, provenance
from trmfin.learn.policy import Policy
from trmfin.scoring.folder import verify_run
from trmfin.scoring.runs import score_run
from trmfin.sequences.profile import counted
from trmfin.sequences.sequences import build

CLIENTS, SHARD = 120, 4  # 30 shards
HALTING = Policy(halt_epsilon=0.3)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """A saved bundle that halts early, and the folder of prepared data beside it."""
    folder = tmp_path_factory.mktemp("ready")
    prepared = panel(CLIENTS)
    return saved(prepared, bundle_for(prepared, PANEL, policy=HALTING), folder)


@pytest.fixture(scope="module")
def undisturbed(ready: tuple[Bundle, Path]) -> dict[str, bytes]:
    out = ready[1].parent / "undisturbed"
    score_run(*ready, out, shard_rows=SHARD, threads=1)
    return contents(out)


def stopped_after(ready: tuple[Bundle, Path], out: Path, rows: int, **settings: Any) -> None:
    """A run that ends in an exception once so many rows are scored."""

    class Stop(Exception):
        pass

    def tell(progress: Any) -> None:
        if progress.rows >= rows:
            raise Stop

    with pytest.raises(Stop):
        score_run(*ready, out, **({"shard_rows": SHARD, "threads": 1} | settings), tell=tell)


def test_a_run_has_one_row_a_sample_in_order(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    summary = score_run(*ready, tmp_path / "run", shard_rows=50, threads=1)
    table = pl.read_parquet(tmp_path / "run" / "scores" / "part-*.parquet")
    assert table.columns == ["sample_id", "as_of", "score", "step", "logits", "halts", "band"]
    assert table["sample_id"].to_list() == [f"s{c}" for c in range(CLIENTS)]
    assert table["as_of"].dtype == pl.Datetime("us", "UTC") and table["score"].is_between(0, 1).all()
    assert table["logits"].list.len().to_list() == table["halts"].list.len().to_list() == table["step"].to_list()
    assert table["band"].to_list() == [next(n for n, upper in HALTING.bands if s <= upper) for s in table["score"]]
    assert (summary.rows, summary.rows_now, sum(band.rows for band in summary.bands)) == (CLIENTS, CLIENTS, CLIENTS)
    assert 0 < summary.effort.sample_steps_saved < 1 and summary.effort.sample_steps == table["step"].sum()
    assert [len(pl.read_parquet(part)) for part in sorted((tmp_path / "run" / "scores").iterdir())] == [50, 50, 20]


def test_the_manifest_says_what_the_run_was_made_of(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    score_run(*ready, tmp_path / "run", threads=1, steps=3)
    manifest = verify_run(tmp_path / "run")
    assert manifest["bundle"]["sha256"] == ready[0].sha256
    assert manifest["inputs"]["files"] == {
        k: v for k, v in read_json(ready[1] / "manifest.json", RunError)["files"].items() if k != "rejects.parquet"
    }
    assert manifest["settings"] == {"steps": 3, "batch_size": manifest["settings"]["batch_size"], "threads": 1, "shard_rows": 50_000}
    assert manifest["policy"] == HALTING.to_json()
    assert manifest["times"]["started"] < manifest["times"]["finished"]
    assert {"torch", "trmfin"} <= manifest["versions"].keys()
    assert manifest["code"] == provenance(), "the commit that scored, where there is a checkout"
    steps = pl.read_parquet(tmp_path / "run" / "scores" / "part-*.parquet")["step"]
    calls = {"calls": int(steps.max()), "calls_in_full": 3}  # of one batch
    assert manifest["effort"] == calls | {"sample_steps": steps.sum(), "sample_steps_in_full": 3 * CLIENTS}


def test_the_manifest_says_what_data_looked_like_in_training_and_do_now(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    bundle, found = ready[0], []
    for rows in (SHARD, 50_000):
        score_run(*ready, tmp_path / str(rows), threads=1, shard_rows=rows)
        found.append(verify_run(tmp_path / str(rows))["profile"])
    sequences = build(Prepared.read(ready[1]), bundle.task).aligned(bundle.fitted)
    now = counted(sequences, np.arange(CLIENTS), bundle.profile.features)
    assert found[0] == found[1] == json.loads(json.dumps({"reference": bundle.profile.to_json(), "now": now.to_json()}))


def test_a_shard_that_was_scored_before_profiles_is_scored_again(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    stopped_after(ready, tmp_path / "run", 17)
    path = tmp_path / "run" / "progress.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(line.pop("cells")) for line in lines] == [3] * 4  # the fifth was being scored
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1, resume=True)
    assert summary.rows_now == CLIENTS and contents(tmp_path / "run") == undisturbed


def test_an_epsilon_takes_the_place_of_the_policys(ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"shard_rows": SHARD, "threads": 1}
    score_run(*ready, tmp_path / "mine", policy=Policy(halt_epsilon=7.0, version="2"), halt_epsilon=0.3, **asked)
    assert verify_run(tmp_path / "mine")["policy"] == replace(HALTING, version="2").to_json()
    tables = [name for name in undisturbed if name.startswith("scores/")]
    assert [(tmp_path / "mine" / name).read_bytes() == undisturbed[name] for name in tables] == [True] * 30
    summary = score_run(*ready, tmp_path / "whole", halt_epsilon=0.0, **asked)
    assert (summary.effort.sample_steps, summary.effort.sample_steps_saved) == (4 * CLIENTS, 0)
    assert verify_run(tmp_path / "whole")["policy"]["halt_epsilon"] == 0
    for impossible in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="halt_epsilon is "):
            score_run(*ready, tmp_path / "none", halt_epsilon=impossible)


def test_two_runs_of_the_same_have_the_same_bytes(ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1)
    assert contents(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("rows", [1, 17, 118])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path, rows: int
) -> None:
    stopped_after(ready, tmp_path / "run", rows)
    summary = score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1, resume=True)
    assert contents(tmp_path / "run") == undisturbed
    assert summary.rows - summary.rows_now == rows // SHARD * SHARD and summary.rows == CLIENTS


def test_a_killed_run_goes_on_to_the_same_bytes(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path, checkout: Path
) -> None:
    out, shards = tmp_path / "run", 0
    for _ in range(2):
        kill_amid(ready[1].parent, out, checkout, after=shards + random.randint(1, 8))
        kept = len((out / "progress.jsonl").read_bytes().splitlines())
        assert shards < kept < 30
        shards = kept
    score_run(*ready, out, shard_rows=SHARD, threads=1, resume=True)
    assert contents(out) == undisturbed


def kill_amid(folder: Path, out: Path, checkout: Path, after: int) -> None:
    """Score in another process; kill it at a random moment after so many shards."""
    command = [sys.executable, "-m", "trmfin.score", str(folder / "bundle"), str(folder / "prepared"), "--out", str(out)]
    command += ["--shard-rows", str(SHARD), "--threads", "1", "--resume"]
    with subprocess.Popen(command, cwd=checkout, stderr=subprocess.DEVNULL) as process:
        progress, until = out / "progress.jsonl", time.monotonic() + 60
        while not progress.exists() or len(progress.read_bytes().splitlines()) < after:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)


def test_a_changed_finished_shard_is_made_again(ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    stopped_after(ready, tmp_path / "run", 50)
    path = tmp_path / "run" / "scores" / "part-00003.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1, resume=True)
    assert contents(tmp_path / "run") == undisturbed


def another_bundle(ready: tuple[Bundle, Path]) -> dict[str, Any]:
    return {"bundle": replace(ready[0], sha256="f" * 64)}


def another_data(ready: tuple[Bundle, Path]) -> dict[str, Any]:
    folder = ready[1].parent / "other"
    panel(CLIENTS + 2).write(folder)
    return {"prepared": folder}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_bundle, r"bundle\.sha256 is \w+…, asked for ffffffffffff…"),
        (another_data, r"inputs\.files\.events\.parquet is .*inputs\.rows is 120, asked for 122"),
        (lambda ready: {"steps": 2}, r"settings\.steps is 4, asked for 2"),
        (lambda ready: {"shard_rows": 5}, r"settings\.shard_rows is 4, asked for 5"),
        (lambda ready: {"threads": 2}, r"settings\.threads is 1, asked for 2"),
        (lambda ready: {"policy": Policy(halt_epsilon=0.1)}, r"policy\.halt_epsilon is 0\.3, asked for 0\.1"),
        (lambda ready: {"halt_epsilon": 0.2}, r"policy\.halt_epsilon is 0\.3, asked for 0\.2"),
    ],
)
def test_another_run_is_refused_with_what_differs(
    ready: tuple[Bundle, Path], tmp_path: Path, change: Callable[[tuple[Bundle, Path]], dict[str, Any]], said: str
) -> None:
    same: dict[str, Any] = {"bundle": ready[0], "prepared": ready[1], "shard_rows": SHARD, "threads": 1}
    stopped_after(ready, tmp_path / "run", 9)
    with pytest.raises(RunError, match=said):
        score_run(**(same | change(ready)), out=tmp_path / "run", resume=True)


def test_an_interrupted_run_is_not_overwritten_unasked(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    stopped_after(ready, tmp_path / "run", 9)
    with pytest.raises(RunError, match="holds an interrupted run; go on with --resume"):
        score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1)


def test_a_finished_run_is_never_overwritten_and_resume_checks_it(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = score_run(*ready, out, threads=1)
    with pytest.raises(RunError, match="holds a finished run"):
        score_run(*ready, out, threads=1)
    again = score_run(*ready, out, threads=1, resume=True)
    assert (again.rows, again.rows_now, again.bands, again.effort) == (CLIENTS, 0, done.bands, done.effort)
    (out / "scores" / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"scores/part-00000\.parquet was changed"):
        score_run(*ready, out, threads=1, resume=True)


def test_a_folder_with_other_files_is_left_alone(ready: tuple[Bundle, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=r"holds 'thesis\.txt', which is no part of a run"):
        score_run(*ready, tmp_path, threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("settings", [{"shard_rows": 0}, {"threads": 0}, {"batch_size": -1}, {"steps": 9}])
def test_impossible_settings_are_refused_before_anything_is_written(
    ready: tuple[Bundle, Path], tmp_path: Path, settings: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        score_run(*ready, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["pathlib.Path.iterdir", "pathlib.Path.unlink"])
def test_a_folder_that_the_disk_refuses_is_one_clear_error_and_the_run_can_go_on(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(5, "Input/output error")

    settings: dict[str, Any] = {"shard_rows": SHARD, "threads": 1, "resume": True}
    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(RunError, match=r"Input/output error\); \w") as caught:
            score_run(*ready, tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    score_run(*ready, tmp_path / "run", **settings)
    assert contents(tmp_path / "run") == undisturbed


def test_data_prepared_again_while_they_are_scored_are_never_mixed(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "prepared"
    shutil.copytree(ready[1], folder)

    def prepare_again(progress: Any) -> None:
        if progress.rows == 2 * SHARD:
            reordered.write(folder)

    found = Prepared.read(folder)
    reordered = replace(found, events=found.events.reverse())
    with pytest.raises(DataError, match="was prepared again while it was read, so rows of both would be mixed"):
        score_run(ready[0], folder, tmp_path / "run", shard_rows=SHARD, threads=1, tell=prepare_again)
    found.write(folder)
    score_run(ready[0], folder, tmp_path / "run", shard_rows=SHARD, threads=1, resume=True)
    assert contents(tmp_path / "run") == undisturbed


def test_the_order_of_events_changes_no_byte(ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    prepared = Prepared.read(ready[1])
    replace(prepared, events=prepared.events.sample(fraction=1, shuffle=True, seed=3)).write(tmp_path / "prepared")
    score_run(ready[0], tmp_path / "prepared", tmp_path / "run", shard_rows=SHARD, threads=1)
    found = contents(tmp_path / "run")
    assert found.pop("manifest.json") != undisturbed["manifest.json"]  # it names other bytes of events
    assert found.items() <= undisturbed.items() and len(found) == 30


def test_a_full_disk_is_one_clear_error_and_the_run_can_go_on(
    ready: tuple[Bundle, Path], undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(RunError, match="No space left on device"):
            score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1)
    score_run(*ready, tmp_path / "run", shard_rows=SHARD, threads=1, resume=True)
    assert contents(tmp_path / "run") == undisturbed
