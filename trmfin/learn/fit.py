"""Training: deep supervision with refilled slots (arXiv:2510.04871, and its official code's carry).

A slot keeps its sample and the detached state (y, z); one optimiser step is taken per supervision step, over slots at
different depths. What is kept is the average of the weights that does best on validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from trmfin.errors import DataError, RunError
from trmfin.learn import checkpoint as saved
from trmfin.learn.clock import Clock
from trmfin.learn.optimiser import ExponentialAverage, make_optimiser, schedule
from trmfin.learn.settings import PARTS, TrainSettings
from trmfin.learn.slots import THIN, Slots, draw
from trmfin.learn.supervise import Run, loop_step, slot_step, validate
from trmfin.model.config import ModelConfig
from trmfin.model.heads import Linear
from trmfin.model.network import Network
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.samples import Samples

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a caller is told while training goes on."""

    step: int
    total: int  # as it looks now, where time may end the run
    seconds: float
    loss: float
    validation: float | None = None
    phase: Literal["pre-training", "training"] = "training"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and how it came about."""

    weights: dict[str, NDArray[np.float32]]  # averaged weights of the step with the lowest validation loss
    best_step: int
    steps: int
    seconds: float
    history: list[dict[str, float]]  # one entry a validation: step, train_loss, validation_loss
    depths: dict[int, int]  # supervision steps → finished slots that had so many


def fit(
    sequences: Samples,
    train: Rows,
    validation: Rows,
    *,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    initial: dict[str, NDArray[np.float32]] | None = None,
    checkpoint: Path | None = None,
    max_seconds: float | None = None,
    device: str = "cpu",
    compiled: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train one network on the rows `train`, keep the averaged weights with the lowest loss on `validation`.

    sequences: aligned to `fitted`, which was fitted on training rows only. initial: weights to begin with, such as
    `pretrain` gives; others start at random. checkpoint: a file that is written at each
    validation and resumed from where it exists; without max_seconds a resumed run is bit-identical to an undisturbed one.
    max_seconds: train for about so long, over at most as many steps as without it; the learning rate falls to 0 by then, and
    validations are spread over that time. Weights then depend on the machine's speed. A run resumed with it has the share of
    its time left that it had at its checkpoint. device: where the network is trained, as torch names it; compiled:
    the network's blocks by `torch.compile`, which moves results in their last digits.
    Raises DataError where the primary target has no known training or validation labels, ConfigError where a setting would
    do nothing, RunError where training diverges.
    """
    settings.check_for(sequences)
    train, validation = (thinned(sequences, rows, settings) for rows in check_labels(sequences, train, validation))
    run = start(sequences, train, fitted, model, settings, initial, max_seconds, device)
    if compiled:
        run.network.core.compile_blocks()
    clock, identity = run.clock, saved.identity(sequences, train, validation, model, settings) if checkpoint else ""
    if checkpoint is not None and checkpoint.exists():
        saved.load(checkpoint, run, identity=identity)
    advance = slot_step if settings.refill else loop_step
    total = clock.total(run.step)
    while run.step < total:
        loss = advance(run, sequences, settings)
        total = clock.total(run.step)
        if run.step < total and not clock.due(run.step, settings.validations):
            tell(Progress(step=run.step, total=total, seconds=clock.seconds, loss=loss))
            continue
        judged = validate(run, sequences, validation, loss, settings)
        if not math.isfinite(judged):
            raise RunError(
                f"training: validation loss {judged} after {run.step} steps, so it diverged; lower learning_rate or warm up longer"
            )
        clock.judge(run.step)
        total = clock.total(run.step)  # judging took time too
        tell(Progress(step=run.step, total=total, seconds=clock.seconds, loss=loss, validation=judged))
        if checkpoint is not None:
            saved.save(checkpoint, run, identity=identity)
    return Trained(
        weights={name: value.cpu().numpy() for name, value in run.best.items()},
        best_step=run.best_step,
        steps=run.step,
        seconds=clock.seconds,
        history=run.history,
        depths=dict(sorted(run.slots.depths.items())),
    )


def check_labels(sequences: Samples, train: Rows, validation: Rows) -> tuple[Rows, Rows]:
    """The same rows. Raises DataError where one of both has nothing to learn from."""
    for name, rows in (("training", train), ("validation", validation)):
        if not sequences.known[rows].any():
            raise DataError(
                f"{name} rows: {len(rows)} rows, none with a known target {sequences.task.primary!r}; training needs labelled samples"
            )
    return train, validation


def start(
    sequences: Samples,
    train: Rows,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    initial: dict[str, NDArray[np.float32]] | None = None,
    max_seconds: float | None = None,
    device: str = "cpu",
) -> Run:
    """A run before its first step; weights are a function of the seed, or `initial` where that names them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(sequences.task, fitted, model)
    begin_at_base_rates(network, sequences, train, settings.offset)
    if initial is not None:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in initial.items()}, strict=False)
    network.to(device)
    for part in settings.frozen:
        for name in PARTS[part]:
            if (module := getattr(network, name)) is not None:
                module.requires_grad_(False)
    clock = Clock(planned=planned_steps(len(train), model, settings), max_seconds=max_seconds)
    optimiser = make_optimiser(network, settings.optimiser, settings.learning_rate, settings.weight_decay)
    slots = Slots(seed=settings.seed, pool=train, supervision_steps=model.supervision_steps, random_depth=settings.random_depth)
    if settings.refill:
        slots.fill(settings.batch_size)
    return Run(
        network=network,
        average=ExponentialAverage(network, settings.average_decay),
        optimiser=optimiser,
        schedule=schedule(optimiser, settings.warmup, clock.total, settings.schedule),
        slots=slots,
        clock=clock,
    )


def thinned(sequences: Samples, rows: Rows, settings: TrainSettings) -> Rows:
    """Those of `rows` that are trained on, or judged by, where only a share of the negatives is: a function of the seed and the row."""
    if settings.negative_share == 1:
        return rows
    lucky = draw(settings.seed, THIN, 0).random(len(sequences)) < settings.negative_share
    return rows[(sequences.targets.values[sequences.task.primary][rows] != 0) | lucky[rows]]


def begin_at_base_rates(network: Network, sequences: Samples, train: Rows, offset: float = 0.0) -> None:
    """Set the bias of binary and class heads to the log-odds of the training rows, so that training learns only what differs.

    Begun at one half, the first steps push the whole core towards the base rate: it cost .002 AUC (docs/log.md). offset: what
    thinning has added to the primary target's log-odds.
    """
    for target in sequences.task.targets:
        if target.head not in ("binary", "classes"):
            continue
        truth = sequences.targets.values[target.name][train]
        known_truth = truth[~np.isnan(truth)] if truth.ndim == 1 else truth[:0]
        if not len(known_truth):
            continue
        if target.head == "binary":  # its target may be a share
            counts = np.array([(1 - known_truth).sum(), known_truth.sum()])
        else:
            counts = np.bincount(known_truth.astype(np.int64), minlength=len(target.classes))
        share = (counts + 1) / (counts.sum() + len(counts))
        logit = np.log(share[1:]) - np.log(share[:1]) if target.head == "binary" else np.log(share)
        logit = logit - offset if target.name == sequences.task.primary else logit
        bias = cast(Linear, network.heads[target.name]).bias
        with torch.no_grad():
            bias.copy_(torch.from_numpy(logit))


def planned_steps(samples: int, model: ModelConfig, settings: TrainSettings) -> int:
    """Optimiser steps of a whole run."""
    return settings.steps or max(round(settings.epochs * samples / settings.batch_size * mean_depth(model, settings)), 1)


def mean_depth(model: ModelConfig, settings: TrainSettings) -> float:
    """Optimiser steps that a sample takes part in, on average, in one pass."""
    if not settings.refill:
        return 1.0
    return (model.supervision_steps + 1) / 2 if settings.random_depth else model.supervision_steps
