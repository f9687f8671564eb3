"""From numbers and codes to the embedded question x: a sum over fields, so that an explanation can mask one field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trmfin.model.layers import truncated_normal

BELOW_ALL = -1e30  # stands for "absent": it fills no bin


class PiecewiseLinear(nn.Module):
    """Piecewise-linear encoding of F number fields over quantile bins, one linear map each, summed.

    A value becomes, per bin, the share of the bin that lies below it: 1 … 1, a fraction, 0 … 0. An absent value (NaN)
    becomes the field's own "absent" vector. Source: Gorishniy et al. 2022, arXiv:2203.05556.
    """

    low: Tensor
    slope: Tensor

    def __init__(self, edges: Tensor, dim: int) -> None:
        """edges: (F, Q+1) increasing bin edges, padded by repeating the last one; dim: D."""
        super().__init__()
        F, Q = edges.shape[0], edges.shape[1] - 1
        width = edges.diff(dim=1)
        self.register_buffer("low", edges[:, :-1].clone())  # (F, Q)
        self.register_buffer("slope", torch.where(width > 0, 1 / width.clamp_min(1e-30), 0.0))  # (F, Q); 0 for a bin that repeats an edge
        std = (max(F, 1) * 4.0) ** -0.5
        self.bins = nn.Parameter(truncated_normal(F, Q, dim, std=std))
        self.present = nn.Parameter(truncated_normal(F, dim, std=std))
        self.absent = nn.Parameter(truncated_normal(F, dim, std=std))

    def forward(self, numbers: Tensor, fields: Tensor) -> Tensor:
        """numbers: (B, L, F), NaN = absent; fields: (f,) which of the F these tokens have. → (B, L, D)."""
        share, present = self._shares(numbers[..., fields], fields)
        cells = torch.cat((share.flatten(2), present, 1 - present), 2)
        weights = torch.cat((self.bins[fields].flatten(0, 1), self.present[fields], self.absent[fields]))
        if numbers.shape[1] == 1:  # few rows: in float64, so that a sample alone gets the digits that it gets in a batch
            return (cells.double() @ weights.double()).to(weights.dtype)
        return cells @ weights

    def each(self, numbers: Tensor, fields: Tensor) -> Tensor:
        """What every field adds to `forward`'s sum, (B, L, f, D)."""
        share, present = self._shares(numbers[..., fields], fields)
        bins = torch.einsum("blfq,fqd->blfd", share, self.bins[fields])
        present = present.unsqueeze(-1)
        return bins + present * self.present[fields] + (1 - present) * self.absent[fields]

    def _shares(self, numbers: Tensor, fields: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, f) values → the share of each bin below them (B, L, f, Q), and 1 where there is a value, else 0 (B, L, f)."""
        present = (~numbers.isnan()).to(self.low.dtype)
        value = torch.where(present > 0, numbers, BELOW_ALL).to(self.low.dtype)
        return ((value.unsqueeze(-1) - self.low[fields]) * self.slope[fields]).clamp_(0, 1), present


class Codes(nn.Module):
    """One embedding table over all category fields, summed. Code 0 of each field means absent, 1 unknown."""

    offset: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        """sizes: codes per field, absent and unknown included."""
        super().__init__()
        self.sizes = list(sizes)
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self.register_buffer("offset", starts[:-1])
        self.table = nn.Parameter(truncated_normal(int(starts[-1]), dim, std=max(len(sizes), 1) ** -0.5))

    def forward(self, codes: Tensor, fields: Tensor) -> Tensor:
        """codes: (B, L, C); fields: (c,) which of the C these tokens have. → (B, L, D)."""
        return self.each(codes, fields).sum(2)

    def each(self, codes: Tensor, fields: Tensor) -> Tensor:
        """What every field adds to `forward`'s sum, (B, L, c, D)."""
        return self.table[codes[..., fields] + self.offset[fields]]
