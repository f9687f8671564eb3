"""The recursion once more, in plain tensor algebra: no module of the package is called, only its weights are read."""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]  # parameters of a Core by name


def norm(h: Tensor) -> Tensor:
    return h / (h.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def swiglu(h: Tensor, weights: Weights, name: str) -> Tensor:
    both = h @ weights[f"{name}.gate_up.weight"].T
    gate, up = both[..., : both.shape[-1] // 2], both[..., both.shape[-1] // 2 :]
    return (gate * torch.sigmoid(gate) * up) @ weights[f"{name}.down.weight"].T


def turned(h: Tensor) -> Tensor:
    """Rotary code: each pair of neighbouring channels, number i, is turned by position / 10000^(2 i / width). h: (L, width)"""
    out = torch.empty_like(h)
    for position in range(len(h)):
        for pair in range(h.shape[1] // 2):
            angle = torch.tensor(position / 10_000 ** (2 * pair / h.shape[1]), dtype=h.dtype)
            first, second = h[position, 2 * pair], h[position, 2 * pair + 1]
            out[position, 2 * pair] = first * angle.cos() - second * angle.sin()
            out[position, 2 * pair + 1] = second * angle.cos() + first * angle.sin()
    return out


def attention(h: Tensor, weights: Weights, name: str, heads: int, hidden: Tensor, bias: Tensor | None = None) -> Tensor:
    """One sample's tokens, h (L, D); hidden: (L,) True on padding; bias: (heads, L, L)."""
    q, k, v = (h @ weights[f"{name}.qkv.weight"].T).chunk(3, 1)
    width, parts = h.shape[1] // heads, []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        score = turned(q[:, own]) @ turned(k[:, own]).T / width**0.5
        score = score if bias is None else score + bias[head]
        share = torch.where(hidden, 0.0, torch.exp(score - score.max()))
        parts.append(share / share.sum(1, keepdim=True) @ v[:, own])
    return torch.cat(parts, 1) @ weights[f"{name}.out.weight"].T


def net(h: Tensor, weights: Weights, blocks: int, heads: int, hidden: Tensor) -> Tensor:
    """All blocks of one sample, h (L, D). heads = 0: the MLP mixer."""
    for block in range(blocks):
        if heads:
            h = norm(h + attention(h, weights, f"blocks.{block}.mixer", heads, hidden))
        else:
            columns = torch.where(hidden, 0.0, h.T)
            h = norm(columns + swiglu(columns, weights, f"blocks.{block}.mixer.mlp")).T
        h = norm(h + swiglu(h, weights, f"blocks.{block}.mlp"))
    return h


def cycle(
    x: Tensor, y: Tensor, z: Tensor, weights: Weights, latent_steps: int, blocks: int, heads: int, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """n updates of z, then one of y; one sample, each (L, D)."""
    for _ in range(latent_steps):
        z = net(z + (y + x), weights, blocks, heads, hidden)
    return net(y + z, weights, blocks, heads, hidden), z
