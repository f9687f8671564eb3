"""The whole network: embed the question, refine the answer, read it. Counts its parameters and FLOPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trmfin.errors import ConfigError, TaskError
from trmfin.model.config import Depth, ModelConfig, swiglu_width
from trmfin.model.core import State
from trmfin.model.heads import Halt, head
from trmfin.model.inputs import Codes, PiecewiseLinear
from trmfin.model.layers import Setting, truncated_normal
from trmfin.model.peers import core
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Batch
from trmfin.sequences.task import Task

PLACE_STD = 0.3
BACKWARD_COST = 2  # a backward pass costs about two forward passes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the network says after one supervision step."""

    logits: dict[str, Tensor]  # target → (B, K), per token (B, L, K), choice (B, L, L)
    halt: Tensor  # (B,) logit


class Network(nn.Module):
    """`encode` → `core` (repeated) → `read`. Made for one task and the bins and vocabularies fitted for it."""

    leading_numbers: Tensor
    leading_codes: Tensor
    event_numbers: Tensor
    event_codes: Tensor

    def __init__(self, task: Task, fitted: Fitted, config: ModelConfig) -> None:
        super().__init__()
        if task.relations and (config.core == "gru" or config.mixer != "attention"):
            raise ConfigError(f"task {task.name!r} has relations between tokens, which only the attention mixer uses")
        self.task, self.config = task, config
        self.numbers = PiecewiseLinear(edge_table(task, fitted), config.width)
        self.codes = Codes([len(fitted.vocabulary[f.name]) + 2 for f in task.codes], config.width)
        self.places = nn.Parameter(truncated_normal(task.length, config.width, std=PLACE_STD))
        self.relations = nn.Parameter(torch.zeros(len(task.relations) + 1, config.heads)) if task.relations else None
        self.core = core(config, task.length)
        if taken := [t.name for t in task.targets if "." in t.name or hasattr(nn.ModuleDict(), t.name)]:
            raise TaskError(
                f"task {task.name!r}: target {taken[0]!r} cannot be called so, a dot or a name that torch uses itself; choose another"
            )
        self.heads = nn.ModuleDict({target.name: head(target, config.width) for target in task.targets})
        self.halt = Halt(config.width)
        for kind, fields in (("numbers", task.numbers), ("codes", task.codes)):
            for token, leading in (("leading", True), ("event", False)):
                axes = [axis for axis, f in enumerate(fields) if f.leading == leading]
                self.register_buffer(f"{token}_{kind}", torch.tensor(axes, dtype=torch.int64), persistent=False)

    def encode(self, batch: Batch) -> Tensor:
        """The question x, (B, L, D): a sum over fields and the token's place. Zero on padding.

        A place says which history a token belongs to and how many events are newer; rotary positions alone say only how
        far two tokens lie apart, and without places later steps answer worse than earlier ones (docs/log.md).
        """
        numbers, codes = self.tensor(batch.numbers), self.tensor(batch.codes)
        first = self.numbers(numbers[:, :1], self.leading_numbers) + self.codes(codes[:, :1], self.leading_codes)
        rest = self.numbers(numbers[:, 1:], self.event_numbers) + self.codes(codes[:, 1:], self.event_codes)
        x = self.places[: numbers.shape[1]] + torch.cat((first, rest), 1)
        return x * self.tensor(batch.mask).unsqueeze(-1)

    def cells(self, batch: Batch) -> Tensor:
        """What each cell adds to `encode`'s sum, number fields first, (B, L, F + C, D); zero where a token has no such field."""
        numbers, codes = self.tensor(batch.numbers), self.tensor(batch.codes)
        out = self.places.new_zeros(*numbers.shape[:2], numbers.shape[2] + codes.shape[2], self.config.width)
        for tokens, number_fields, code_fields in (
            (slice(0, 1), self.leading_numbers, self.leading_codes),
            (slice(1, None), self.event_numbers, self.event_codes),
        ):
            out[:, tokens, number_fields] = self.numbers.each(numbers[:, tokens], number_fields)
            out[:, tokens, numbers.shape[2] + code_fields] = self.codes.each(codes[:, tokens], code_fields)
        return out

    def setting(self, batch: Batch) -> Setting:
        """Mask and relation bias of a batch; the same for all steps."""
        bias = None
        if self.relations is not None and batch.relation is not None:
            bias = self.relations[self.tensor(batch.relation)].permute(0, 3, 1, 2)  # (B, H, L, L)
        return self.core.setting(self.tensor(batch.mask), bias)

    def tensor(self, values: NDArray[Any]) -> Tensor:
        """The same values where the network lives."""
        return torch.from_numpy(values).to(self.places.device)

    def read(self, state: State, setting: Setting) -> Answer:
        """Answers and halt logit after a supervision step. A choice never falls on padding."""
        logits = {name: head(state.y) for name, head in self.heads.items()}
        for target in self.task.targets:
            if target.head == "choice" and setting.hidden is not None:
                logits[target.name] = logits[target.name].masked_fill(setting.hidden[:, None, :], float("-inf"))
        return Answer(logits=logits, halt=self.halt(state.y))

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def flops(self, steps: int, training: bool = False, depth: Depth | None = None) -> int:
        """Floating-point operations of one sample of full length: multiply and add count as two; norms are left out.

        Scoring runs every cycle forward; training also runs backward what carries gradient in each step. depth: n and T
        where they are not the config's.
        """
        c, L = self.config, self.task.length
        cells = len(self.leading_numbers) + len(self.event_numbers) * (L - 1)
        encode = 2 * self.numbers.bins[:1].numel() * cells * (1 + BACKWARD_COST if training else 1)
        if c.core == "gru":
            return (1 + BACKWARD_COST if training else 1) * c.blocks * 2 * 6 * c.width * c.width * L + encode
        if c.mixer == "attention":
            mixing = 4 * c.width * c.width * L + 2 * L * L * c.width
        else:
            mixing = 3 * L * swiglu_width(L, c.inner_multiple) * c.width
        call = 2 * c.blocks * (mixing + 3 * c.width * c.inner_width * L)
        n, T = depth or c.depth
        forward = 1 if c.core == "plain" else T * (n + 1)  # calls of the network
        backward = BACKWARD_COST * (1 if c.core == "plain" else n + 1 if c.gradient == "cycle" else 2) if training else 0
        return steps * (forward + backward) * call + (steps if training else 1) * encode


def edge_table(task: Task, fitted: Fitted) -> Tensor:
    """(F, Q+1) bin edges of the number fields, the last edge repeated where a field has fewer bins."""
    longest = max((len(fitted.edges[f.name]) for f in task.numbers), default=1)
    rows = [
        np.pad(np.asarray(edges, np.float32), (0, longest - len(edges)), mode="edge")
        for f in task.numbers
        if (edges := fitted.edges[f.name])
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, 2)
