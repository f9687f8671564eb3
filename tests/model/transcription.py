"""Tiny Recursive Model as arXiv:2510.04871 writes it down (figure 3, section 4) and its official code runs it, in plain PyTorch.

Whole batches without padding; nothing of the package is used. Weights carry the names that `Core` gives them, so that
`load_state_dict(core.state_dict())` copies them. As in the official code weights are cast to the type of what they multiply, at
every call, so that a question in bfloat16 is thought over in bfloat16, norms and rotations apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
THETA = 1e4


def exact(h: Tensor) -> Tensor:
    """h in single precision at least."""
    return h.to(torch.promote_types(h.dtype, torch.float32))


def rms_norm(h: Tensor) -> Tensor:
    whole = exact(h)
    return (whole * torch.rsqrt(whole.square().mean(-1, keepdim=True) + EPS)).to(h.dtype)


def rotated(h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neighbouring channels a, b become a cos - b sin, b cos + a sin. h: (B, H, L, head width); cos, sin: (L, head width / 2)."""
    a, b = exact(h)[..., 0::2], exact(h)[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(h.dtype)


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.to(h.dtype))


class SwiGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up, self.down = Linear(width, 2 * inner), Linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        gate, up = self.gate_up(h).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Attention(nn.Module):
    """Over all tokens, non-causal, with rotary positions. (B, L, D) → (B, L, D)."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = Linear(width, 3 * width), Linear(width, width), heads
        head_width = width // heads
        frequency = THETA ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        self.angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency  # (L, head width / 2)
        self.tables: dict[torch.dtype, tuple[Tensor, Tensor]] = {}  # cos and sin for each type

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(h).chunk(3, -1))
        kind = exact(h).dtype
        if kind not in self.tables:
            self.tables[kind] = (self.angle.cos().to(kind), self.angle.sin().to(kind))
        q, k = rotated(q, *self.tables[kind]), rotated(k, *self.tables[kind])
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class OverTokens(nn.Module):
    """A SwiGLU over the token axis; h already turned, (B, D, L) → (B, D, L)."""

    def __init__(self, length: int, inner: int) -> None:
        super().__init__()
        self.mlp = SwiGLU(length, inner)

    def forward(self, h: Tensor) -> Tensor:
        return self.mlp(h)


class Block(nn.Module):
    def __init__(self, width: int, inner: int, length: int, heads: int, token_inner: int) -> None:
        super().__init__()
        self.mixer = Attention(width, heads, length) if heads else OverTokens(length, token_inner)
        self.mlp = SwiGLU(width, inner)

    def forward(self, h: Tensor) -> Tensor:
        if isinstance(self.mixer, OverTokens):
            h = h.transpose(1, 2)
            h = rms_norm(h + self.mixer(h))
            h = h.transpose(1, 2)
        else:
            h = rms_norm(h + self.mixer(h))
        return rms_norm(h + self.mlp(h))


class TinyRecursiveModel(nn.Module):
    """`deep_recursion` is one supervision step; the caller detaches what it carries from one to the next."""

    start_y: Tensor
    start_z: Tensor

    def __init__(
        self, *, width: int, inner: int, length: int, heads: int = 0, token_inner: int = 0, blocks: int = 2, n: int = 6, T: int = 3
    ) -> None:
        """heads 0: tokens are mixed by a SwiGLU of inner width token_inner."""
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, inner, length, heads, token_inner) for _ in range(blocks))
        self.register_buffer("start_y", torch.randn(width))
        self.register_buffer("start_z", torch.randn(width))
        self.n, self.T = n, T

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.start_y.to(x.dtype).expand_as(x), self.start_z.to(x.dtype).expand_as(x)

    def net(self, h: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h)
        return h

    def latent_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.n):
            z = self.net(z + (y + x))
        return self.net(y + z), z

    def deep_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            for _ in range(self.T - 1):
                y, z = self.latent_recursion(x, y, z)
        return self.latent_recursion(x, y, z)
