"""Pre-training without labels: a history is cut short, and the network says what came next.

Every history teaches, labelled or not: the leading token, where answers are read, must foretell each field of the first
event behind the cut. Next-event prediction: Radford et al. 2018 for text; here per field, over the bins and categories
that the network reads, and refined by the same recursion. docs/log.md has what it bought.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trmfin.learn import checkpoint
from trmfin.learn.checkpoint import Weights
from trmfin.learn.fit import Progress
from trmfin.learn.optimiser import ExponentialAverage, make_optimiser, schedule
from trmfin.learn.settings import TrainSettings
from trmfin.learn.slots import HIDE, Slots, draw
from trmfin.learn.threads import one_thread
from trmfin.learn.workers import run_jobs, seconds_each
from trmfin.model.config import ModelConfig
from trmfin.model.layers import linear
from trmfin.model.network import Network
from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences

BATCH = 256  # samples, at most
READERS = ("heads.", "halt.")  # what is not kept: it answers another question


@dataclass(frozen=True, kw_only=True)
class Job:
    """One member's pre-training."""

    index: int
    sequences: Sequences  # aligned
    rows: NDArray[np.int64]
    fitted: Fitted
    model: ModelConfig
    settings: TrainSettings  # of the ensemble
    kept: Path | None  # where its weights are kept, and taken from where they are
    max_seconds: float | None

    def run(self, tell: Callable[[Progress], None]) -> Weights:
        settings = self.settings.of_member(self.index)
        identity = checkpoint.identity(self.sequences, self.rows, self.rows, self.model, settings)
        if self.kept is not None and self.kept.exists():
            return checkpoint.load_weights(self.kept, identity)
        weights = pretrain(
            self.sequences, self.rows, fitted=self.fitted, model=self.model, settings=settings, max_seconds=self.max_seconds, tell=tell
        )
        if self.kept is not None:
            checkpoint.save_weights(self.kept, weights, identity)
        return weights


def pretrain_members(
    sequences: Sequences,
    rows: NDArray[np.int64],
    *,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    folder: Path | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    tell: Callable[[int, Progress], None] = lambda member, progress: None,
) -> tuple[Weights, ...]:
    """What each member of an ensemble starts from: each is pre-trained with a seed of its own, so that they stay different.

    folder: where each member's weights are kept, and taken from where they are. max_seconds: of all together. See `pretrain`.
    """
    workers = min(workers, model.members)
    jobs = [
        Job(
            index=index,
            sequences=sequences,
            rows=rows,
            fitted=fitted,
            model=replace(model, members=1),
            settings=settings,
            kept=None if folder is None else folder / f"pretrained-{index}.safetensors",
            max_seconds=seconds_each(max_seconds, model.members, workers),
        )
        for index in range(model.members)
    ]
    return tuple(run_jobs(jobs, workers, tell))


def pretrain(
    sequences: Sequences,
    rows: NDArray[np.int64],
    *,
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    max_seconds: float | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Weights:
    """Weights to start a member from: inputs and core, averaged; no head. Targets of `rows` are not looked at.

    sequences: aligned to `fitted`. Runs settings.pretrain_epochs passes over `rows`, in one thread,
    for at most about max_seconds.
    """
    with one_thread():
        return _pretrained(sequences, rows, fitted, model, settings, math.inf if max_seconds is None else max_seconds, tell)


def _pretrained(
    sequences: Sequences,
    rows: NDArray[np.int64],
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    max_seconds: float,
    tell: Callable[[Progress], None],
) -> Weights:
    began = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(sequences.task, fitted, model)
        foretell = Foretell(network)
    size = min(settings.for_samples(len(rows)).batch_size, BATCH)
    total = max(round(settings.pretrain_epochs * len(rows) / size), 1)
    both = nn.ModuleList([network, foretell])
    optimiser = make_optimiser(both, settings.optimiser, settings.learning_rate, settings.weight_decay)
    rate = schedule(optimiser, settings.warmup(total), total, "cosine")
    average = ExponentialAverage(network, settings.average_decay)
    stream = Slots(seed=settings.seed, pool=rows, supervision_steps=1, random_depth=False)
    for step in range(total):
        cut = cut_short(sequences.batch(stream.next_rows(size)), network, draw(settings.seed, HIDE, step))
        optimiser.zero_grad(set_to_none=True)
        loss = foretelling_loss(network.train(), foretell, cut)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), settings.clip_norm)
        optimiser.step()
        rate.step()
        average.update(network)
        seconds = time.monotonic() - began
        tell(Progress(step=step + 1, total=total, seconds=seconds, loss=float(loss.detach()), phase="pre-training"))
        if seconds > max_seconds:
            break
    kept = average.module.state_dict().items()
    return {name: value.numpy() for name, value in kept if not name.startswith(READERS)}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Samples whose newest events are gone, and the first event behind the cut."""

    batch: Batch
    numbers: NDArray[np.float32]  # (B, F) of that event; NaN = nothing to foretell
    codes: NDArray[np.int64]  # (B, C) of that event; 0 = nothing to foretell


class Foretell(nn.Module):
    """From y (B, L, D): logits over bins of every number field and over categories of every code field, read at the leading token."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.fields, self.bins = network.numbers.low.shape
        self.sizes = network.codes.sizes
        outputs = self.fields * self.bins + sum(self.sizes)
        self.out, self.bias = linear(network.config.width, outputs), nn.Parameter(torch.zeros(outputs))

    def forward(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, F, bins) and, per code field, (B, categories)."""
        logits = self.out(y[:, 0]) + self.bias
        numbers = logits[:, : self.fields * self.bins].unflatten(-1, (self.fields, self.bins))
        return numbers, list(logits[:, self.fields * self.bins :].split(self.sizes, dim=-1))


def cut_short(batch: Batch, network: Network, random: np.random.Generator) -> Cut:
    """Take away the newest events of one history of each sample, how many is drawn; an event before the cut is left where there is one.

    A sample without events has nothing to foretell. Fields that compare an event with as_of still count from the sample's as_of.
    """
    B, L = batch.mask.shape
    there = batch.mask & (batch.tag > 0)
    keys = np.where(there, random.random((B, L)), -1.0)  # an event drawn evenly decides whose history is cut
    history = np.take_along_axis(batch.tag, keys.argmax(1)[:, None], 1)  # (B, 1)
    mine = there & (batch.tag == history)
    count = mine.sum(1)
    gone = 1 + (random.random(B) * np.maximum(count - 1, 1)).astype(np.int64)  # 1 … count - 1, or the only one
    newer = mine[:, ::-1].cumsum(1)[:, ::-1]  # events of this history at this place or newer
    hidden = mine & (newer <= gone[:, None])
    first = (mine & (newer == gone[:, None])).argmax(1)  # 0, the leading token, where there is no event
    place = np.arange(B), first
    asked = there[place][:, None]
    numbers = np.where(asked & (network.number_scope.numpy()[batch.tag[place]] > 0), batch.numbers[place], np.float32(np.nan))
    codes = np.where(asked & (network.code_scope.numpy()[batch.tag[place]] > 0), batch.codes[place], 0)
    shown = replace(
        batch,
        numbers=np.where(hidden[..., None], np.float32(np.nan), batch.numbers),
        codes=np.where(hidden[..., None], 0, batch.codes),
        mask=batch.mask & ~hidden,
    )
    return Cut(batch=shown, numbers=numbers, codes=codes)


def foretelling_loss(network: Network, foretell: Foretell, cut: Cut) -> Tensor:
    """Mean cross-entropy of the cells to foretell, averaged over supervision steps; 0 where there are none."""
    x, setting = network.encode(cut.batch), network.setting(cut.batch)
    state = network.core.start(x)
    numbers, codes = torch.from_numpy(cut.numbers), torch.from_numpy(cut.codes)
    asked = ~numbers.isnan()
    bins = bin_of(network, numbers)[asked]
    loss, count = torch.zeros(()), max(int(asked.sum()) + int((codes > 0).sum()), 1)
    for _ in range(network.config.supervision_steps):
        state = network.core(x, state.detach(), setting)
        said, named = foretell(state.y)
        loss = loss + F.cross_entropy(said[asked], bins, reduction="sum")
        for axis, logits in enumerate(named):
            loss = loss + F.cross_entropy(logits[codes[:, axis] > 0], codes[:, axis][codes[:, axis] > 0], reduction="sum")
    return loss / (count * network.config.supervision_steps)


def bin_of(network: Network, numbers: Tensor) -> Tensor:
    """(B, F) index of the bin each number lies in, 0 for absent ones."""
    low, slope = network.numbers.low, network.numbers.slope
    inside = (numbers.unsqueeze(-1) >= low) & (slope > 0)  # (B, F, Q)
    return (inside.sum(-1) - 1).clamp_min(0)
