"""What an evaluation reports and the predictions behind it: of a contest, where models are trained, or of a finished bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from trmfin.data.prepared import Prepared
from trmfin.errors import DataError
from trmfin.learn import report as numbers
from trmfin.learn.alerts import alerts
from trmfin.learn.baselines import CHALLENGERS
from trmfin.learn.bundle import Bundle
from trmfin.learn.contest import WINDOWS, Contest, Entry, bundle_predictions, drawn, hold, maker, makers, window_names
from trmfin.learn.fairness import fairness
from trmfin.learn.fit import Progress
from trmfin.learn.policy import Costs, Policy
from trmfin.learn.training import moment
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.splits import check_answers, label_delay
from trmfin.sequences.task import Task
from trmfin.sequences.transforms import DAY


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A report, and the predictions that every number of it can be computed from again; their columns as `hold` gives them."""

    report: dict[str, Any]
    predictions: pl.DataFrame  # of models trained on all labels
    few: pl.DataFrame | None = None  # of models trained on few of them, which `scarcity` is computed from


def entries(contest: Contest, baselines: list[str], seeds: int, sizes: list[int], draws: int) -> tuple[list[Entry], list[Entry]]:
    """All that is to be trained: on all labels, and on few.

    sizes: numbers of labels, each drawn `draws` times. Raises ConfigError where a fold has fewer, DataError where a fold tests one
    answer only.
    """
    check_answers(contest.sequences, (split.test for split in contest.splits))
    folds = range(len(contest.splits))
    quick = (*CHALLENGERS, WINDOWS)  # first: they find bad data before hours of training
    names = sorted(["trm", *baselines], key=lambda name: name not in quick)
    full = [Entry(model=name, seed=seed, fold=fold) for seed in range(seeds) for fold in folds for name in names]
    few = [
        Entry(model=name, seed=0, fold=draw % len(folds), labels=size, draw=draw)
        for size in sizes
        for draw in range(draws)
        for name in names
        if name != "tiny"
    ]
    for entry in few:  # more labels than there are: said before training
        drawn(contest, contest.splits[entry.fold].train, entry)
    return full, few


def of_contest(
    contest: Contest,
    data: Prepared,
    protocol: Protocol,
    entered: tuple[list[Entry], list[Entry]],
    folder: Path,
    *,
    fair: bool,
    tell: Callable[[Entry, int, Progress], None],
    judging: Callable[[], None],
) -> Evaluation:
    """Train and test all entries.

    entered: as `entries` gives them. folder: where `hold` keeps each entry's predictions. fair: with fairness tables. judging: called
    when all have answered, before their intervals are drawn.
    Raises DataError where a sample lacks its true probability, and what `hold` raises.
    """
    full, few = entered
    truth = _truth(data, contest.sequences.task)
    predictions, drawn_few = hold(contest, full, folder, tell), hold(contest, few, folder, tell) if few else None
    judging()
    report = {
        "protocol": protocol.to_json() | {"words": _words(protocol, len(contest.sequences), label_delay(contest.sequences))},
        "models_made_by": (made_by := makers(full + few, folder)),
        "notes": numbers.notes(predictions, drawn_few, len(contest.sequences)) + numbers.strangers(made_by, maker()),
        "windows": window_names(contest),
        "differences": numbers.differences(predictions),
        "recipe": {"model": contest.recipe.model.to_json(), "training": contest.recipe.training.to_json()},
        "scarcity": [] if drawn_few is None else numbers.scarcity(drawn_few),
    }
    task = contest.sequences.task
    report |= _of_any(predictions, data, task, Policy().costs, truth, fair) | _alerts(predictions, data, task, protocol)
    return Evaluation(report=report, predictions=predictions, few=drawn_few)


def of_bundle(bundle: Bundle, data: Prepared, protocol: Protocol, *, whole: bool, fair: bool) -> Evaluation:
    """Judge a finished bundle; nothing is trained, and `seconds` is what its answers took.

    protocol: what models of this use are judged by. whole: on all samples with a known target, and not only those that it tests.
    Raises DataError where no target is known, or a sample lacks its true probability, and as `bundle_predictions` does.
    """
    truth, began = _truth(data, bundle.task), time.monotonic()
    predictions = bundle_predictions(bundle, data, None if whole else protocol)
    predictions = predictions.with_columns(seconds=pl.lit(time.monotonic() - began))
    tested = predictions.select("sample_id", "fold").unique().join(data.samples.select("sample_id", "as_of"), on="sample_id")
    asked = replace(protocol, train_days=0)  # of what trained the bundle its card tells
    how = f" on {len(tested):,} samples" if whole else f", {_words(asked, len(tested))}"
    seen = _seen(bundle.card, data, tested["as_of"], by_time=protocol.kind == "walk_forward")
    report: dict[str, Any] = {
        "protocol": {"kind": "bundle", "bundle": bundle.sha256, "words": f"bundle {bundle.sha256[:12]}{how}{seen}"},
        "notes": numbers.notes(predictions, None, len(data.samples)),
        "windows": ["all samples"] if whole else _days(tested),
    }
    report |= _of_any(predictions, data, bundle.task, bundle.policy.costs, truth, fair, bundle.policy.cutoff)
    if not whole:
        report["protocol"]["tested"] = asked.to_json()
        report |= _alerts(predictions, data, bundle.task, protocol)
    return Evaluation(report=report, predictions=predictions)


def _days(tested: pl.DataFrame) -> list[str]:
    """The days that each window's samples span. tested: fold and as_of."""
    day = pl.col("as_of").dt.date()
    spans = tested.group_by("fold").agg(first=day.min(), last=day.max()).sort("fold")
    return [f"{span['first']} to {span['last']}" for span in spans.iter_rows(named=True)]


def _alerts(predictions: pl.DataFrame, data: Prepared, task: Task, protocol: Protocol) -> dict[str, Any]:
    """The section of what a team finds, where the protocol says how much they can look at."""
    if not protocol.daily_alerts:
        return {}
    return {"alerts": alerts(predictions, data.samples, protocol.daily_alerts, _value(task, data.samples))}


def _of_any(
    predictions: pl.DataFrame,
    data: Prepared,
    task: Task,
    costs: Costs,
    truth: pl.DataFrame | None,
    fair: bool,
    cutoff: float | None = None,
) -> dict[str, Any]:
    """The numbers of any predictions, of a contest or of a bundle, which has a policy's cut-off."""
    models = numbers.models(predictions)
    return {
        "task": task.name,
        "models": models,
        "seconds": {name: entry["seconds"] for name, entry in models.items()},
        "costs": numbers.expected_costs(predictions, costs),
        "fairness": fairness(predictions, data.samples, task.protected, cutoff) if fair else None,
        "steps": numbers.steps(predictions),
        "halting": numbers.halting(predictions),
        "gaps_closed": {} if truth is None else numbers.gaps_closed(predictions, truth),
    }


def _seen(card: dict[str, Any], data: Prepared, as_of: pl.Series, *, by_time: bool) -> str:
    """A warning where a bundle is judged on what it learnt: samples of the very file that it was trained on or adapted to, up to the
    last as_of of those that it learnt.

    by_time: samples of another file count as well, where time is what parts training from test. Not so where clients are dealt: others
    at the same time are a test. as_of: of the samples that are judged.
    """
    part, learnt, now = "samples.parquet", list[tuple[int, str, bool]](), card
    judged = data.manifest.get("files", {}).get(part)
    while now:  # and what it was adapted to, each time
        here = judged is not None and now.get("prepared", {}).get(part) == judged
        last = now.get("data", {}).get("last_as_of", "")  # of cases, older cards do not say it
        if here or (by_time and last):
            learnt.append((int((as_of.dt.epoch("us") <= moment(last)).sum()) if last else len(as_of), last[:10], here))
        now = now.get("adapted") or now.get("before") or {}
    if any(here and samples == len(as_of) for samples, _, here in learnt):
        return ", WHICH IT WAS TRAINED ON: this is no test"
    samples, day, _ = max(learnt, default=(0, "", False))
    return f", {samples:,} OF THEM AS OF {day} OR BEFORE, UP TO WHICH IT LEARNT: they are no test of what comes later" if samples else ""


def _truth(data: Prepared, task: Task) -> pl.DataFrame | None:
    """The oracle's probabilities of the primary target, None where there are none. Raises DataError where a sample has none."""
    if data.truth is None:
        return None
    truth = data.truth.filter(pl.col("target") == task.primary)
    if missing := len(data.samples) - len(truth):
        raise DataError(f"truth: {missing:,} of {len(data.samples):,} samples have none for {task.primary!r}; prepare the world again")
    return truth


def _value(task: Task, samples: pl.DataFrame) -> str | None:
    """The samples' first money column: what a row is worth; None where there is none."""
    return next((name for name in task.money if name in samples.columns), None)


def _words(protocol: Protocol, samples: int, least_delay: int = 0) -> str:
    """least_delay: microseconds that labels take at least, which shorten training where the protocol allows them less."""
    if protocol.kind == "stratified":
        return f"{protocol.folds} stratified folds, seed {protocol.seed}, {samples:,} samples"
    windows = f"{protocol.folds} windows" if protocol.folds > 1 else "1 window"
    parts = [f"walk forward, {windows} of {protocol.test_days} days from {protocol.test_start}"]
    if protocol.train_days:
        unlabelled = -(-least_delay // DAY) - protocol.delay_days
        short = f", of which the last {unlabelled} have no label yet" if unlabelled > 0 else ""
        parts.append(f"trained on the {protocol.train_days} days before{short}")
    parts += [f"labels known after {protocol.delay_days} days"] if protocol.delay_days else []
    if protocol.known_from_days:
        parts.append(f"without groups known to be bad by labels from {protocol.known_from_days} days before that on")
    return f"{', '.join(parts)}, {samples:,} samples"
