"""How long a training is: the steps that are planned, or the fewer that its time allows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from trmfin.errors import ConfigError


@dataclass(kw_only=True)
class Clock:
    """Counts one training's steps and time; the learning rate, validations and the end follow it.

    Without max_seconds everything is a function of the step, and no time is read. With it a run has as many steps as its
    time allows at the pace so far, which is estimated anew at every step, so that the schedule ends when the time does.
    The result then depends on the machine's speed. Raises ConfigError where max_seconds is not above 0.
    """

    planned: int  # optimiser steps of the whole run, >= 1
    max_seconds: float | None = None
    before: float = 0.0  # share of its time that a resumed run had used up
    began: float = field(default_factory=lambda: time.monotonic())
    judged: tuple[int, float] = (0, 0.0)  # step, and share of the time, at the last validation

    def __post_init__(self) -> None:
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ConfigError(f"training: max_seconds is {self.max_seconds}; it must be above 0")

    @property
    def seconds(self) -> float:
        """Since the run was started or resumed."""
        return time.monotonic() - self.began

    @property
    def used(self) -> float:
        """Share of the time that is used up, in [0, 1]; 0 without max_seconds."""
        return 0.0 if self.max_seconds is None else min(self.before + self.seconds / self.max_seconds, 1.0)

    def total(self, step: int) -> int:
        """Steps of the whole run, as it looks after `step` of them; `step` itself once time is up, but at least 1."""
        return min(self.planned, int(max(step, 1) / used)) if (used := self.used) else self.planned

    def due(self, step: int, times: int) -> bool:
        """Whether one in `times` parts of the planned steps, or of the time, lies behind the last validation."""
        last, used = self.judged
        return step - last >= max(self.planned // times, 1) or (self.used - used) * times >= 1

    def judge(self, step: int) -> None:
        """A validation has just been made after `step` steps."""
        self.judged = step, self.used

    def resume(self, step: int, used: float) -> None:
        """Go on from a checkpoint that was written at a validation. used: what `used` was there; the rest gets as much of max_seconds."""
        self.before, self.judged = used, (step, used)
