"""The parts of one block: linear maps, SwiGLU, rotary attention, mixing over tokens. Source: arXiv:2510.04871 and its official code."""

from __future__ import annotations

from collections.abc import Sequence
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


def rms_norm(h: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis, without gain (Zhang & Sennrich 2019, arXiv:1910.07467)."""
    if h.requires_grad:
        return cast(Tensor, Norm.apply(h))  # type: ignore[no-untyped-call]
    return h * scale(h) if h.dtype == torch.bfloat16 else F.rms_norm(h, (h.shape[-1],), eps=NORM_EPS)


def scale(h: Tensor) -> Tensor:
    """r = (mean(h²) + eps)^-½ of each token, (…, 1); squares of half precision are summed in single precision."""
    if h.dtype != torch.bfloat16:
        return (h.square().mean(-1, keepdim=True) + NORM_EPS).rsqrt()
    length = torch.linalg.vector_norm(h, dim=-1, keepdim=True, dtype=torch.float32)
    return (length.square_() / h.shape[-1] + NORM_EPS).rsqrt_().to(h.dtype)


class Norm(torch.autograd.Function):
    """`F.rms_norm` with its gradient in closed form, in fewer passes over memory; differentiable once. (…, D) → (…, D).

    out = r h with r = (mean(h²) + eps)^-½; g, the gradient of out, becomes r (g - out mean(g out)). A gradient that comes
    transposed is laid out like h first: products of what lies in unlike orders are slow.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        r = scale(h)
        out = h * r
        ctx.save_for_backward(out, r)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (out, r), g = ctx.saved_tensors, g.contiguous()
        return torch.addcmul(g, out, torch.linalg.vecdot(g, out).unsqueeze(-1), value=-1 / g.shape[-1]).mul_(r)


Weights = tuple[Tensor, ...]  # of one part of a block, as its passes use them: in the precision of products, and cut into parts
BlockWeights = tuple[Weights, Weights]  # of the mixer and of the SwiGLU over channels


def product(h: Tensor, weight: Tensor) -> Tensor:
    """h W' over the last axis. weight: (O, I), or (M, O, I) where M networks' samples stand in h one network's after the other's."""
    if weight.ndim == 2:
        return F.linear(h, weight)
    return torch.bmm(h.reshape(len(weight), -1, h.shape[-1]), weight.mT).view(*h.shape[:-1], weight.shape[1])


class SwiGLU(nn.Module):
    """(…, width) → (…, width); Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.inner = inner
        self.gate_up = linear(width, 2 * inner)
        self.down = linear(inner, width)

    def weights(self, dtype: torch.dtype) -> Weights:
        """gate, up and down. What gate and up make of tokens is contiguous, and backward joins their gradients at the small weight."""
        return *self.gate_up.weight.to(dtype).split(self.inner), self.down.weight.to(dtype)

    def forward(self, h: Tensor, weights: Weights) -> Tensor:
        gate, up, down = weights
        h = h.to(gate.dtype)
        return product(F.silu(product(h, gate)) * product(h, up), down)


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
    """What a pass over tokens needs beside the tokens; the same for every re-application of the network.

    Weights stand here, not with their blocks, so that they are cast and cut once, not at each of the many passes.
    """

    dtype: torch.dtype  # of tokens between products
    weights: tuple[BlockWeights, ...]  # of each block
    answer_weights: tuple[BlockWeights, ...]  # of each block of the network that refines y, where it has its own
    turns: Tensor  # (L, head_width / 2) complex: rotary positions
    hidden: Tensor | None = None  # (B, L) True on padding; None where nothing is padded
    bias: Tensor | None = None  # (B, H or 1, L or 1, L): added to attention scores; -inf hides padding

    def taken(self, keep: Tensor) -> Setting:
        """The setting of some samples of the batch. keep: (B,) bool."""
        hidden, bias = (None if part is None else part[keep] for part in (self.hidden, self.bias))
        return replace(self, hidden=hidden, bias=bias)

    @classmethod
    def joined(cls, settings: Sequence[Setting]) -> Setting:
        """One setting of M networks' passes over the same samples, one network's after the other's: weights are (M, …), samples M B.

        `taken` is of a setting of one network.
        """
        first = settings[0]
        if len(settings) == 1:
            return first
        return replace(
            first,
            weights=_stacked([each.weights for each in settings]),
            answer_weights=_stacked([each.answer_weights for each in settings]),
            hidden=None if first.hidden is None else first.hidden.repeat(len(settings), 1),
            bias=None if first.bias is None else torch.cat([each.bias for each in settings if each.bias is not None]),
        )


def _stacked(networks: Sequence[tuple[BlockWeights, ...]]) -> tuple[BlockWeights, ...]:
    """The weights of networks of one shape, each with an axis of networks in front."""
    blocks = list[BlockWeights]()
    for block in zip(*networks, strict=True):
        mixer, mlp = (tuple(torch.stack(parts) for parts in zip(*each, strict=True)) for each in zip(*block, strict=True))
        blocks.append((mixer, mlp))
    return tuple(blocks)


class Attention(nn.Module):
    """h → rms(h + attention(h)) over all tokens, non-causal, rotary positions. (B, L, D) → (B, L, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.qkv = linear(config.width, 3 * config.width)
        self.out = linear(config.width, config.width)

    def weights(self, dtype: torch.dtype) -> Weights:
        """Queries and keys in one, values, out."""
        D = self.out.out_features
        return *self.qkv.weight.to(dtype).split((2 * D, D)), self.out.weight.to(dtype)

    def forward(self, h: Tensor, setting: Setting, weights: Weights) -> Tensor:
        *parts, out = weights
        narrow = h.to(out.dtype)
        qk, v = (product(narrow, part).unflatten(-1, (-1, self.head_width)).transpose(1, 2) for part in parts)
        q, k = rotate(qk, setting.turns).chunk(2, dim=1)  # each (B, H, L, head_width), like v
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=setting.bias)
        return rms_norm(h + product(mixed.transpose(1, 2).flatten(2), out))


class TokenMLP(nn.Module):
    """h → rms(h + SwiGLU over the token axis), for a fixed number of tokens. (B, L, D) → (B, L, D).

    Norm and mixing run over the token axis; padded tokens are held at zero.
    """

    def __init__(self, length: int, inner_multiple: int) -> None:
        super().__init__()
        self.mlp = SwiGLU(length, swiglu_width(length, inner_multiple))

    def weights(self, dtype: torch.dtype) -> Weights:
        return self.mlp.weights(dtype)

    def forward(self, h: Tensor, setting: Setting, weights: Weights) -> Tensor:
        columns = h.transpose(1, 2).contiguous()  # (B, D, L)
        if setting.hidden is not None:
            columns = columns.masked_fill(setting.hidden[:, None, :], 0.0)
        mixed = rms_norm(columns + self.mlp(columns, weights))
        return mixed.transpose(1, 2).contiguous()


class Block(nn.Module):
    """One layer: mix over tokens, then over channels; each followed by its norm (post-norm)."""

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.mixer = Attention(config) if config.mixer == "attention" else TokenMLP(length, config.inner_multiple)
        self.mlp = SwiGLU(config.width, config.inner_width)

    def weights(self, dtype: torch.dtype) -> BlockWeights:
        return self.mixer.weights(dtype), self.mlp.weights(dtype)

    def forward(self, h: Tensor, setting: Setting, weights: BlockWeights) -> Tensor:
        mixer, mlp = weights
        h = self.mixer(h, setting, mixer)
        return rms_norm(h + self.mlp(h, mlp))
