"""Loss of each head, one number per sample, so that weights and the halt rule can look at single samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trmfin.sequences.targets import IGNORE
from trmfin.sequences.task import Target


def loss_per_sample(target: Target, logits: Tensor, truth: Tensor, smoothing: float = 0.0) -> Tensor:
    """Loss of one target. → (B,); 0 where the truth is unknown.

    logits: (B, K), per token (B, L, K) or choice (B, L, L), as the head gives them.
    truth: (B,) float, NaN = unknown (class index for classes and ordinal); (B, K) soft distribution over classes; or
    per token (B, L), IGNORE = not asked.
    smoothing: share of each binary or class label that is spread over all answers.
    """
    if target.head in ("tokens", "choice"):
        return per_token_loss(logits, truth.long(), stable=target.head == "tokens")
    if target.head == "classes" and truth.ndim == 2:
        known = ~truth.isnan().any(1)
        return torch.where(known, -(truth.nan_to_num(0.0) * F.log_softmax(logits.float(), -1)).sum(1), 0.0)
    known = ~truth.isnan()
    value = truth.nan_to_num(0.0)
    loss = _LOSSES[target.head](target, logits.float(), value, smoothing)
    return torch.where(known, loss, 0.0)


def _binary(target: Target, logits: Tensor, value: Tensor, smoothing: float) -> Tensor:
    soft = value * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits[:, 0], soft, reduction="none")


def _classes(target: Target, logits: Tensor, value: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(logits, value.long(), reduction="none", label_smoothing=smoothing)


def _ordinal(target: Target, logits: Tensor, value: Tensor, smoothing: float) -> Tensor:
    thresholds = torch.arange(logits.shape[1], device=logits.device)
    above = (value[:, None] > thresholds).to(logits.dtype)  # (B, K): is the class beyond threshold k
    return F.binary_cross_entropy_with_logits(logits, above * (1 - smoothing) + smoothing / 2, reduction="none").sum(1)


def _quantiles(target: Target, logits: Tensor, value: Tensor, smoothing: float) -> Tensor:
    """Pinball loss, summed over levels (Koenker & Bassett 1978)."""
    level = torch.tensor(target.levels, device=logits.device)
    miss = value[:, None] - logits
    return torch.maximum(level * miss, (level - 1) * miss).sum(1)


_LOSSES = {"binary": _binary, "classes": _classes, "ordinal": _ordinal, "quantiles": _quantiles}


def per_token_loss(logits: Tensor, truth: Tensor, stable: bool) -> Tensor:
    """Mean cross-entropy over the tokens asked for. logits: (B, L, K); truth: (B, L), IGNORE = not asked. → (B,)"""
    asked = truth != IGNORE
    log_probability = log_stablemax(logits.float()) if stable else F.log_softmax(logits.float(), dim=-1)
    picked = log_probability.gather(-1, truth.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return -torch.where(asked, picked, 0.0).sum(1) / asked.sum(1).clamp_min(1)


def log_stablemax(logits: Tensor) -> Tensor:
    """Logarithm of stablemax over the last axis: softmax with exp replaced by x + 1 (x ≥ 0) or 1 / (1 - x) (x < 0).

    Written so that neither branch divides by zero: the plain form has NaN gradients at a logit of exactly 1.
    Source: Prieto et al. 2025, arXiv:2501.04697.
    """
    value = torch.where(logits < 0, 1 / (1 - logits.clamp_max(0)), logits.clamp_min(0) + 1)
    return value.log() - value.sum(-1, keepdim=True).log()


def exact(target: Target, logits: Tensor, truth: Tensor) -> Tensor:
    """Whether every asked answer of a sample is right. → (B,) bool. Undefined for quantiles: always False."""
    if target.head in ("tokens", "choice"):
        asked = truth != IGNORE
        return ((logits.argmax(-1) == truth) | ~asked).all(1)
    if target.head == "classes":
        return logits.argmax(-1) == (truth.argmax(-1) if truth.ndim == 2 else truth)
    if target.head == "quantiles":
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    return (logits > 0).sum(1) == truth.round()  # a binary target may be a share
