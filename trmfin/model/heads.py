"""What is read from the answer y: one head per target, and the halt head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trmfin.model.layers import linear
from trmfin.sequences.task import Target

HALT_BIAS = -5.0  # at 0 training is trapped: every slot halts at once (arXiv:2510.04871, official code)


class Linear(nn.Module):
    """Logits from the leading token (binary, classes) or from every token (tokens); all zero at the start."""

    def __init__(self, target: Target, width: int) -> None:
        super().__init__()
        self.every_token = target.head == "tokens"
        self.weight = nn.Parameter(torch.zeros(target.outputs, width))
        self.bias = nn.Parameter(torch.zeros(target.outputs))

    def forward(self, y: Tensor) -> Tensor:
        """y: (B, L, D) → (B, K), or (B, L, K)."""
        return F.linear(y if self.every_token else y[:, 0], self.weight, self.bias)


class Ordered(nn.Module):
    """Outputs that never cross: quantiles (rising) or cumulative logits of P(class > k) (falling).

    Source of the cumulative form: McCullagh 1980, proportional odds.
    """

    def __init__(self, target: Target, width: int) -> None:
        super().__init__()
        self.rising = target.head == "quantiles"
        self.first = linear(width, 1)
        # Quantile steps may depend on the sample; ordinal thresholds are shared by all samples.
        self.steps = linear(width, target.outputs - 1) if self.rising and target.outputs > 1 else None
        self.offset = nn.Parameter(torch.zeros(target.outputs))

    def forward(self, y: Tensor) -> Tensor:
        """y: (B, L, D) → (B, K)."""
        leading = y[:, 0]
        gaps = self.offset[1:].expand(len(y), -1)
        if self.steps is not None:
            gaps = gaps + self.steps(leading)
        rise = F.pad(F.softplus(gaps).cumsum(1), (1, 0))  # (B, K), first column 0
        base = self.first(leading) + self.offset[:1]
        return base + rise if self.rising else base - rise


class Choice(nn.Module):
    """For every token, a logit for each token that it may point at: an allocation. (B, L, D) → (B, L, L)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.asks, self.offers = linear(width, width), linear(width, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.asks(y) @ self.offers(y).transpose(1, 2) * y.shape[-1] ** -0.5


class Halt(nn.Module):
    """Logit of "stop here", from the leading token; starts at "go on" for every sample. (B, L, D) → (B,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.tensor(HALT_BIAS))

    def forward(self, y: Tensor) -> Tensor:
        return (y[:, 0] * self.weight).sum(-1) + self.bias  # not a product of matrices, which half precision would round


def head(target: Target, width: int) -> nn.Module:
    """The head that a target's kind asks for."""
    if target.head in ("quantiles", "ordinal"):
        return Ordered(target, width)
    return Choice(width) if target.head == "choice" else Linear(target, width)
