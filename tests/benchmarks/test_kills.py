"""The tables of `kills.py`: what was hit, and that a difference is seen. Two kills here; ten are in docs/results."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.kills import found, moments, widest


def test_kills_are_spread_over_the_whole_time_and_drawn_again_the_same() -> None:
    drawn = moments(10, 5.0, seed=3)
    assert [int(second / 0.5) for second in drawn] == list(range(10)) and drawn == moments(10, 5.0, seed=3) != moments(10, 5.0, seed=4)


def test_what_a_run_was_doing_is_read_from_its_folder(tmp_path: Path) -> None:
    seen = [found(tmp_path / "run")]
    (tmp_path / "run" / "scores").mkdir(parents=True)
    for name, text in ((".lock", ""), ("job.json", "{}"), ("progress.jsonl", "{}\n{}\n{"), ("scores/part-00000.parquet", "")):
        (tmp_path / "run" / name).write_text(text)
        seen.append(found(tmp_path / "run"))
    (tmp_path / "run" / "manifest.json").write_text("{}")
    seen.append(found(tmp_path / "run"))
    assert seen == [("starting", 0), ("preparing", 0), ("scoring", 0), ("scoring", 2), ("scoring", 2), ("ended", 1)]


def test_the_widest_difference_is_between_any_two_for_one_sample() -> None:
    assert widest([np.array([0.1, 0.5]), np.array([0.2, 0.5]), np.array([0.3, 0.6])]) == np.ptp([0.1, 0.3])


def test_killed_runs_end_with_the_same_bytes(checkout: Path) -> None:
    command = [sys.executable, "tests/benchmarks/kills.py", "--clients", "150", "--kills", "2"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[-1] for line in lines if line and line[0] in ("1", "2") and line[1] != "and"] == ["yes", "yes"]
