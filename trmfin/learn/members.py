"""Train the members of an ensemble, each with another part of the training rows held out, in single-thread processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trmfin.errors import RunError, TrmfinError
from trmfin.learn.fit import Progress, Trained, fit
from trmfin.learn.settings import TrainSettings
from trmfin.learn.threads import one_thread
from trmfin.model.config import ModelConfig
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Network
from trmfin.model.refine import answers
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.splits import Split
from trmfin.sequences.task import Task

Rows = NDArray[np.int64]
SEEDS_APART = 1000  # so that runs of neighbouring seeds share no member


@dataclass(frozen=True, kw_only=True)
class Job:
    """One member's training: everything a fresh process needs."""

    index: int
    sequences: Sequences  # aligned
    split: Split  # train and held-out rows
    fitted: Fitted
    model: ModelConfig
    settings: TrainSettings
    initial: dict[str, NDArray[np.float32]] | None
    checkpoint: Path | None
    max_seconds: float | None

    def run(self, tell: Callable[[Progress], None]) -> Trained:
        settings = replace(self.settings, seed=self.settings.seed * SEEDS_APART + self.index)
        return fit(
            self.sequences,
            self.split.train,
            self.split.test,
            fitted=self.fitted,
            model=self.model,
            settings=settings,
            initial=self.initial,
            checkpoint=self.checkpoint,
            max_seconds=self.max_seconds,
            tell=tell,
        )


@dataclass(frozen=True, kw_only=True)
class TrainedEnsemble:
    """The members as one network, and what each said about the rows it had not seen."""

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
    initial: dict[str, NDArray[np.float32]] | None = None,
    folder: Path | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    tell: Callable[[int, Progress], None] = lambda member, progress: None,
) -> TrainedEnsemble:
    """Train config.members networks; member i on splits[i].train, its best step chosen on splits[i].test.

    sequences: aligned to `fitted`. folder: where members keep their checkpoints, resumed from if there. max_seconds:
    for the whole ensemble. workers: processes side by side; 1 trains in this process. The result does not depend on it:
    a member has one thread, wherever it trains.
    """
    workers = min(workers, model.members)
    rounds = -(-model.members // workers)
    jobs = [
        Job(
            index=index,
            sequences=sequences,
            split=splits[index],
            fitted=fitted,
            model=replace(model, members=1),
            settings=settings,
            initial=initial,
            checkpoint=None if folder is None else folder / f"member-{index}.safetensors",
            max_seconds=None if max_seconds is None else max_seconds / rounds,
        )
        for index in range(model.members)
    ]
    with one_thread():
        members = list((_one_by_one if workers == 1 else _side_by_side)(jobs, workers, tell))
        network = _assembled(members, sequences.task, fitted, model)
        held = [split.test for split in splits[: model.members]]
        parts = zip(network.networks, held, strict=True)
        logits = np.concatenate([primary_logits(member, sequences, rows) for member, rows in parts])
    held_out, place, times = np.unique(np.concatenate(held), return_inverse=True, return_counts=True)
    total = np.zeros((len(held_out), logits.shape[1]))
    np.add.at(total, place, logits)
    return TrainedEnsemble(network=network, members=members, held_out=held_out, logits=total / times[:, None])


def _assembled(members: list[Trained], task: Task, fitted: Fitted, model: ModelConfig) -> Ensemble:
    """One network of the members' kept weights."""
    with torch.random.fork_rng(devices=[]):
        network = Ensemble(task, fitted, model).eval()
    for mine, trained in zip(network.networks, members, strict=True):
        mine.load_state_dict({name: torch.from_numpy(value) for name, value in trained.weights.items()})
    return network


def primary_logits(network: Network | Ensemble, sequences: Sequences, rows: Rows, size: int = 512) -> NDArray[np.float64]:
    """(n, S) raw logits of a primary target with one output, at every supervision step; zeros for other heads."""
    out = np.zeros((len(rows), network.config.supervision_steps))
    with torch.inference_mode():
        for first in range(0, len(rows), size):
            for step, answer in enumerate(answers(network, sequences.batch(rows[first : first + size]))):
                logits = answer.logits[network.task.primary]
                if logits.shape[1:] == (1,):
                    out[first : first + size, step] = logits[:, 0].double().numpy()
    return out


def _teller(tell: Callable[[int, Progress], None], index: int) -> Callable[[Progress], None]:
    return lambda progress: tell(index, progress)


def _one_by_one(jobs: list[Job], workers: int, tell: Callable[[int, Progress], None]) -> Iterator[Trained]:
    """Run jobs in this process."""
    yield from [job.run(_teller(tell, job.index)) for job in jobs]


def _side_by_side(jobs: list[Job], workers: int, tell: Callable[[int, Progress], None]) -> Iterator[Trained]:
    """Run jobs in up to `workers` processes of one thread each; results in the order of the jobs."""
    context = _context()
    waiting = list(jobs)
    running: dict[Any, tuple[Job, ForkServerProcess | SpawnProcess]] = {}  # our end of the pipe → who is at the other
    done: dict[int, Trained] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = (job, process)
            for pipe in wait(list(running)):
                job, process = running[pipe]
                kind, value = _received(pipe, job)
                if kind == "progress":
                    tell(job.index, value)
                    continue
                if kind == "error":
                    raise value
                done[job.index] = value
                process.join()
                del running[pipe]
    finally:
        for _, process in running.values():
            process.terminate()
    yield from (done[job.index] for job in jobs)


def _context() -> ForkServerContext | SpawnContext:
    """Processes that begin without our threads: a forked torch can hang in its thread pool.

    Where there is a fork server, it imports torch once for all members of all trainings; elsewhere each process does.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _received(pipe: Any, job: Job) -> tuple[str, Any]:
    try:
        kind, value = pipe.recv()
    except (EOFError, OSError) as error:  # OSError: killed in the middle of a message
        raise RunError(
            f"training of member {job.index} ended without a word (killed, or out of memory); run again with --resume"
        ) from error
    return kind, value


def _work(job: Job, pipe: Connection) -> None:
    """A member's process. Ctrl-C is for the process that started it, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        pipe.send(("done", job.run(lambda progress: pipe.send(("progress", progress)))))
    except TrmfinError as error:
        pipe.send(("error", error))
    except BrokenPipeError:  # the process that started this one is gone: so is what it trains for
        return
