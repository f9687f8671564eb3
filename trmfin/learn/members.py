"""Train the members of an ensemble, each with another part of the training rows held out, in single-thread processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trmfin.learn.checkpoint import Weights
from trmfin.learn.fit import Progress, Trained, fit
from trmfin.learn.settings import TrainSettings
from trmfin.learn.threads import one_thread
from trmfin.learn.workers import run_jobs, seconds_each
from trmfin.model.config import ModelConfig
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Network
from trmfin.model.refine import answers
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.splits import Split
from trmfin.sequences.task import Task

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TrainedEnsemble:
    """The members as one network, and what each said about the rows whose answers it had not seen."""

    network: Ensemble
    members: list[Trained]
    held_out: Rows  # (n,) rows that members held out, ascending
    logits: NDArray[np.float64]  # (n, S) raw logits of the primary target, the mean of those members that held the row out


def fit_members(
    sequences: Sequences,
    splits: list[Split],
    *,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    initial: Sequence[Weights] = (),
    folder: Path | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    tell: Callable[[int, Progress], None] = lambda member, progress: None,
) -> TrainedEnsemble:
    """Train config.members networks; member i on splits[i].train, its best step chosen on splits[i].test.

    sequences: aligned to `fitted`. initial: what members start from, one each, as `pretrain_members` gives it; empty = at
    random. folder: where members keep their checkpoints, resumed from if there. max_seconds: for the whole ensemble.
    workers: processes side by side, see `run_jobs`.
    """
    workers = min(workers, model.members)
    jobs = [
        partial(
            fit,
            sequences,
            splits[index].train,
            splits[index].test,
            fitted=fitted,
            model=replace(model, members=1),
            settings=settings.of_member(index),
            initial=initial[index] if initial else None,
            checkpoint=None if folder is None else folder / f"member-{index}.safetensors",
            max_seconds=seconds_each(max_seconds, model.members, workers),
        )
        for index in range(model.members)
    ]
    members = run_jobs(jobs, workers, tell)
    network = assembled(members, sequences.task, fitted, model)
    held = [split.test for split in splits[: model.members]]
    parts = zip(network.networks, held, strict=True)
    logits = np.concatenate([primary_logits(member, sequences, rows, workers=workers) for member, rows in parts])
    held_out, place, times = np.unique(np.concatenate(held), return_inverse=True, return_counts=True)
    total = np.zeros((len(held_out), logits.shape[1]))
    np.add.at(total, place, logits)
    return TrainedEnsemble(network=network, members=members, held_out=held_out, logits=total / times[:, None])


def assembled(members: list[Trained], task: Task, fitted: Fitted, model: ModelConfig) -> Ensemble:
    """One network of the members' kept weights."""
    with torch.random.fork_rng(devices=[]):
        network = Ensemble(task, fitted, model).eval()
    for mine, trained in zip(network.networks, members, strict=True):
        mine.load_state_dict(_as_state(trained.weights))
    return network


def of_weights(weights: Weights, task: Task, fitted: Fitted, model: ModelConfig) -> Network:
    """One member of these weights, to be asked."""
    with torch.random.fork_rng(devices=[]):
        network = Network(task, fitted, model).eval()
    network.load_state_dict(_as_state(weights))
    return network


def _as_state(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in weights.items()}


def primary_logits(network: Network | Ensemble, sequences: Sequences, rows: Rows, size: int = 512, workers: int = 1) -> NDArray[np.float64]:
    """(n, S) raw logits of a primary target with one output, at every supervision step; zeros for other heads.

    workers: batches side by side, each in one thread, so that no digit depends on their number.
    """
    out = np.zeros((len(rows), network.config.supervision_steps))

    def ask(first: int) -> None:
        with torch.inference_mode():
            for step, answer in enumerate(answers(network, sequences.batch(rows[first : first + size]))):
                logits = answer.logits[network.task.primary]
                if logits.shape[1:] == (1,):
                    out[first : first + size, step] = logits[:, 0].double().numpy()

    with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(ask, range(0, len(rows), size)))
    return out
