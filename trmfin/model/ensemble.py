"""Several networks that answer as one: their logits are averaged at every supervision step.

An average of logits is a logit, so calibration, halting and exact explanations treat an ensemble as they treat one
network. Offers what `Network` offers, with a member axis behind the batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from trmfin.model.config import ModelConfig
from trmfin.model.core import Core, State
from trmfin.model.layers import Setting
from trmfin.model.network import Answer, Network
from trmfin.model.peers import GruCore
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Batch
from trmfin.sequences.task import Task

JOINED_NUMBERS = 2**18  # of all members' x: up to here fewer calls save more than a core's cache loses (docs/log.md)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What passes over tokens need beside the tokens."""

    each: list[Setting]  # of each member: they weigh relations differently
    joined: Setting | None  # of all in one, where samples are few and cores have blocks


@dataclass(frozen=True)
class Cores:
    """The members' cores, stepped side by side; of a few samples as one, whose products have an axis of members."""

    each: list[Core | GruCore]

    def start(self, x: Tensor) -> State:
        """x: (B, M, L, D) → y and z of the same shape."""
        states = [core.start(part) for core, part in zip(self.each, x.unbind(1), strict=True)]
        return _stacked(states)

    def __call__(self, x: Tensor, state: State, settings: Settings) -> State:
        """One supervision step of every member. x, y, z: (B, M, L, D)."""
        if settings.joined is None:
            parts = zip(self.each, x.unbind(1), state.y.unbind(1), state.z.unbind(1), settings.each, strict=True)
            return _stacked([core(x, State(y, z), setting) for core, x, y, z, setting in parts])
        x, y, z = (part.transpose(0, 1).flatten(0, 1) for part in (x, *state))  # (M B, L, D)
        after = self.each[0](x, State(y, z), settings.joined)  # the recursion is the same for all, and the weights stand in the setting
        return State(*(part.unflatten(0, (len(self.each), -1)).transpose(0, 1) for part in after))


class Ensemble(nn.Module):
    """M networks of one task and one shape, M ≥ 1."""

    def __init__(self, task: Task, fitted: Fitted, config: ModelConfig) -> None:
        """config.members: M."""
        super().__init__()
        self.task, self.config = task, config
        self.members = nn.ModuleList(Network(task, fitted, config) for _ in range(config.members))

    @property
    def networks(self) -> list[Network]:
        return cast(list[Network], list(self.members))

    @property
    def core(self) -> Cores:
        return Cores([member.core for member in self.networks])

    def encode(self, batch: Batch) -> Tensor:
        """(B, M, L, D)"""
        return torch.stack([member.encode(batch) for member in self.networks], 1)

    def cells(self, batch: Batch) -> Tensor:
        """(B, M, L, F + C, D)"""
        return torch.stack([member.cells(batch) for member in self.networks], 1)

    @property
    def places(self) -> Tensor:
        """(M, L, D)"""
        return torch.stack([member.places for member in self.networks])

    def setting(self, batch: Batch) -> Settings:
        """Of every member."""
        each = [member.setting(batch) for member in self.networks]
        few = batch.mask.size * self.config.width * len(each) <= JOINED_NUMBERS
        return Settings(each=each, joined=Setting.joined(each) if few and self.config.core != "gru" else None)

    def read(self, state: State, settings: Settings) -> Answer:
        """The members' mean logits."""
        parts = zip(self.networks, state.y.unbind(1), state.z.unbind(1), settings.each, strict=True)
        answers = [member.read(State(y, z), setting) for member, y, z, setting in parts]
        logits = {name: torch.stack([a.logits[name] for a in answers]).mean(0) for name in answers[0].logits}
        return Answer(logits=logits, halt=torch.stack([a.halt for a in answers]).mean(0))

    @property
    def parameters_count(self) -> int:
        return sum(member.parameters_count for member in self.networks)

    def flops(self, steps: int) -> int:
        """Floating-point operations of scoring one sample of full length."""
        return sum(member.flops(steps) for member in self.networks)


def _stacked(states: list[State]) -> State:
    return State(torch.stack([s.y for s in states], 1), torch.stack([s.z for s in states], 1))
