"""What `evaluate` found of the recipe that a run's task is learnt by, and of its challengers, printed beside it even where they win."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trmfin.errors import RunError
from trmfin.scoring.views import Run

OURS = "trm"
METRICS = {"auc": "AUC", "ap": "AP", "ks": "KS", "brier": "Brier", "log_loss": "log-loss"}
LESS = {"challenger": pl.String, "metric": pl.String, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64}


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """An evaluation's models, on the same samples."""

    task: str
    words: str  # how they were tested
    models: pl.DataFrame  # model, and of each of METRICS its mean over folds; ours first
    less: pl.DataFrame  # challenger, metric, difference (ours less the challenger's), low and high of its paired 95 % interval

    @property
    def challenged(self) -> bool:
        """Whether there are challengers: an evaluation of a finished bundle has none."""
        return len(self.models) > 1


def contest(run: Run, reports: Iterable[Path]) -> Contest | None:
    """The evaluation of this run's task among files that `evaluate` wrote, the last one of several; None where there is none."""
    found = [each for file in reports if (each := read_contest(file)).task == run.manifest["bundle"]["task"]]
    return found[-1] if found else None


def read_contest(file: Path) -> Contest:
    """Raises RunError where the file is no `report.json` of `evaluate`."""
    try:
        report = json.loads(file.read_text())
        models, differences = report["models"], report.get("differences", {})
        names = [OURS, *(name for name in models if name != OURS)]
        rows = [{"model": name} | {word: float(models[name][metric]["mean"]) for metric, word in METRICS.items()} for name in names]
        less = [
            (name, word, *(float(differences[name][metric][part]) for part in ("mean", "low", "high")))
            for name in names[1:]
            for metric, word in METRICS.items()
        ]
        return Contest(
            task=report["task"],
            words=report["protocol"]["words"],
            models=pl.DataFrame(rows),
            less=pl.DataFrame(less, schema=LESS, orient="row"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        said = f"{type(problem).__name__}: {problem}"
        raise RunError(f"{file}: is no report.json that `python -m trmfin.evaluate` wrote ({said}); give one") from problem
