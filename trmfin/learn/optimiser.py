"""What moves the weights: optimisers, learning-rate schedules and the moving average that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar, cast, overload

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trmfin.errors import ConfigError

SCALE = 1.27  # a: makes a * atan2 close to the clipped update of Adam (Everett et al. 2024, appendix)
BETAS = (0.9, 0.95)  # as TRM's official code trains
N = TypeVar("N", bound=nn.Module)


class AdamATan2(Optimizer):
    """Adam without epsilon: the update is lr * a * atan2(m, sqrt(v)) of the bias-corrected moments m and v.

    No component moves by more than lr * a * pi / 2, whatever the scale of the gradients. Weight decay is decoupled,
    as in AdamW: weights shrink by lr * weight_decay. Source: Everett et al. 2024, arXiv:2407.05872 (b = 1).
    """

    def __init__(
        self,
        params: Iterable[Any],  # parameters, or groups of them as torch.optim takes
        lr: float = 1e-3,
        betas: tuple[float, float] = BETAS,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient. closure: re-evaluates the loss, as torch.optim asks."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                self._move(group, [parameter for parameter in group["params"] if parameter.grad is not None])
        return loss

    def _move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if not parameters:
            return
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        states = [self.state[parameter] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        for state in states:
            state["step"] += 1
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        m = torch._foreach_div(means, [1 - beta1 ** state["step"] for state in states])
        v = torch._foreach_div(squares, [1 - beta2 ** state["step"] for state in states])
        torch._foreach_sqrt_(v)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, [torch.atan2(a, b) for a, b in zip(m, v, strict=True)], alpha=-lr * SCALE)


def make_optimiser(
    network: nn.Module,
    name: Literal["adamw", "adam_atan2"],
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = BETAS,
) -> Optimizer:
    """An optimiser over a network's trainable parameters; only those of two or more dimensions decay.

    Raises ConfigError on an unknown name and on numbers out of range.
    """
    if not (lr > 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
        raise ConfigError(
            f"optimiser {name!r}: learning rate {lr}, weight decay {weight_decay}, betas {betas}; "
            "expected a rate above 0, a decay of at least 0 and betas in [0, 1)"
        )
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    if name == "adam_atan2":
        return AdamATan2(groups, lr=lr, betas=betas)
    raise ConfigError(f"optimiser {name!r} is unknown; choose 'adamw' or 'adam_atan2'")


def schedule(
    optimiser: Optimizer,
    warmup: Callable[[int], int],
    total: Callable[[int], int],
    kind: Literal["constant", "cosine"] = "cosine",
) -> LambdaLR:
    """Learning rate over optimiser steps: a straight rise over the warm-up, then constant or half a cosine to 0 at the end.

    total: steps of the whole run, as it looks after so many of them; warmup: steps of the rise in a run of so many. Step k
    (from 0) of the rise has (k + 1) / warm-up of the full rate. Call `.step()` after each step of the optimiser.
    Raises ConfigError on an unknown kind and on counts out of range; a warm-up longer than the run is allowed.
    """
    if kind not in ("constant", "cosine"):
        raise ConfigError(f"schedule {kind!r} is unknown; choose 'constant' or 'cosine'")

    def rate(step: int) -> float:
        steps = total(step)
        rise = warmup(steps)
        if rise < 0 or steps < 1:
            raise ConfigError(f"schedule {kind!r}: warm-up of {rise} of {steps} steps; expected at least 0 of at least 1")
        if step < rise:
            return (step + 1) / rise
        done = min((step - rise) / max(steps - rise, 1), 1.0)
        return 1.0 if kind == "constant" else 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimiser, rate)


class ExponentialAverage(Generic[N]):
    """Exponential moving average of a network's weights; the average, not the last step, is what is kept and scored.

    Update k (from 0) keeps min(decay, (1 + k) / (10 + k)) of the average, so that the start is forgotten soon; the first
    update copies the network. Buffers are copied. `module` is the averaged network, `count` the number of updates:
    together with the module's tensors, all there is to save.
    """

    def __init__(self, network: N, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"average of weights: decay is {decay}; it must lie in [0, 1)")
        self.decay = decay
        self._average = AveragedModel(network, multi_avg_fn=self._mix)
        self._average.requires_grad_(False)

    @property
    def module(self) -> N:
        return cast(N, self._average.module)

    @property
    def count(self) -> int:
        return int(self._average.n_averaged)

    @count.setter
    def count(self, updates: int) -> None:
        self._average.n_averaged.fill_(updates)

    def update(self, network: N) -> None:
        """Take in the network's present weights."""
        self._average.update_parameters(network)

    def state_dict(self) -> dict[str, Any]:
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average.load_state_dict(state)

    def _mix(self, average: Any, network: Any, count: Tensor | int) -> None:
        k = int(count)
        mix = get_ema_multi_avg_fn(min(self.decay, (1 + k) / (10 + k)))
        mix(average, network, count)
