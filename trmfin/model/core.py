"""THE recursion: one small network refines a latent z and an answer y, over and over (arXiv:2510.04871, section 4).

Knows tokens only: no finance, no puzzle, no loss. The caller embeds a question x, carries the state (y, z) from one
supervision step to the next, and reads an answer from y.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from trmfin.model.config import Depth, ModelConfig
from trmfin.model.layers import Block, Setting, rotary_turns, truncated_normal


class State(NamedTuple):
    """What the recursion carries: answer y and latent z, each (B, L, D)."""

    y: Tensor
    z: Tensor

    def detach(self) -> State:
        return State(self.y.detach(), self.z.detach())


class Core(nn.Module):
    """The network `net` and the order in which it is re-applied.

    With two nets (z and y each have their own) and gradient "step" it is the Hierarchical Reasoning Model (arXiv:2506.21734).
    """

    start_y: Tensor
    start_z: Tensor
    turns: Tensor

    def __init__(self, config: ModelConfig, length: int) -> None:
        """length: tokens L of a sequence, the most the rotary table holds (attention) or exactly (MLP mixer)."""
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, length) for _ in range(config.blocks))
        self.answer_blocks = nn.ModuleList(Block(config, length) for _ in range(config.blocks if config.nets == 2 else 0))
        self.register_buffer("start_y", truncated_normal(config.width, std=1.0))
        self.register_buffer("start_z", truncated_normal(config.width, std=1.0))
        self.register_buffer("turns", rotary_turns(length, config.head_width), persistent=False)

    def start(self, x: Tensor) -> State:
        """The fixed, untrained state every sample begins from, broadcast over tokens. x: (B, L, D)."""
        return State(self.start_y.expand_as(x), self.start_z.expand_as(x))

    def compile_blocks(self) -> None:
        """Let `torch.compile` write the blocks' code, which takes a C++ compiler or a GPU, and seconds to minutes."""
        for block in (*self.blocks, *self.answer_blocks):
            block.compile()

    def net(self, h: Tensor, setting: Setting) -> Tensor:
        """The network that refines z, and y too where there is but one. (B, L, D) → (B, L, D)."""
        for block, weights in zip(self.blocks, setting.weights, strict=True):
            h = block(h, setting, weights)
        return h

    def answer_net(self, h: Tensor, setting: Setting) -> Tensor:
        """The network that refines y. (B, L, D) → (B, L, D)."""
        if not self.answer_blocks:
            return self.net(h, setting)
        for block, weights in zip(self.answer_blocks, setting.answer_weights, strict=True):
            h = block(h, setting, weights)
        return h

    def latent(self, x: Tensor, state: State, setting: Setting, times: int) -> Tensor:
        """z after so many updates."""
        z, question = state.z, x + state.y
        for _ in range(times):
            z = self._damped(z, self.net(z + question, setting))
        return z

    def cycle(self, x: Tensor, state: State, setting: Setting, latent_steps: int) -> State:
        """n updates of z, then one of y."""
        z = self.latent(x, state, setting, latent_steps)
        return State(self._damped(state.y, self.answer_net(state.y + z, setting)), z)

    def forward(self, x: Tensor, state: State, setting: Setting, depth: Depth | None = None) -> State:
        """One supervision step: T cycles, of which only the last carries gradient, or only the last update of z and y in it.

        x: (B, L, D) the embedded question; state: where the last supervision step ended, detached by the caller; depth: n
        and T where they are not the config's.
        """
        n, T = depth or self.config.depth
        last = n if self.config.gradient == "cycle" else 1
        kept, inside = state.y.dtype, setting.dtype  # what is carried from step to step stays as it is
        x, state = x.to(inside), State(state.y.to(inside), state.z.to(inside))
        with torch.no_grad():
            for _ in range(T - 1):
                state = self.cycle(x, state, setting, n)
            if last < n:
                state = State(state.y, self.latent(x, state, setting, n - last))
        y, z = self.cycle(x, state, setting, last)
        return State(y.to(kept), z.to(kept))

    def setting(self, mask: Tensor, bias: Tensor | None = None) -> Setting:
        """What `net` needs beside the tokens. mask: (B, L) bool, True for a token; bias: (B, H, L, L) or None.

        A batch without padding takes the faster path without a mask; the answer is the same. Under autocast products are in
        half precision, and tokens between them where the config has `half_tokens`.
        """
        hidden = None if bool(mask.all()) else ~mask
        narrow = precision_of(self.start_y)
        dtype = narrow if self.config.half_tokens else self.start_y.dtype
        if hidden is not None and self.config.mixer == "attention":
            wall = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(hidden, float("-inf"))[:, None, None, :]
            bias = wall if bias is None else bias + wall  # (B, H or 1, L or 1, L)
        bias = None if bias is None else bias.to(dtype)
        turns = self.turns[: mask.shape[1]].to(torch.promote_types(dtype, torch.float32).to_complex())
        weights, answer_weights = (
            tuple(cast(Block, block).weights(narrow) for block in blocks) for blocks in (self.blocks, self.answer_blocks)
        )
        return Setting(dtype=dtype, weights=weights, answer_weights=answer_weights, turns=turns, hidden=hidden, bias=bias)

    def _damped(self, old: Tensor, new: Tensor) -> Tensor:
        """An update that keeps a share of the old state, so that repeating it settles (EqR; 0 in TRM)."""
        return torch.lerp(new, old, self.config.damping) if self.config.damping else new


def precision_of(values: Tensor) -> torch.dtype:
    """What these values are multiplied in: the precision of the autocast that is on where they lie, or their own."""
    device = values.device.type
    half = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if half else values.dtype
