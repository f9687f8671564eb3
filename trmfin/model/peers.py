"""Cores without recursion behind the same door as `Core`: same question, same heads, same training. For comparison."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trmfin.model.config import Depth, ModelConfig
from trmfin.model.core import Core, State
from trmfin.model.layers import Setting, rms_norm


class PlainCore(Core):
    """The same blocks, passed once: a transformer (attention) or an MLP over tokens and channels (mlp). One step is all."""

    def forward(self, x: Tensor, state: State, setting: Setting, depth: Depth | None = None) -> State:
        """The answer is what the blocks make of the question. x: (B, L, D)."""
        return State(self.net(rms_norm(x).to(setting.dtype), setting).to(x.dtype), state.z)


class GruCore(nn.Module):
    """A gated recurrent net over tokens, oldest first (Cho et al. 2014, arXiv:1406.1078). No recursion: one step is all.

    Padding is a zero token, as `Network.encode` gives it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(config.width, config.width, num_layers=config.blocks, batch_first=True)

    def compile_blocks(self) -> None:
        """There are none: a GRU is torch's own."""

    def start(self, x: Tensor) -> State:
        return State(torch.zeros_like(x), torch.zeros_like(x))

    def forward(self, x: Tensor, state: State, setting: Setting, depth: Depth | None = None) -> State:
        """The state after the newest event stands at the leading token, where heads read it. x: (B, L, D)."""
        hidden, _ = self.gru(rms_norm(x))
        return State(torch.cat((hidden[:, -1:], hidden[:, :-1]), dim=1), state.z)

    def setting(self, mask: Tensor, bias: Tensor | None = None) -> Setting:
        """Nothing but the padding: there are no positions and no attention to bias."""
        return Setting(dtype=torch.float32, weights=(), answer_weights=(), turns=torch.zeros(0), hidden=None if bool(mask.all()) else ~mask)


def core(config: ModelConfig, length: int) -> Core | GruCore:
    """The core that a config names."""
    if config.core == "gru":
        return GruCore(config)
    return PlainCore(config, length) if config.core == "plain" else Core(config, length)
