"""From prepared data to a bundle: build sequences, train members, calibrate what they held out, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.learn.bundle import Bundle
from trmfin.learn.calibrate import Calibration, cross_fitted, fit_calibration, probability
from trmfin.learn.checkpoint import Weights
from trmfin.learn.fit import Progress, thinned
from trmfin.learn.halting import TOLERANCE, cheapest_epsilon, steps_used
from trmfin.learn.holdout import LEAST_FOLDS, described, hold_out_latest, holdouts, untold
from trmfin.learn.intervals import summary
from trmfin.learn.members import TrainedEnsemble, fit_members
from trmfin.learn.policy import Costs, Policy
from trmfin.learn.pretrain import foretells, pretrain_members
from trmfin.learn.profile import reference_profile
from trmfin.learn.recipe import Recipe
from trmfin.learn.reference import Judged, reference
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.splits import Split

LIMITS = (
    "Valid for data like that of its window. Held-out metrics are of members that had not seen a row's answer; "
    "test results are in the report of an evaluation."
)
CHALLENGERS = "none was trained with this bundle; `python -m trmfin.evaluate` judges the recipe it was trained by beside them"
LEAST_SECONDS = 1.0  # for members, however long pre-training took
Tell = Callable[[int, Progress], None]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A trained ensemble with what makes its logits log-odds."""

    ensemble: TrainedEnsemble
    fitted: Fitted
    calibration: Calibration

    def log_odds(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated log-odds of raw logits (n, S)."""
        return self.calibration.apply(raw)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is learnt from histories alone, before any target is looked at."""

    fitted: Fitted
    weights: tuple[Weights, ...]  # of pre-training, one a member; empty = members start at random


def begin(
    sequences: Sequences,
    histories: NDArray[np.int64],
    recipe: Recipe,
    held_out: Iterable[NDArray[np.int64]],
    *,
    binned: NDArray[np.int64] | None = None,
    folder: Path | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    tell: Tell = lambda member, progress: None,
) -> Start:
    """Fit bins and vocabularies on the rows `histories`, and pre-train members on them where the recipe says so.

    sequences: not yet aligned. Targets are not looked at, unless the recipe asks for splits, so unlabelled rows may teach too;
    rows that tell a member what its `held_out` rows ask are left out. binned: rows to fit on, where not on all. max_seconds: of
    pre-training. See `pretrain_members` for the rest.
    """
    fitted = Fitted.fit(sequences, histories if binned is None else binned, recipe.model.bins, recipe.model.splits)
    if not (recipe.training.pretrain_epochs and foretells(sequences)):
        return Start(fitted=fitted, weights=())
    weights = pretrain_members(
        sequences.aligned(fitted),
        [untold(sequences, histories, rows) for rows in held_out],
        fitted=fitted,
        model=recipe.model,
        settings=recipe.training,
        folder=folder,
        max_seconds=max_seconds,
        workers=workers,
        tell=tell,
    )
    return Start(fitted=fitted, weights=weights)


def learn(
    sequences: Sequences,
    rows: NDArray[np.int64],
    recipe: Recipe,
    *,
    histories: NDArray[np.int64] | None = None,
    start: Start | None = None,
    folder: Path | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    tell: Tell = lambda member, progress: None,
) -> Learnt:
    """Train on the labelled ones of `rows`; weights and calibration see no other sample's target.

    sequences: not yet aligned. histories: rows that teach without their targets; None = `rows`. start: what `begin` has made
    of them; None = it is made here, in at most half of max_seconds. See `fit_members` for the rest. Raises DataError where no
    row has a known target, or too few of a class are held out, ConfigError where a setting would do nothing.
    """
    labelled = rows[sequences.known[rows]]
    if not len(labelled):
        raise DataError(f"training: no sample has a known target {sequences.task.primary!r}; prepare a file with labels")
    recipe.training.check_for(sequences)
    splits = holdouts(sequences, labelled, recipe.model.members, recipe.training.seed)
    _check_both_classes(sequences, splits, _more(sequences, labelled, recipe.model.members))
    began = time.monotonic()
    half = None if max_seconds is None else max_seconds / 2
    if start is None:
        held_out = [split.test for split in splits]
        start = begin(
            sequences,
            rows if histories is None else histories,
            recipe,
            held_out,
            binned=_binned(sequences, labelled, recipe),
            folder=folder,
            max_seconds=half,
            workers=workers,
            tell=tell,
        )
    left = None if max_seconds is None else max(max_seconds - (time.monotonic() - began), LEAST_SECONDS)
    ensemble = fit_members(
        sequences.aligned(start.fitted),
        splits,
        fitted=start.fitted,
        model=recipe.model,
        settings=recipe.training.for_samples(len(labelled)),
        initial=start.weights,
        folder=folder,
        max_seconds=left,
        workers=workers,
        tell=tell,
    )
    return Learnt(ensemble=ensemble, fitted=start.fitted, calibration=calibrated(sequences, ensemble))


def _binned(sequences: Sequences, labelled: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int64] | None:
    """Rows that bins are fitted on: those that are trained on where negatives are thinned or targets say where to split; None = all."""
    settings = recipe.training.for_samples(len(labelled))
    return None if settings.negative_share == 1 and not recipe.model.splits else thinned(sequences, labelled, settings)


def _check_both_classes(sequences: Sequences, splits: list[Split], more: str) -> None:
    """Calibration needs both classes among what is held out: said before training, not after. more: what would help."""
    target = sequences.task.target(sequences.task.primary)
    y = sequences.targets.values[target.name][np.unique(np.concatenate([split.test for split in splits]))]
    if target.head == "binary" and (fewest := min(int((y == 1).sum()), int((y == 0).sum()))) < 2:
        raise DataError(
            f"training: of {len(y)} held-out samples {fewest} are of the rarer class of {target.name!r}; "
            f"calibration needs at least 2 of each, so give {more}"
        )


def _more(sequences: Sequences, labelled: NDArray[np.int64], members: int) -> str:
    """What holds out more samples of the rarer class."""
    if hold_out_latest(sequences, labelled, members):
        return "more samples of that class among the latest, which all members hold out"
    return "more labelled samples of that class" + (
        f", or hold out more of them: members = {LEAST_FOLDS} under [model] of --config" if members < LEAST_FOLDS else ""
    )


def calibrated(sequences: Sequences, ensemble: TrainedEnsemble) -> Calibration:
    """Fitted on rows that the answering member did not see; the identity for heads that have no log-odds."""
    target = sequences.task.target(sequences.task.primary)
    if target.head != "binary":
        return Calibration(kind="identity", parameters=((),) * ensemble.logits.shape[1])
    return fit_calibration(ensemble.logits, sequences.targets.values[target.name][ensemble.held_out])


def bundle_of(learnt: Learnt, sequences: Sequences, rows: NDArray[np.int64], recipe: Recipe, about: dict[str, Any]) -> Bundle:
    """The bundle of what was learnt on `rows`. about: what the caller knows of the data, for the card."""
    labelled = rows[sequences.known[rows]]
    network, policy = learnt.ensemble.network, Policy(cutoff=Costs().cutoff)
    aligned, log_odds = sequences.aligned(learnt.fitted), _held_out_log_odds(learnt, sequences)
    return Bundle(
        network=network,
        task=sequences.task,
        fitted=learnt.fitted,
        calibration=learnt.calibration,
        policy=policy,
        card=about | card(learnt, sequences, labelled, recipe),
        reference=reference(aligned, labelled, _judged(learnt, log_odds), policy.cutoff),
        profile=reference_profile(aligned, labelled, log_odds, policy.halt_epsilon),
        sha256="",
    )


def card(learnt: Learnt, sequences: Sequences, rows: NDArray[np.int64], recipe: Recipe) -> dict[str, Any]:
    """What a reader of the bundle must know: purpose, data window, how it was trained, how well it did.

    rows: the labelled ones. model.flops: floating-point operations of scoring one sample of full length over all steps.
    """
    task = sequences.task
    network, model, training = learnt.ensemble.network, recipe.model, recipe.training.for_samples(len(rows))  # as it was done
    if not foretells(sequences):
        training = replace(training, pretrain_epochs=0.0)
    return {
        "task": task.name,
        "purpose": task.target(task.primary).meaning,
        "data": data_window(sequences, rows),
        "model": model.to_json() | {"parameters": network.parameters_count, "flops": network.flops(model.supervision_steps)},
        "training": training.to_json(),
        "splits": described(sequences, rows, model.members, recipe.training.seed),
        "members": [{"best_step": m.best_step, "steps": m.steps, "slot_depths": m.depths} for m in learnt.ensemble.members],
        "selection": "each member keeps the averaged weights with the lowest loss on training rows held out from it",
        "held_out": held_out_metrics(learnt, sequences),
        "challengers": CHALLENGERS,
        "early_halting": early_halting(learnt, sequences),
        "calibration": learnt.calibration.to_json(),
        "protected": {"columns": list(task.protected), "use": "kept beside the samples for fairness tables, never a feature"},
        "limits": LIMITS,
    }


def data_window(sequences: Sequences, rows: NDArray[np.int64]) -> dict[str, Any]:
    """How many rows a bundle learnt, and their first and last as_of, UTC."""
    as_of = sequences.as_of[rows].astype("datetime64[us]")
    return {"samples": len(rows), "first_as_of": f"{as_of.min()}Z", "last_as_of": f"{as_of.max()}Z"}


def moment(told: str) -> int:
    """Microseconds since 1970 of a time that `data_window` tells."""
    return int(np.datetime64(told.removesuffix("Z"), "us").astype(np.int64))


def held_out_metrics(learnt: Learnt, sequences: Sequences) -> dict[str, Any]:
    """Metrics of members on the rows they held out, each calibrated without its own fold; empty for heads without log-odds."""
    if (y := _held_out_target(learnt, sequences)) is None:
        return {}
    rows = learnt.ensemble.held_out
    p = probability(cross_fitted(learnt.calibration.kind, learnt.ensemble.logits, y)[:, -1])
    return {"samples": len(rows)} | summary(y, p, sequences.group[rows])


def early_halting(learnt: Learnt, sequences: Sequences) -> dict[str, float]:
    """The largest `halt_epsilon` that costs at most `tolerance` of AUC on held-out rows, and the share of steps it saves there.

    As each row's own member says, on the rows by which it is chosen: a guide for the ensemble, not a test of it.
    The bundle's policy does not use it: who wants the speed writes it into a policy. Empty for heads without log-odds.
    """
    if (y := _held_out_target(learnt, sequences)) is None:
        return {}
    log_odds = learnt.log_odds(learnt.ensemble.logits)
    epsilon = cheapest_epsilon(log_odds, y)
    taken = steps_used(log_odds, epsilon).mean() / log_odds.shape[1]
    return {"halt_epsilon": epsilon, "tolerance": TOLERANCE, "steps_saved": float(1 - taken)}


def _judged(learnt: Learnt, log_odds: NDArray[np.float64] | None) -> Judged | None:
    """The scores of the rows that members held out; None where there are no log-odds."""
    return None if log_odds is None else Judged(rows=learnt.ensemble.held_out, score=probability(log_odds[:, -1]))


def _held_out_log_odds(learnt: Learnt, sequences: Sequences) -> NDArray[np.float64] | None:
    """(n, S) what members say of the rows they held out, calibrated; None where the primary target is no yes or no."""
    return None if _held_out_target(learnt, sequences) is None else learnt.log_odds(learnt.ensemble.logits)


def _held_out_target(learnt: Learnt, sequences: Sequences) -> NDArray[np.float64] | None:
    """(n,) 0 or 1 of the rows that members held out; None where the primary target is no yes or no."""
    target = sequences.task.target(sequences.task.primary)
    return sequences.targets.values[target.name][learnt.ensemble.held_out].astype(np.float64) if target.head == "binary" else None
