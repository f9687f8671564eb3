"""What `evaluate` found of the recipe that a run's task is learnt by, and of its challengers, printed beside it even where they win."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trmfin.errors import RunError
from trmfin.scoring.views import Run

OURS = "trm"
METRICS = {"auc": "AUC", "ap": "AP", "ks": "KS", "brier": "Brier", "log_loss": "log-loss"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """An evaluation's models, on the same samples."""

    words: str  # how they were tested
    models: pl.DataFrame  # model, and of each of METRICS its mean over folds; ours first
    less: pl.DataFrame  # challenger, metric, difference (ours less the challenger's), low and high of its paired 95 % interval


def contest(run: Run, reports: Iterable[Path]) -> Contest | None:
    """The evaluation of this run's task among files that `evaluate` wrote, the last one of several; None where there is none."""
    found = [report for file in reports if (report := read_report(file))["pipeline"] == run.manifest["bundle"]["task"]]
    if not found:
        return None
    models, differences = found[-1]["models"], found[-1].get("differences", {})
    names = [OURS, *(name for name in models if name != OURS)]
    rows = [{"model": name} | {word: models[name][metric]["mean"] for metric, word in METRICS.items()} for name in names]
    less = [
        {"challenger": name, "metric": word} | _interval(differences[name][metric])
        for name in names[1:]
        for metric, word in METRICS.items()
        if metric in differences.get(name, {})
    ]
    schema = {"challenger": pl.String, "metric": pl.String, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return Contest(words=found[-1]["protocol"]["words"], models=pl.DataFrame(rows), less=pl.DataFrame(less, schema=schema))


def read_report(file: Path) -> dict[str, Any]:
    """Raises RunError where the file is no `report.json` of `evaluate`."""
    try:
        report: dict[str, Any] = json.loads(file.read_text())
        if OURS not in report["models"] or not {"pipeline", "protocol"} <= set(report):
            raise KeyError(OURS)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{file}: is no report.json that `python -m trmfin.evaluate` wrote ({problem}); give one") from problem
    return report


def _interval(told: Mapping[str, float]) -> dict[str, float]:
    return {"difference": told["mean"], "low": told["low"], "high": told["high"]}
