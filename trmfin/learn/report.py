"""From predictions to the numbers of a report. Nothing here trains; every number can be computed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from trmfin.learn.calibrate import probability
from trmfin.learn.halting import EPSILONS, cheapest_epsilon, halted, steps_used
from trmfin.learn.intervals import fold_summary, student, summary
from trmfin.learn.metrics import Array, auc, log_loss

TINIEST = np.finfo(np.float64).eps  # probabilities are held so far from 0 and 1 where a logarithm is taken


def models(predictions: pl.DataFrame) -> dict[str, Any]:
    """Each model's metrics at its last step: mean over folds (and seeds), folds, intervals; pooled ones under `pooled`.

    predictions: as `contest.hold` gives them, all labels.
    """
    final = last_steps(predictions)
    return {
        str(name): _over_seeds([_one(part) for part in frame.partition_by("seed")])
        for (name,), frame in final.group_by(["model"], maintain_order=True)
    }


def differences(predictions: pl.DataFrame, model: str = "trm") -> dict[str, Any]:
    """model - challenger, metric by metric, on the same folds and bootstrap draws; first seed."""
    final = last_steps(predictions).filter(pl.col("seed") == pl.col("seed").min()).sort("fold", "sample_id")
    mine = final.filter(pl.col("model") == model)
    others = final.filter(pl.col("model") != model).partition_by("model", as_dict=True, maintain_order=True)
    return {
        str(name): fold_summary(mine["y"], mine["p"], mine["fold"], mine["group"], against=theirs["p"])
        for (name,), theirs in others.items()
        if len(theirs) == len(mine)
    }


def steps(predictions: pl.DataFrame, model: str = "trm") -> list[dict[str, float]]:
    """The model's mean AUC and log-loss over folds and seeds at each recursion step."""
    mine = predictions.filter(pl.col("model") == model)
    out = []
    for (step,), frame in mine.group_by(["step"], maintain_order=True):
        parts = frame.partition_by("seed", "fold")
        out.append({"step": int(str(step)), "auc": _mean(auc, parts), "log_loss": _mean(log_loss, parts)})
    return out


def halting(predictions: pl.DataFrame, model: str = "trm") -> list[dict[str, Any]]:
    """What early halting costs and saves: a sample stops once a step moves its log-odds by less than epsilon.

    `steps_saved` is the share of samples' supervision steps that are not taken. Settled samples leave their batch, so that
    it is the share of the core's work; what comes before the first step is done in any case. `cheapest` marks the largest
    epsilon that costs no more AUC than `halting.TOLERANCE`.
    """
    rows, log_odds = by_step(predictions, model)
    cheapest = cheapest_epsilon(log_odds, rows["y"], folds=rows.select(pl.struct("seed", "fold").rank("dense")).to_series())
    out = []
    for epsilon in EPSILONS:
        parts = rows.with_columns(p=probability(halted(log_odds, epsilon))).partition_by("seed", "fold")
        saved = 1 - steps_used(log_odds, epsilon).mean() / log_odds.shape[1]
        line = {"epsilon": epsilon, "auc": _mean(auc, parts), "log_loss": _mean(log_loss, parts), "steps_saved": float(saved)}
        out.append(line | {"cheapest": epsilon == cheapest})
    return out


def gaps_closed(predictions: pl.DataFrame, truth: pl.DataFrame) -> dict[str, Any]:
    """Share of the log-loss between a constant guess and the oracle that each model closes, fold by fold, first seed.

    The constant is the test rows' own base rate, so that a drifting base rate is not credited to anyone. `alarm` names
    models that beat the oracle by more than two standard errors of the paired difference: a leak.
    """
    final = (
        last_steps(predictions)
        .filter(pl.col("seed") == pl.col("seed").min())
        .join(truth.select("sample_id", "probability"), on="sample_id", how="inner")
    )
    out: dict[str, Any] = {}
    for (name,), frame in final.group_by(["model"], maintain_order=True):
        shares, alarm = [], False
        for part in frame.sort("fold").partition_by("fold", maintain_order=True):
            y, p, oracle = (part[column].to_numpy() for column in ("y", "p", "probability"))
            loss, best, prior = _losses(y, p), _losses(y, oracle), _losses(y, np.full(len(y), y.mean()))
            shares.append(float((prior.mean() - loss.mean()) / (prior.mean() - best.mean())))
            ahead = best - loss
            alarm |= bool(ahead.mean() > 2 * ahead.std(ddof=1) / np.sqrt(len(ahead)))
        out[str(name)] = {"mean": float(np.mean(shares)), "folds": shares, "alarm": alarm}
    return out


def scarcity(predictions: pl.DataFrame) -> list[dict[str, Any]]:
    """Metrics against the number of training labels: mean over draws with a t-interval."""
    final = last_steps(predictions)
    out = []
    for (model, labels), frame in final.group_by(["model", "labels"], maintain_order=True):
        parts = frame.partition_by("draw", "fold", "seed")
        row: dict[str, Any] = {"model": str(model), "labels": int(str(labels)), "draws": len(parts)}
        for name, metric in (("auc", auc), ("log_loss", log_loss)):
            values = np.array([metric(part["y"], part["p"]) for part in parts])
            half = student(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
            row[name] = {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}
        out.append(row)
    return sorted(out, key=lambda row: (row["labels"], row["model"]))


def last_steps(predictions: pl.DataFrame) -> pl.DataFrame:
    """The rows of each model's last step, in a fixed order."""
    last = pl.col("step").max().over("model")
    return predictions.filter(pl.col("step") == last).sort("model", "seed", "fold", "sample_id")


def by_step(predictions: pl.DataFrame, model: str = "trm") -> tuple[pl.DataFrame, Array]:
    """A model's samples by seed, fold and sample_id, with y, and their log-odds after each step (n, S)."""
    mine = predictions.filter(pl.col("model") == model).sort("seed", "fold", "sample_id", "step")
    p = np.clip(mine["p"].to_numpy().reshape(-1, mine["step"].n_unique()), TINIEST, 1 - TINIEST)
    return mine.filter(pl.col("step") == 1).select("seed", "fold", "sample_id", "y"), np.log(p) - np.log1p(-p)


def _one(frame: pl.DataFrame) -> dict[str, Any]:
    y, p, group = frame["y"], frame["p"], frame["group"]
    folds = fold_summary(y, p, frame["fold"], group)
    fits = frame.select("fold", "seconds").unique()["seconds"]
    return folds | {"pooled": summary(y, p, group), "seconds": {"mean": fits.mean(), "most": fits.max()}}


def _over_seeds(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of every number."""
    first = each[0]
    if len(each) == 1:
        return first
    if isinstance(first, dict):
        return {key: _over_seeds([entry[key] for entry in each]) for key in first}
    return np.mean(np.asarray(each, np.float64), axis=0).tolist()


def _mean(metric: Any, parts: list[pl.DataFrame]) -> float:
    return float(np.mean([metric(part["y"], part["p"]) for part in parts]))


def _losses(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    p = np.clip(p, TINIEST, 1 - TINIEST)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))
