"""Pre-training without labels: cells are hidden, and the network guesses which bin or category stood there.

Every history teaches, labelled or not (docs/log.md has what it bought so far). The masked
cell objective for tables: Yoon et al. 2020 (VIME), here per token and refined by the same recursion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trmfin.learn.checkpoint import Weights
from trmfin.learn.fit import Progress
from trmfin.learn.hiding import hidden_cells
from trmfin.learn.optimiser import ExponentialAverage, make_optimiser, schedule
from trmfin.learn.settings import TrainSettings
from trmfin.learn.slots import HIDE, Slots, draw
from trmfin.learn.threads import one_thread
from trmfin.model.config import ModelConfig
from trmfin.model.layers import linear
from trmfin.model.network import Network
from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences

HIDDEN_SHARE = 0.3  # of the cells of a sample
READERS = ("heads.", "halt.")  # what is not kept: it answers another question


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
        network = Network(sequences.task, fitted, replace(model, members=1))
        guess = Guess(network)
    total = max(round(settings.pretrain_epochs * len(rows) / settings.batch_size), 1)
    both = nn.ModuleList([network, guess])
    optimiser = make_optimiser(both, settings.optimiser, settings.learning_rate, settings.weight_decay)
    rate = schedule(optimiser, settings.warmup(total), total, "cosine")
    average = ExponentialAverage(network, settings.average_decay)
    stream = Slots(seed=settings.seed, pool=rows, supervision_steps=1, random_depth=False)
    for step in range(total):
        batch = sequences.batch(stream.next_rows(settings.batch_size))
        hidden = hide_cells(batch, network, draw(settings.seed, HIDE, step))
        optimiser.zero_grad(set_to_none=True)
        loss = guessing_loss(network.train(), guess, batch, hidden)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), settings.clip_norm)
        optimiser.step()
        rate.step()
        average.update(network)
        seconds = time.monotonic() - began
        tell(Progress(step=step + 1, total=total, seconds=seconds, loss=float(loss.detach())))
        if seconds > max_seconds:
            break
    kept = average.module.state_dict().items()
    return {name: value.numpy() for name, value in kept if not name.startswith(READERS)}


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """A batch with cells made absent, and which ones."""

    batch: Batch
    numbers: NDArray[np.bool_]  # (B, L, F) present before and hidden now
    codes: NDArray[np.bool_]  # (B, L, C)


class Guess(nn.Module):
    """From y (B, L, D): logits over bins of every number field and over categories of every code field."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.bins = network.numbers.low.shape[1]
        self.fields = network.numbers.low.shape[0]
        self.sizes = network.codes.sizes
        self.out = linear(network.config.width, self.fields * self.bins + sum(self.sizes))

    def forward(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, L, F, bins) and, per code field, (B, L, categories)."""
        logits = self.out(y)
        numbers = logits[..., : self.fields * self.bins].unflatten(-1, (self.fields, self.bins))
        return numbers, list(logits[..., self.fields * self.bins :].split(self.sizes, dim=-1))


def hide_cells(batch: Batch, network: Network, random: np.random.Generator) -> Hidden:
    """Hide HIDDEN_SHARE of the cells that a token has and that are present, a source column at a time."""
    numbers, codes = hidden_cells(network.task, batch, random, here=HIDDEN_SHARE)
    numbers &= ~np.isnan(batch.numbers) & (network.number_scope.numpy()[batch.tag] > 0)
    codes &= (batch.codes > 0) & batch.mask[..., None] & (network.code_scope.numpy()[batch.tag] > 0)
    shown = replace(batch, numbers=np.where(numbers, np.float32(np.nan), batch.numbers), codes=np.where(codes, 0, batch.codes))
    return Hidden(batch=shown, numbers=numbers, codes=codes)


def guessing_loss(network: Network, guess: Guess, batch: Batch, hidden: Hidden) -> Tensor:
    """Mean cross-entropy of the hidden cells, averaged over supervision steps."""
    x, setting = network.encode(hidden.batch), network.setting(batch)
    state = network.core.start(x)
    places = torch.from_numpy(hidden.numbers)
    bins = bin_of(network, torch.from_numpy(batch.numbers))[places]
    loss, count = torch.zeros(()), max(int(places.sum()) + int(hidden.codes.sum()), 1)
    for _ in range(network.config.supervision_steps):
        state = network.core(x, state.detach(), setting)
        numbers, codes = guess(state.y)
        loss = loss + F.cross_entropy(numbers[places], bins, reduction="sum")
        for axis, logits in enumerate(codes):
            where = torch.from_numpy(hidden.codes[..., axis])
            loss = loss + F.cross_entropy(logits[where], torch.from_numpy(batch.codes[..., axis])[where], reduction="sum")
    return loss / (count * network.config.supervision_steps)


def bin_of(network: Network, numbers: Tensor) -> Tensor:
    """(B, L, F) index of the bin each number lies in, 0 for absent ones."""
    low, slope = network.numbers.low, network.numbers.slope
    inside = (numbers.unsqueeze(-1) >= low) & (slope > 0)  # (B, L, F, Q)
    return (inside.sum(-1) - 1).clamp_min(0)
