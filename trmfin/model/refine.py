"""The recursion as it is used: a question in, an answer after every supervision step, thought over once or more often."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trmfin.errors import ConfigError
from trmfin.model.core import State
from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Answer, Network
from trmfin.sequences.batch import Batch

PICKS = ("halt", "residual")


@dataclass(frozen=True, kw_only=True)
class Thinking:
    """How long, and how many times, a question is thought over; the default is what was trained.

    Several rollouts differ by noise on their state (PTRM) or by where they begin (EqR); after each step the one is answered
    whose halt head is surest, or whose answer has moved least. Noise is a function of seed, rollout and step, the same
    for every sample, so that an answer does not depend on its batch.
    """

    steps: int | None = None  # supervision steps, fewer or more than trained; None = as trained
    rollouts: int = 1  # runs of each sample
    noise: float = 0.0  # standard deviation of what is added to y and z before each step but the first, in every run but the first
    random_start: bool = False  # every run but the first begins from a random state
    pick: str = "halt"  # or "residual"
    seed: int = 0

    def __post_init__(self) -> None:
        least = self.rollouts >= 1 and (self.steps is None or self.steps >= 1) and self.seed >= 0
        if not least or not 0 <= self.noise < math.inf:
            raise ConfigError(
                f"thinking: steps {self.steps}, rollouts {self.rollouts}, noise {self.noise}, seed {self.seed}; "
                "expected at least 1, 1, 0 and 0, and finite noise"
            )
        if self.pick not in PICKS:
            raise ConfigError(f"thinking: pick is {self.pick!r}; expected 'halt' or 'residual'")
        if (self.rollouts > 1) != bool(self.noise or self.random_start):
            raise ConfigError(
                f"thinking: {self.rollouts} rollouts, noise {self.noise:g}, random_start {self.random_start}; "
                "several rollouts need noise or a random start to differ, and one run has neither"
            )
        if self.pick == "residual" and self.rollouts == 1:
            raise ConfigError("thinking: pick is 'residual' and rollouts 1; there is one run to take, so ask for more or leave pick out")


AS_TRAINED = Thinking()


def answers(network: Network | Ensemble, batch: Batch, thinking: Thinking = AS_TRAINED) -> Iterator[Answer]:
    """The answer after each supervision step; y and z are detached between steps."""
    x, setting = network.encode(batch), network.setting(batch)
    tokens = torch.from_numpy(batch.mask).to(x.device).view(len(x), *[1] * (x.ndim - 3), -1, 1)  # (B, L, 1), or (B, 1, L, 1)
    states = [begin(network.core.start(x), thinking, run) for run in range(thinking.rollouts)]
    for step in range(thinking.steps or network.config.supervision_steps):
        before = [stirred(state.detach(), thinking, run, step) for run, state in enumerate(states)]
        states = [network.core(x, state, setting) for state in before]  # type: ignore[arg-type]
        runs = [network.read(state, setting) for state in states]  # type: ignore[arg-type]
        yield runs[0] if len(runs) == 1 else picked(runs, _confidence(runs, before, states, tokens, thinking.pick))


def answers_until_halted(network: Network, batch: Batch, steps: int | None = None, margin: float = 0.0) -> tuple[Answer, Tensor]:
    """Each sample's answer at the first step after which its halt head says stop, at the last otherwise, and that step (B,).

    Samples that have halted leave the batch, so that thinking costs what it is needed for. margin: the halt logit that says stop.
    """
    x, setting = network.encode(batch), network.setting(batch)
    state, places = network.core(x, network.core.start(x), setting), torch.arange(len(x), device=x.device)
    answer = kept = network.read(state, setting)
    used = torch.ones(len(x), dtype=torch.long, device=x.device)
    for _ in range(1, steps or network.config.supervision_steps):
        going = answer.halt <= margin
        if not bool(going.any()):
            break
        if not bool(going.all()):
            x, state, setting, places = x[going], State(state.y[going], state.z[going]), setting.taken(going), places[going]
        state = network.core(x, state.detach(), setting)
        answer = network.read(state, setting)
        kept, used = _written(kept, places, answer), used.index_add(0, places, torch.ones_like(places))
    return kept, used


def begin(start: State, thinking: Thinking, run: int) -> State:
    """Where a run begins."""
    return drawn(start, 1.0, thinking.seed, run, 0, add=False) if run and thinking.random_start else start


def stirred(state: State, thinking: Thinking, run: int, step: int) -> State:
    """The state with this run's and this step's noise."""
    return drawn(state, thinking.noise, thinking.seed, run, step) if run and step and thinking.noise else state


def drawn(state: State, std: float, seed: int, run: int, step: int, add: bool = True) -> State:
    """Normal values over tokens and channels, the same for every sample, added to the state or in its place."""
    random = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, run, step)).generate_state(1)[0]))
    parts = []
    for part in state:
        noise = torch.randn(part.shape[1:], generator=random).to(part.device, part.dtype) * std
        parts.append(part + noise if add else noise.expand_as(part))
    return State(*parts)


def picked(runs: list[Answer], confidence: Tensor) -> Answer:
    """Of several runs' answers each sample's surest. confidence: (runs, B)."""
    best = confidence.argmax(0)  # (B,)
    samples = torch.arange(len(best), device=best.device)
    logits = {name: torch.stack([run.logits[name] for run in runs])[best, samples] for name in runs[0].logits}
    return Answer(logits=logits, halt=torch.stack([run.halt for run in runs])[best, samples])


def _confidence(runs: list[Answer], before: list[State], after: list[State], tokens: Tensor, pick: str) -> Tensor:
    """(runs, B): the halt logit, or minus how far the step has moved y. tokens: True where y is of a token, not of padding."""
    if pick == "halt":
        return torch.stack([run.halt for run in runs])
    return torch.stack([-((new.y - old.y) * tokens).flatten(1).norm(dim=1) for old, new in zip(before, after, strict=True)])


def _written(kept: Answer, places: Tensor, answer: Answer) -> Answer:
    """`kept` with the answers of the samples that are still thought over in their places."""
    return Answer(
        logits={name: values.index_copy(0, places, answer.logits[name]) for name, values in kept.logits.items()},
        halt=kept.halt.index_copy(0, places, answer.halt),
    )
