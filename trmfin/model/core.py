"""THE recursion: one small network refines a latent z and an answer y, over and over (arXiv:2510.04871, section 4).

Knows tokens only: no finance, no puzzle, no loss. The caller embeds a question x, carries the state (y, z) from one
supervision step to the next, and reads an answer from y.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trmfin.model.config import ModelConfig
from trmfin.model.layers import Block, Setting, rotary_turns, truncated_normal


class State(NamedTuple):
    """What the recursion carries: answer y and latent z, each (B, L, D)."""

    y: Tensor
    z: Tensor

    def detach(self) -> State:
        return State(self.y.detach(), self.z.detach())


class Core(nn.Module):
    """The network `net` and the order in which it is re-applied."""

    start_y: Tensor
    start_z: Tensor
    turns: Tensor

    def __init__(self, config: ModelConfig, length: int) -> None:
        """length: tokens L of a sequence, the most the rotary table holds (attention) or exactly (MLP mixer)."""
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, length) for _ in range(config.blocks))
        self.register_buffer("start_y", truncated_normal(config.width, std=1.0))
        self.register_buffer("start_z", truncated_normal(config.width, std=1.0))
        self.register_buffer("turns", rotary_turns(length, config.head_width), persistent=False)

    def start(self, x: Tensor) -> State:
        """The fixed, untrained state every sample begins from, broadcast over tokens. x: (B, L, D)."""
        return State(self.start_y.expand_as(x), self.start_z.expand_as(x))

    def net(self, h: Tensor, setting: Setting) -> Tensor:
        """The one network. (B, L, D) → (B, L, D)."""
        for block in self.blocks:
            h = block(h, setting)
        return h

    def cycle(self, x: Tensor, state: State, setting: Setting) -> State:
        """n updates of z, then one of y."""
        y, z = state
        question = x + y
        for _ in range(self.config.latent_steps):
            z = self.net(z + question, setting)
        return State(self.net(y + z, setting), z)

    def forward(self, x: Tensor, state: State, setting: Setting) -> State:
        """One supervision step: T cycles, of which only the last carries gradient.

        x: (B, L, D) the embedded question; state: where the last supervision step ended, detached by the caller.
        """
        with torch.no_grad():
            for _ in range(self.config.answer_steps - 1):
                state = self.cycle(x, state, setting)
        return self.cycle(x, state, setting)

    def setting(self, mask: Tensor, bias: Tensor | None = None) -> Setting:
        """What `net` needs beside the tokens. mask: (B, L) bool, True for a token; bias: (B, H, L, L) or None.

        A batch without padding takes the faster path without a mask; the answer is the same.
        """
        hidden = None if bool(mask.all()) else ~mask
        if hidden is not None and self.config.mixer == "attention":
            wall = torch.zeros(mask.shape, dtype=self.start_y.dtype).masked_fill(hidden, float("-inf"))[:, None, None, :]  # (B, 1, 1, L)
            bias = wall if bias is None else bias + wall
        return Setting(turns=self.turns[: mask.shape[1]], hidden=hidden, bias=bias)
