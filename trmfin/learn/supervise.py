"""One training step: supervise every slot once, judge its halting, move the weights and their average."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trmfin.learn.clock import Clock
from trmfin.learn.hiding import hidden_cells
from trmfin.learn.losses import exact, loss_per_sample
from trmfin.learn.optimiser import ExponentialAverage
from trmfin.learn.settings import TrainSettings
from trmfin.learn.slots import EXPLORE, HIDE, STIR, Slots, draw
from trmfin.model.config import Depth
from trmfin.model.core import State
from trmfin.model.network import Answer, Network
from trmfin.model.refine import answers
from trmfin.sequences.batch import Batch
from trmfin.sequences.samples import Samples
from trmfin.sequences.task import Task

VALIDATION_BATCH = 512
EXPLORATION = 0.1  # exact halting: share of slots that must go on to a random depth (official code)
MINIMUM_DEPTH = 2


@dataclass(kw_only=True)
class Run:
    """Everything that changes while training, and all that a resume needs."""

    network: Network
    average: ExponentialAverage[Network]
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    slots: Slots
    clock: Clock
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def depth(self, settings: TrainSettings) -> Depth | None:
        """n and T of the next step."""
        return settings.depth(self.step / self.clock.total(self.step)) if settings.curriculum else None


def slot_step(run: Run, sequences: Samples, settings: TrainSettings) -> float:
    """One supervision step of every slot, and one optimiser step. Returns the mean loss."""
    slots, network = run.slots, run.network.train()
    batch = hide(sequences.batch(slots.rows), network.task, settings, run.step)
    with precision(network, settings):
        x, setting = network.encode(batch), network.setting(batch)
        before = stirred(slots.begin(begun(network.core.start(x), settings, run.step)), settings, run.step)
        state = network.core(x, before, setting, run.depth(settings))
        answer = network.read(state, setting)
    losses = supervised(network, answer, batch, settings)
    halt = halt_loss(
        network, before, answer, batch, (slots.loss.to(losses.device), losses.detach()), network.tensor(slots.age > 0), settings
    )
    take_step(run, losses.mean() + settings.halt_weight * halt, settings)
    slots.finish(state, losses, halted(run, answer, settings))
    return float(losses.detach().mean())


def loop_step(run: Run, sequences: Samples, settings: TrainSettings) -> float:
    """All N_sup steps of one batch, losses averaged, one optimiser step: the plain way, kept for comparison."""
    slots, network = run.slots, run.network.train()
    slots.rows = slots.next_rows(settings.batch_size)
    batch = hide(sequences.batch(slots.rows), network.task, settings, run.step)
    steps, depth = network.config.supervision_steps, run.depth(settings)
    with precision(network, settings):
        x, setting = network.encode(batch), network.setting(batch)
        mean, halt, before = x.new_zeros(()), x.new_zeros(()), x.new_zeros(len(x))
        state = begun(network.core.start(x), settings, run.step)
        for step in range(steps):
            last = state
            state = network.core(x, stirred(state.detach(), settings, run.step, step), setting, depth)
            answer = network.read(state, setting)
            losses = supervised(network, answer, batch, settings)
            later = torch.full_like(losses, step > 0, dtype=torch.bool)
            halt = halt + halt_loss(network, last, answer, batch, (before, losses.detach()), later, settings) / steps
            mean, before = mean + losses.mean() / steps, losses.detach()
    take_step(run, mean + settings.halt_weight * halt, settings)
    return float(mean.detach())


def supervised(network: Network, answer: Answer, batch: Batch, settings: TrainSettings) -> Tensor:
    """Loss of each sample, summed over targets. → (B,)"""
    total = answer.halt.new_zeros(len(batch.rows), dtype=torch.float32)
    for target in network.task.targets:
        truth = network.tensor(batch.targets[target.name])
        logits = answer.logits[target.name]
        if settings.offset and target.name == network.task.primary:
            logits = logits + settings.offset
        loss = loss_per_sample(target, logits, truth, settings.label_smoothing)
        if target.head == "binary" and target.name == network.task.primary and settings.positive_weight != 1.0:
            loss = loss * torch.where(truth == 1, settings.positive_weight, 1.0)
        total = total + loss
    return total


def halt_loss(
    network: Network, before: State, answer: Answer, batch: Batch, losses: tuple[Tensor, Tensor], later: Tensor, settings: TrainSettings
) -> Tensor:
    """Mean loss of the halt head. losses: (B,) each, one step ago and now; later: (B,) bool, False at a sample's first step.

    exact: the head learns whether the answer is right. no_further_gain: one noisy label cannot say when to stop; the head
    learns, one step late and from the detached state, whether the step that followed lowered the loss by `halt_gain`.
    """
    if network.task.halt == "exact":
        target = network.task.target(network.task.primary)
        right = exact(target, answer.logits[target.name], network.tensor(batch.targets[target.name]))
        return F.binary_cross_entropy_with_logits(answer.halt, right.float())
    gained = (losses[0] - losses[1] > settings.halt_gain).float()
    each = F.binary_cross_entropy_with_logits(network.halt(before.y.detach()), 1 - gained, reduction="none")
    return (each * later).sum() / later.sum().clamp_min(1)


def halted(run: Run, answer: Answer, settings: TrainSettings) -> NDArray[np.bool_]:
    """Which slots stop early: under `exact` those whose halt head says so, some of which must explore a random depth first."""
    slots, config = run.slots, run.network.config
    if run.network.task.halt != "exact" or not settings.halt_early:
        return np.zeros(len(slots.age), bool)
    random = draw(settings.seed, EXPLORE, run.step)
    explores = random.random(len(slots.age)) < EXPLORATION
    deepest = max(config.supervision_steps, MINIMUM_DEPTH)
    least = np.where(explores, random.integers(MINIMUM_DEPTH, deepest + 1, len(slots.age)), 1)
    return (answer.halt.detach() > 0).cpu().numpy() & (slots.age + 1 >= least)


def take_step(run: Run, loss: Tensor, settings: TrainSettings) -> None:
    """Backward, clip, move the weights, their average and the learning rate."""
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.clip_norm)
    run.optimiser.step()
    run.schedule.step()
    run.average.update(run.network)
    run.step += 1


def hide(batch: Batch, task: Task, settings: TrainSettings, step: int) -> Batch:
    """The batch with some source columns and some cells made absent, so that the network leans on no single one."""
    if not (settings.field_dropout or settings.cell_dropout):
        return batch
    random = draw(settings.seed, HIDE, step)
    numbers, codes = hidden_cells(task, batch, random, everywhere=settings.field_dropout, here=settings.cell_dropout)
    return replace(batch, numbers=np.where(numbers, np.float32(np.nan), batch.numbers), codes=np.where(codes, 0, batch.codes))


def begun(start: State, settings: TrainSettings, step: int) -> State:
    """Where fresh slots begin: the network's own state, or a random one for each sample."""
    return State(*_normal(start, settings, step, -1)) if settings.random_start else start


def stirred(state: State, settings: TrainSettings, step: int, supervision_step: int = 0) -> State:
    """The state that a supervision step starts from, with noise where asked for."""
    if not settings.state_noise:
        return state
    y, z = _normal(state, settings, step, supervision_step)
    return State(state.y + settings.state_noise * y, state.z + settings.state_noise * z)


def _normal(state: State, settings: TrainSettings, step: int, supervision_step: int) -> list[Tensor]:
    """Standard normal values for y and z: a function of seed and step, drawn on the processor whatever the device."""
    seed = int(draw(settings.seed, STIR, step).integers(2**62)) + supervision_step
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(part.shape, generator=random).to(part.device, part.dtype) for part in state]


def precision(network: Network, settings: TrainSettings) -> AbstractContextManager[None]:
    """bfloat16 products where asked for, and where the processor gains from them."""
    device = network.places.device.type
    gains = device != "cpu" or bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.autocast(device, torch.bfloat16) if settings.half_precision and gains else nullcontext()


def validate(run: Run, sequences: Samples, rows: NDArray[np.int64], train_loss: float, settings: TrainSettings) -> float:
    """Judge the averaged weights by the loss of the last step on `rows`; keep them if they are the best so far."""
    network = run.average.module.eval()
    total, count = 0.0, 0
    with torch.inference_mode(), precision(network, settings):
        for first in range(0, len(rows), VALIDATION_BATCH):
            batch = sequences.batch(rows[first : first + VALIDATION_BATCH])
            *_, answer = answers(network, batch)
            target = network.task.target(network.task.primary)
            logits = answer.logits[target.name] + settings.offset if settings.offset else answer.logits[target.name]
            losses = loss_per_sample(target, logits, network.tensor(batch.targets[target.name]))
            total, count = total + float(losses.double().sum()), count + len(losses)
    judged = total / count
    run.history.append({"step": run.step, "train_loss": train_loss, "validation_loss": judged})
    if judged < run.best_loss:
        run.best_loss, run.best_step = judged, run.step
        run.best = {name: value.clone() for name, value in network.state_dict().items()}
    return judged
