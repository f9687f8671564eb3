"""Runs of `python -m trmfin.puzzle`, one thread each; a run that has finished is read, not repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def result(out: Path, *arguments: str) -> dict[str, Any]:
    """What the run with these arguments found; its folder is `out`."""
    if not (out / "result.json").exists():
        command = [sys.executable, "-m", "trmfin.puzzle", *arguments, "--out", str(out), "--resume"]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        print(f"{out.name}: done", file=sys.stderr, flush=True)
    return json.loads((out / "result.json").read_text())  # type: ignore[no-any-return]


def results(runs: dict[Path, tuple[str, ...]], workers: int) -> dict[Path, dict[str, Any]]:
    """Each folder's result. runs: folder → arguments; workers: runs side by side."""
    with ThreadPoolExecutor(workers) as pool:
        each = {out: pool.submit(result, out, *arguments) for out, arguments in runs.items()}
        return {out: future.result() for out, future in each.items()}


def percent(values: list[float]) -> str:
    """The mean and, in brackets, each seed's share, in percent."""
    return f"{100 * sum(values) / len(values):.2f} ({' '.join(f'{100 * value:.1f}' for value in values)})"
