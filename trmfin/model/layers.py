"""The parts of one block: linear maps, SwiGLU, rotary attention, mixing over tokens. Source: arXiv:2510.04871 and its official code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trmfin.model.config import ModelConfig, swiglu_width

NORM_EPS = 1e-5
ROTARY_BASE = 1e4
TRUNCATED_STD = 0.87962566  # standard deviation of N(0, 1) cut at +-2


def truncated_normal(*shape: int, std: float) -> Tensor:
    """Normal values cut at two standard deviations, rescaled so that their own standard deviation is `std`."""
    scale = std / TRUNCATED_STD
    return nn.init.trunc_normal_(torch.empty(*shape), std=scale, a=-2 * scale, b=2 * scale)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map without bias, truncated LeCun normal start."""
    layer = nn.Linear(inputs, outputs, bias=False)
    layer.weight = nn.Parameter(truncated_normal(outputs, inputs, std=inputs**-0.5))
    return layer


def linear_parts(layer: nn.Linear, h: Tensor, *outputs: int) -> list[Tensor]:
    """`layer(h)` cut along its last axis into parts of so many `outputs`.

    Each part is contiguous, and backward joins their gradients at the small weight instead of at every token.
    """
    return [F.linear(h, weight) for weight in layer.weight.split(outputs)]


def rms_norm(h: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis, without gain (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    if h.requires_grad:
        return cast(Tensor, Norm.apply(h))  # type: ignore[no-untyped-call]
    return F.rms_norm(h, (h.shape[-1],), eps=NORM_EPS)


class Norm(torch.autograd.Function):
    """`F.rms_norm` with its gradient in closed form, in fewer passes over memory; differentiable once. (…, D) → (…, D).

    out = r h with r = (mean(h²) + eps)^-½; g, the gradient of out, becomes r (g - out mean(g out)).
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        r = (h.square().mean(-1, keepdim=True) + NORM_EPS).rsqrt()  # (…, 1)
        out = h * r
        ctx.save_for_backward(out, r)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        out, r = ctx.saved_tensors
        return torch.addcmul(g, out, torch.linalg.vecdot(g, out).unsqueeze(-1), value=-1 / g.shape[-1]).mul_(r)


class SwiGLU(nn.Module):
    """(…, width) → (…, width); Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.inner = inner
        self.gate_up = linear(width, 2 * inner)
        self.down = linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        gate, up = linear_parts(self.gate_up, h, self.inner, self.inner)
        return self.down(F.silu(gate) * up)


def rotary_turns(length: int, head_width: int) -> Tensor:
    """Unit complex numbers (L, head_width / 2), in double precision, by which pairs of channels turn (arXiv:2104.09864)."""
    frequency = ROTARY_BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(h: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels of h (…, L, head_width) by its position's angle."""
    whole = h if h.dtype in (torch.float32, torch.float64) else h.float()  # there is no complex bfloat16
    pairs = torch.view_as_complex(whole.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(h.dtype)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a pass over tokens needs beside the tokens; the same for every re-application of the network."""

    turns: Tensor  # (L, head_width / 2) complex: rotary positions
    hidden: Tensor | None = None  # (B, L) True on padding; None where nothing is padded
    bias: Tensor | None = None  # (B, H or 1, L or 1, L): added to attention scores; -inf hides padding

    def taken(self, keep: Tensor) -> Setting:
        """The setting of some samples of the batch. keep: (B,) bool."""
        hidden, bias = (None if part is None else part[keep] for part in (self.hidden, self.bias))
        return replace(self, hidden=hidden, bias=bias)


class Attention(nn.Module):
    """h → rms(h + attention(h)) over all tokens, non-causal, rotary positions. (B, L, D) → (B, L, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.qkv = linear(config.width, 3 * config.width)
        self.out = linear(config.width, config.width)

    def forward(self, h: Tensor, setting: Setting) -> Tensor:
        D = h.shape[-1]
        qk, v = (part.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for part in linear_parts(self.qkv, h, 2 * D, D))
        q, k = rotate(qk, setting.turns).chunk(2, dim=1)  # each (B, H, L, head_width), like v
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=setting.bias)
        return rms_norm(h + self.out(mixed.transpose(1, 2).flatten(2)))


class TokenMLP(nn.Module):
    """h → rms(h + SwiGLU over the token axis), for a fixed number of tokens. (B, L, D) → (B, L, D).

    Norm and mixing run over the token axis; padded tokens are held at zero.
    """

    def __init__(self, length: int, inner_multiple: int) -> None:
        super().__init__()
        self.mlp = SwiGLU(length, swiglu_width(length, inner_multiple))

    def forward(self, h: Tensor, setting: Setting) -> Tensor:
        columns = h.transpose(1, 2).contiguous()  # (B, D, L)
        if setting.hidden is not None:
            columns = columns.masked_fill(setting.hidden[:, None, :], 0.0)
        mixed = rms_norm(columns + self.mlp(columns))
        return mixed.transpose(1, 2).contiguous()


class Block(nn.Module):
    """One layer: mix over tokens, then over channels; each followed by its norm (post-norm)."""

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.mixer = Attention(config) if config.mixer == "attention" else TokenMLP(length, config.inner_multiple)
        self.mlp = SwiGLU(config.width, config.inner_width)

    def forward(self, h: Tensor, setting: Setting) -> Tensor:
        h = self.mixer(h, setting)
        return rms_norm(h + self.mlp(h))
