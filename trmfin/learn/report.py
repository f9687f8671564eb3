"""From predictions to the numbers of a report. Nothing here trains; every number can be computed again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from trmfin.errors import DataError
from trmfin.learn.calibrate import probability
from trmfin.learn.halting import EPSILONS, cheapest_epsilon, halted, steps_used
from trmfin.learn.intervals import fold_summary, group_numbers, resampled, student, summary
from trmfin.learn.metrics import TINIEST, Array, auc, decision_costs, log_loss, surprise
from trmfin.learn.policy import Costs
from trmfin.learn.tables import maker_words

SCARCE = {"auc": (auc, 1), "log_loss": (log_loss, -1)}  # few labels: metric → its function, and the sign of what is better


def models(predictions: pl.DataFrame) -> dict[str, Any]:
    """Each model's metrics at its last step: mean over folds (and seeds), folds, intervals; pooled ones under `pooled`.

    predictions: as `contest.hold` gives them, all labels. Raises DataError where models were tested on different rows.
    """
    return {name: _over_seeds([_one(part) for part in parts]) for name, parts in _by_model(predictions).items()}


def differences(predictions: pl.DataFrame, model: str = "trm") -> dict[str, Any]:
    """model - challenger, metric by metric, on the same folds and bootstrap draws; mean over seeds.

    Raises DataError where models were tested on different rows.
    """
    each = _by_model(predictions)
    mine = each.pop(model)
    return {name: _over_seeds([_less(*pair) for pair in zip(mine, theirs, strict=True)]) for name, theirs in each.items()}


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
    """Share of the log-loss between a constant guess and the oracle that each model closes, fold by fold, mean over seeds.

    truth: sample_id and probability of every tested sample; DataError where one has none. The constant is the test rows'
    own base rate, so that a drifting base rate is not credited to anyone. `alarm` names models that beat the oracle by
    more than two standard errors of the paired difference: a leak.
    """
    final = last_steps(predictions).join(truth.select("sample_id", "probability"), on="sample_id", how="left")
    if missing := final.filter(pl.col("probability").is_null())["sample_id"].n_unique():
        raise DataError(f"truth: {missing:,} of {final['sample_id'].n_unique():,} tested samples have none; prepare the world again")
    out: dict[str, Any] = {}
    for (name,), frame in final.group_by(["model"], maintain_order=True):
        parts = frame.partition_by("seed", "fold", maintain_order=True)
        shares, alarms = zip(*map(_gap, parts), strict=True)
        folds = np.reshape(shares, (frame["seed"].n_unique(), -1)).mean(0)
        out[str(name)] = {"mean": float(folds.mean()), "folds": folds.tolist(), "alarm": any(alarms)}
    return out


def expected_costs(predictions: pl.DataFrame, costs: Costs) -> dict[str, Any]:
    """Mean cost of a tested sample where each model's scores at or above the costs' cut-off are flagged, beside flagging none and all.

    Rows of all folds and seeds together.
    """
    cutoff = costs.cutoff
    prices, each = (costs.false_negative, costs.false_positive), {name: pl.concat(f) for name, f in _by_model(predictions).items()}
    y, members = next((frame["y"].to_numpy(), group_numbers(frame["group"])) for frame in each.values())

    def mean_cost(p: Array) -> dict[str, float]:
        spent = decision_costs(y, p, cutoff, prices)
        return resampled(lambda weight: [float(weight @ spent / weight.sum())], members)[0].to_json()

    return {
        **asdict(costs),
        "cutoff": cutoff,
        "flag_none": float(decision_costs(y, y, 2.0, prices).mean()),
        "flag_all": float(decision_costs(y, y, -1.0, prices).mean()),
        "models": {
            name: mean_cost(p) | {"flagged": float((p >= cutoff).mean())}
            for name, p in ((name, frame["p"].to_numpy()) for name, frame in each.items())
        },
    }


def notes(predictions: pl.DataFrame, few: pl.DataFrame | None, samples: int) -> list[str]:
    """What the tables leave out, in words.

    few: predictions of entries with few labels, where there are any. samples: how many there are, tested or not.
    """
    out = []
    if (tested := predictions["sample_id"].n_unique()) < samples:
        out.append(f"{samples - tested:,} of {samples:,} samples are not tested: their target is unknown, or no test window holds them.")
    if few is not None:
        if absent := sorted(set(predictions["model"]) - set(few["model"])):
            out.append(f"Not trained on few labels: {', '.join(absent)}.")
        if few["seed"].n_unique() < predictions["seed"].n_unique():
            out.append(f"Runs on few labels have seed {few['seed'][0]} alone; their draws of labels differ instead.")
    return out


def strangers(made_by: list[dict[str, Any]], mine: dict[str, Any]) -> list[str]:
    """One line that warns, where some models were not made as this report is.

    made_by: as `contest.makers` gives them. mine: this process' `contest.maker`.
    """
    others = [maker for maker in made_by if maker != mine | {"models": maker["models"]}]
    if not others:
        return []
    count, total = (sum(maker["models"] for maker in some) for some in (others, made_by))
    named = "; ".join(f"{maker['models']} by {maker_words(maker)}" for maker in others)
    return [f"WARNING: {count} of {total} models were made by other code than this report's, or on another machine: {named}."]


def scarcity(predictions: pl.DataFrame, model: str = "trm") -> list[dict[str, Any]]:
    """Metrics against the number of training labels: mean over draws with a t-interval, which one draw has not.

    A challenger has `less`: model - challenger on the same draws, and on how many of them the model is `ahead`.
    Raises DataError where they have not the same draws.
    """
    each: dict[tuple[int, str], dict[Any, list[float]]] = {}  # labels, model → draw, fold and seed → metrics
    keys = ["labels", "model", "draw", "fold", "seed"]
    for (labels, name, *draw), part in last_steps(predictions).partition_by(keys, as_dict=True).items():
        values = [metric(part["y"], part["p"]) for metric, _ in SCARCE.values()]
        each.setdefault((int(labels), str(name)), {})[tuple(draw)] = values
    out = []
    for (labels, name), draws in sorted(each.items()):
        row = {"model": name, "labels": labels, "draws": len(draws), **_over_draws(list(draws.values()))}
        if name != model and (mine := each.get((labels, model))):
            row["less"] = _less_draw_by_draw(mine, draws, f"{labels} labels: {name}")
        out.append(row)
    return out


def last_steps(predictions: pl.DataFrame) -> pl.DataFrame:
    """The rows of each model's last step, in a fixed order."""
    last = pl.col("step").max().over("model")
    return predictions.filter(pl.col("step") == last).sort("model", "seed", "fold", "sample_id")


def by_step(predictions: pl.DataFrame, model: str = "trm") -> tuple[pl.DataFrame, Array]:
    """A model's samples by seed, fold and sample_id, with y, and their log-odds after each step (n, S)."""
    mine = predictions.filter(pl.col("model") == model).sort("seed", "fold", "sample_id", "step")
    p = np.clip(mine["p"].to_numpy().reshape(-1, mine["step"].n_unique()), TINIEST, 1 - TINIEST)
    return mine.filter(pl.col("step") == 1).select("seed", "fold", "sample_id", "y"), np.log(p) - np.log1p(-p)


def _by_model(predictions: pl.DataFrame) -> dict[str, list[pl.DataFrame]]:
    """Each model's rows of its last step, one frame a seed, in the same order. Raises DataError where the rows differ."""
    final, tested = last_steps(predictions), ["fold", "sample_id", "y"]
    out: dict[str, list[pl.DataFrame]] = {}
    first = None
    for frame in final.partition_by("model", "seed", maintain_order=True):
        name, seed = frame.row(0, named=True)["model"], frame["seed"][0]
        first = frame if first is None else first
        if not frame.select(tested).equals(first.select(tested)):
            raise DataError(
                f"report: {name}, seed {seed}, has {frame.height:,} test rows that are not the {first.height:,} of {first['model'][0]}; "
                "models are compared on the same rows only, so evaluate again with another --out"
            )
        out.setdefault(str(name), []).append(frame)
    return out


def _one(frame: pl.DataFrame) -> dict[str, Any]:
    y, p, group = frame["y"], frame["p"], frame["group"]
    folds = fold_summary(y, p, frame["fold"], group)
    fits = frame.select("fold", "seconds").unique()["seconds"]
    return folds | {"pooled": summary(y, p, group), "seconds": {"median": fits.median(), "most": fits.max()}}


def _less(mine: pl.DataFrame, theirs: pl.DataFrame) -> dict[str, Any]:
    return fold_summary(mine["y"], mine["p"], mine["fold"], mine["group"], against=theirs["p"])


def _over_draws(values: list[list[float]]) -> dict[str, Any]:
    """values: draw by draw, one a metric of SCARCE."""
    out = {}
    for name, column in zip(SCARCE, np.array(values).T, strict=True):
        mean, count = float(column.mean()), len(column)
        half = student(count - 1) * float(column.std(ddof=1)) / count**0.5 if count > 1 else None
        out[name] = {"mean": mean} | ({} if half is None else {"low": mean - half, "high": mean + half})
    return out


def _less_draw_by_draw(mine: dict[Any, list[float]], theirs: dict[Any, list[float]], where: str) -> dict[str, Any]:
    if mine.keys() != theirs.keys():
        raise DataError(f"report: {where} has {len(theirs)} draws that are not the model's {len(mine)}; evaluate again with another --out")
    less = [np.subtract(values, theirs[draw]).tolist() for draw, values in mine.items()]
    ahead = (np.array(less) * [sign for _, sign in SCARCE.values()] > 0).sum(0)
    return {name: numbers | {"ahead": int(n)} for (name, numbers), n in zip(_over_draws(less).items(), ahead, strict=True)}


def _gap(part: pl.DataFrame) -> tuple[float, bool]:
    """Share of the way from the base rate to the oracle on one fold's rows, and whether the oracle is beaten."""
    y, p, oracle = (part[column].to_numpy() for column in ("y", "p", "probability"))
    loss, best, prior = surprise(y, p), surprise(y, oracle), surprise(y, np.full(len(y), y.mean()))
    ahead = best - loss
    share = float((prior.mean() - loss.mean()) / (prior.mean() - best.mean()))
    return share, bool(ahead.mean() > 2 * ahead.std(ddof=1) / np.sqrt(len(ahead)))


def _over_seeds(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of every number; beside a mean over folds each seed's own, `seeds`."""
    first = each[0]
    if len(each) == 1:
        return first
    if isinstance(first, dict):
        over = {key: _over_seeds([entry[key] for entry in each]) for key in first}
        return over | ({"seeds": [entry["mean"] for entry in each]} if "folds" in first else {})
    return np.mean(np.asarray(each, np.float64), axis=0).tolist()


def _mean(metric: Any, parts: list[pl.DataFrame]) -> float:
    return float(np.mean([metric(part["y"], part["p"]) for part in parts]))
