"""Answers as they come in, sample by sample and step by step, until they are `Scores`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import BundleError
from trmfin.learn.calibrate import probability
from trmfin.scoring.scores import Answers, Effort, Scores, output_names, output_targets
from trmfin.sequences.task import Target, Task

Places = NDArray[np.int64]


@dataclass(kw_only=True)
class Table:
    """N samples, S steps at most; `places` below are positions among the N."""

    task: Task
    raw: NDArray[np.float64]  # (N, S) log-odds before calibration
    log_odds: NDArray[np.float64]  # (N, S) calibrated
    halt: NDArray[np.float64]  # (N, S) logit
    step: NDArray[np.int32]  # (N,)
    outputs: dict[str, NDArray[np.float32]]  # target → (N, K)
    answers: list[Answers] = field(default_factory=list)
    effort: Effort = Effort()

    @classmethod
    def empty(cls, task: Task, count: int, steps: int) -> Table:
        raw, log_odds, halt = (np.full((count, steps), np.nan) for _ in range(3))
        outputs = {t.name: np.full((count, len(output_names(t))), np.nan, np.float32) for t in output_targets(task)}
        return cls(task=task, raw=raw, log_odds=log_odds, halt=halt, step=np.zeros(count, np.int32), outputs=outputs)

    def scores(self, ids: NDArray[np.object_], as_of: NDArray[np.int64]) -> Scores:
        """The finished table. Raises BundleError where a score is no number although the task has one."""
        last = self.log_odds[np.arange(len(ids)), self.step - 1]
        if has_log_odds(self.task) and (bad := np.flatnonzero(~np.isfinite(last))).size:
            raise BundleError(
                f"network: {bad.size} of {len(ids)} samples have no finite log-odds (first: {ids[bad[0]]}, {last[bad[0]]}); "
                "weights or calibration are unusable, train again"
            )
        return Scores(
            sample_ids=ids,
            as_of=as_of,
            score=probability(last),
            step=self.step,
            logits=self.log_odds.astype(np.float32),
            halts=probability(self.halt).astype(np.float32),
            outputs=self.outputs,
            answers=in_order(self.answers),
            effort=self.effort,
        )


def has_log_odds(task: Task) -> bool:
    """Whether the primary target has log-odds, and so a score.

    Quantiles have none; answers per token have them only where the halt head learns whether all of them are right.
    """
    head = task.target(task.primary).head
    return task.halt == "exact" if head in ("tokens", "choice") else head != "quantiles"


def token_answers(
    target: Target,
    best: NDArray[np.int64],
    chance: NDArray[np.float32],
    mask: NDArray[np.bool_],
    events: NDArray[np.object_],
    places: Places,
    step: int,
) -> Answers:
    """One row for every event token. best, chance, mask, events: (B, L); best is a class, or for a choice a token."""
    row, token = np.nonzero(mask & (np.arange(mask.shape[1]) > 0))  # the leading token is no event
    picked = best[row, token]
    return Answers(
        sample=places[row],
        event_id=events[row, token],
        field=np.full(len(row), target.name, dtype=object),
        answer=np.array(target.classes, dtype=object)[picked] if target.head == "tokens" else events[row, picked],
        probability=chance[row, token].astype(np.float32),
        step=np.full(len(row), step, np.int32),
    )


def in_order(parts: list[Answers]) -> Answers:
    """All answers by sample; within a sample as they came: by target, then token."""
    types: Mapping[str, type] = {"sample": np.int64, "probability": np.float32, "step": np.int32}
    columns = {}
    for name in (f.name for f in fields(Answers)):
        columns[name] = np.concatenate([np.zeros(0, types.get(name, object)), *(getattr(part, name) for part in parts)])
    order = np.argsort(columns["sample"], kind="stable")
    return Answers(**{name: column[order] for name, column in columns.items()})
