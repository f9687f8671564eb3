"""Pre-training without labels: a history is cut short, and the network says what came next.

Every history teaches, labelled or not: the leading token, where answers are read, must foretell each field of the first
event behind the cut. Next-event prediction: Radford et al. 2018 for text; here per field, over the bins and categories
that the network reads, and refined by the same recursion. docs/log.md has what it bought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trmfin.learn import checkpoint
from trmfin.learn.checkpoint import Weights
from trmfin.learn.clock import Clock
from trmfin.learn.fit import Progress
from trmfin.learn.optimiser import ExponentialAverage, make_optimiser, schedule
from trmfin.learn.settings import TrainSettings
from trmfin.learn.slots import HIDE, Slots, draw
from trmfin.learn.supervise import precision
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


def foretells(sequences: Sequences) -> bool:
    """Whether there is a next event to foretell: not among the events of a timeless task, which have no order."""
    task = sequences.task
    return bool(not task.timeless and task.histories and len(sequences.events) and any(f.of == "event" for f in task.fields))


def pretrain_members(
    sequences: Sequences,
    rows: list[NDArray[np.int64]],
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

    rows: of each member. folder: where each member's weights are kept, and taken from where they are. max_seconds: of all
    together. See `pretrain`.
    """
    workers = min(workers, model.members)
    jobs = [
        partial(
            pretrain,
            sequences,
            rows[index],
            fitted=fitted,
            model=replace(model, members=1),
            settings=settings.of_member(index),
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
    kept: Path | None = None,
    max_seconds: float | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Weights:
    """Weights to start a member from: inputs and core, averaged; no head. Targets of `rows` are not looked at.

    sequences: aligned to `fitted`. Runs settings.pretrain_epochs passes over `rows`, in one thread. kept: where weights that
    had all their steps are kept, and taken from where they are. max_seconds: run for at most about so long; the learning
    rate falls to 0 by then, and weights then depend on the machine's speed.
    """
    identity = "" if kept is None else checkpoint.identity(sequences, rows, rows, model, settings)
    if kept is not None and kept.exists():
        return checkpoint.load_weights(kept, identity)
    with one_thread():
        weights, whole = _pretrained(sequences, rows, fitted, model, settings, max_seconds, tell)
    if kept is not None and whole:
        checkpoint.save_weights(kept, weights, identity)
    return weights


def _pretrained(
    sequences: Sequences,
    rows: NDArray[np.int64],
    fitted: Fitted,
    model: ModelConfig,
    settings: TrainSettings,
    max_seconds: float | None,
    tell: Callable[[Progress], None],
) -> tuple[Weights, bool]:
    """The weights, and whether they had all their steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(sequences.task, fitted, model)
        foretell = Foretell(network)
    size = min(settings.for_samples(len(rows)).batch_size, BATCH)
    clock = Clock(planned=max(round(settings.pretrain_epochs * len(rows) / size), 1), max_seconds=max_seconds)
    both = nn.ModuleList([network, foretell])
    optimiser = make_optimiser(both, settings.optimiser, settings.learning_rate, settings.weight_decay)
    rate = schedule(optimiser, settings.warmup, clock.total, "cosine")
    average = ExponentialAverage(network, settings.average_decay)
    stream = Slots(seed=settings.seed, pool=rows, supervision_steps=1, random_depth=False)
    step, total = 0, clock.planned
    while step < total:
        cut = cut_short(sequences, stream.next_rows(size), draw(settings.seed, HIDE, step))
        optimiser.zero_grad(set_to_none=True)
        with precision(network, settings):
            loss = foretelling_loss(network.train(), foretell, cut)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), settings.clip_norm)
        optimiser.step()
        rate.step()
        average.update(network)
        step += 1
        total = clock.total(step)
        tell(Progress(step=step, total=total, seconds=clock.seconds, loss=float(loss.detach()), phase="pre-training"))
    kept = average.module.state_dict().items()
    return {name: value.numpy() for name, value in kept if not name.startswith(READERS)}, step == clock.planned


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Samples whose newest events are gone, and the first event behind the cut."""

    batch: Batch
    numbers: NDArray[np.float32]  # (B, F) of that event; NaN = nothing to foretell
    codes: NDArray[np.int64]  # (B, C) of that event; 0 = nothing to foretell


class Foretell(nn.Module):
    """From y (B, L, D): logits over places between the edges of every number field and over categories of every code field.

    Read at the leading token. A number field with Q bins has Q + 2 places, see `place_of`.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.fields, bins = network.numbers.low.shape
        self.places, self.sizes = bins + 2, network.codes.sizes
        outputs = self.fields * self.places + sum(self.sizes)
        self.out, self.bias = linear(network.config.width, outputs), nn.Parameter(torch.zeros(outputs))

    def forward(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, F, places) and, per code field, (B, categories)."""
        logits = self.out(y[:, 0]) + self.bias
        numbers = logits[:, : self.fields * self.places].unflatten(-1, (self.fields, self.places))
        return numbers, list(logits[:, self.fields * self.places :].split(self.sizes, dim=-1))


def cut_short(sequences: Sequences, rows: NDArray[np.int64], random: np.random.Generator) -> Cut:
    """The batch of `rows` (B,) without the newest events of one history of each sample; how many are gone is drawn.

    An event before the cut is left where there is one. What is gone is gone from all histories of the sample, so that none
    tells it; summaries are gone too. A sample without events has nothing to foretell. Fields that compare an event with
    as_of still count from the sample's as_of.
    """
    batch = sequences.batch(rows)
    B, L = batch.mask.shape
    there = batch.mask & (batch.tag > 0)
    keys = np.where(there, random.random((B, L)), -1.0)  # an event drawn evenly decides whose history is cut
    history = np.take_along_axis(batch.tag, keys.argmax(1)[:, None], 1)  # (B, 1)
    mine = there & (batch.tag == history)
    count = mine.sum(1)
    gone = 1 + (random.random(B) * np.maximum(count - 1, 1)).astype(np.int64)  # 1 … count - 1, or the only one
    newer = mine[:, ::-1].cumsum(1)[:, ::-1]  # events of this history at this place or newer
    hidden = mine & (newer <= gone[:, None])
    place = np.arange(B), (mine & (newer == gone[:, None])).argmax(1)  # of the first event that is gone; the leading token if none
    if len(sequences.windows) > 1:
        hidden = there & _elsewhere(sequences.tokens(rows), hidden)
    asked = there[place][:, None]
    of_events = [np.array([not f.leading for f in fields], bool) for fields in (sequences.task.numbers, sequences.task.codes)]
    numbers = np.where(asked & of_events[0], batch.numbers[place], np.float32(np.nan))
    codes = np.where(asked & of_events[1], batch.codes[place], 0)
    told = np.array([bool(f.summary) for f in sequences.task.numbers], bool)  # summaries hold what is gone
    shown = replace(
        batch,
        numbers=np.where(hidden[..., None] | told, np.float32(np.nan), batch.numbers),
        codes=np.where(hidden[..., None], 0, batch.codes),
        mask=batch.mask & ~hidden,
    )
    return Cut(batch=shown, numbers=numbers, codes=codes)


def _elsewhere(tokens: NDArray[np.int64], hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B, L) the places of events that are hidden at any place of their sample. tokens: (B, L) which event stands where."""
    gone = np.where(hidden, tokens, -1)
    return np.asarray((tokens[:, :, None] == gone[:, None, :]).any(-1))


def foretelling_loss(network: Network, foretell: Foretell, cut: Cut) -> Tensor:
    """Mean cross-entropy of the cells to foretell, averaged over supervision steps; 0 where there are none."""
    x, setting = network.encode(cut.batch), network.setting(cut.batch)
    state = network.core.start(x)
    numbers, codes = torch.from_numpy(cut.numbers), torch.from_numpy(cut.codes)
    asked = ~numbers.isnan()
    places = place_of(network, numbers)[asked]
    loss, count = torch.zeros(()), max(int(asked.sum()) + int((codes > 0).sum()), 1)
    for _ in range(network.config.supervision_steps):
        state = network.core(x, state.detach(), setting)
        said, named = foretell(state.y)
        loss = loss + F.cross_entropy(said[asked].float(), places, reduction="sum")
        for axis, logits in enumerate(named):
            loss = loss + F.cross_entropy(logits[codes[:, axis] > 0].float(), codes[:, axis][codes[:, axis] > 0], reduction="sum")
    return loss / (count * network.config.supervision_steps)


def place_of(network: Network, numbers: Tensor) -> Tensor:
    """(B, F) how many of its field's edges lie at or below each number; 0 for absent ones and for a field that never differs."""
    low, slope = network.numbers.low, network.numbers.slope
    bins = slope > 0
    top = torch.where(bins, low + 1 / slope.clamp_min(1e-30), -torch.inf).amax(1) if low.shape[1] else torch.full(low.shape[:1], torch.inf)
    below = ((numbers.unsqueeze(-1) >= low) & bins).sum(-1)  # (B, F) of the bins' lower edges
    return below + ((numbers >= top) & (below > 0))
