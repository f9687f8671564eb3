"""What scoring gives: one row a sample, further targets beside it, and a long table of answers per token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trmfin.sequences.task import TOKEN_HEADS, Target, Task


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How often the network was run. A call is one supervision step of one batch, of the samples that are still in it.

    Settled samples leave their batch, but batches do not merge: a call is saved only where all samples of a batch are
    settled, a sample's step wherever that sample is. Near ties that are run again, each alone, are counted.
    """

    calls: int = 0
    calls_in_full: int = 0  # what they would have been without early halting
    sample_steps: int = 0  # samples in the calls, summed
    sample_steps_in_full: int = 0

    def __add__(self, other: Effort) -> Effort:
        return Effort(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Effort)})

    @property
    def calls_saved(self) -> float:
        """Share of the calls that early halting saved, below 1; below 0 only where near ties took more calls than it saved."""
        return 1 - self.calls / self.calls_in_full if self.calls_in_full else 0.0

    @property
    def sample_steps_saved(self) -> float:
        """Share of the samples' supervision steps that early halting saved; otherwise as `calls_saved`."""
        return 1 - self.sample_steps / self.sample_steps_in_full if self.sample_steps_in_full else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers per token or choice, M rows in the order of samples, targets, tokens."""

    sample: NDArray[np.int64]  # (M,) position of the sample in `Scores`
    event_id: NDArray[np.object_]  # (M,) the token's event
    field: NDArray[np.object_]  # (M,) name of the target
    answer: NDArray[np.object_]  # (M,) class name; for a choice the event_id chosen, None = the leading token
    probability: NDArray[np.float32]  # (M,) of that answer
    step: NDArray[np.int32]  # (M,) supervision step the answer is from


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """N scored samples, S steps at most. Scores lie in [0, 1], higher = riskier (the task's primary target says of what)."""

    sample_ids: NDArray[np.object_]  # (N,)
    as_of: NDArray[np.int64]  # (N,) microseconds since 1970 UTC
    score: NDArray[np.float64]  # (N,) sigmoid of the calibrated log-odds at the step used; NaN where the primary target has none
    step: NDArray[np.int32]  # (N,) supervision steps run; the answer is the last one's
    logits: NDArray[np.float32]  # (N, S) calibrated log-odds; NaN after the step used
    halts: NDArray[np.float32]  # (N, S) the halt head's probability; NaN after the step used
    outputs: Mapping[str, NDArray[np.float32]]  # target → (N, K) in the order of `output_names`
    answers: Answers
    effort: Effort

    def __len__(self) -> int:
        return len(self.sample_ids)


def output_names(target: Target) -> tuple[str, ...]:
    """Names of the K columns a target has in `Scores.outputs`.

    binary and classes: probabilities; ordinal: the probability of this class or a later one; quantiles: values.
    """
    if target.head == "binary":
        return ("probability",)
    if target.head == "quantiles":
        return tuple(f"quantile_{level:g}" for level in target.levels)
    return tuple(f"at_least_{name}" for name in target.classes[1:]) if target.head == "ordinal" else target.classes


def output_targets(task: Task) -> tuple[Target, ...]:
    """The targets that `Scores.outputs` holds: all with one answer a sample, but not a binary primary one, which is the score."""
    return tuple(t for t in task.targets if t.head not in TOKEN_HEADS and not (t.name == task.primary and t.head == "binary"))


def token_targets(task: Task) -> tuple[Target, ...]:
    """The targets that `Scores.answers` holds."""
    return tuple(t for t in task.targets if t.head in TOKEN_HEADS)
