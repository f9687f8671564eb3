"""What replays found, in words, and which records of a run to replay. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trmfin.errors import ConfigError
from trmfin.scoring.views import Run, collected

Choice = Literal["riskiest", "evenly spread"]
CHOICES: tuple[Choice, ...] = ("riskiest", "evenly spread")


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came out, and in what it differs from the record."""

    sample_id: str
    logit_difference: float  # log-odds, at the step used
    value_difference: float  # the largest of all players
    differences: tuple[str, ...]  # in words; empty: the record stands

    @property
    def stands(self) -> bool:
        return not self.differences


def summed_up(found: Sequence[Replayed]) -> str:
    """How many records stand, and how far log-odds are off at most."""
    standing, worst = sum(each.stands for each in found), max((each.logit_difference for each in found), default=0.0)
    return f"{standing} of {len(found)} records stand; log-odds differ by {worst:.1e} at most."


def to_replay(run: Run, count: int, choice: Choice) -> list[str]:
    """sample_ids of at most `count` records: the highest scores, or from the highest to the lowest at even distances of rank.

    Equal scores stand by sample_id. Raises ConfigError on a count below 1 or another choice.
    """
    if count < 1 or choice not in CHOICES:
        raise ConfigError(f"replay: {count} records, {choice!r}; expected at least 1, {' or '.join(CHOICES)}")
    if run.records is None:
        return []
    ranked = run.records.select("sample_id", "score").sort("score", "sample_id", descending=[True, False]).select("sample_id")
    if choice == "riskiest":
        return [str(name) for name in collected(ranked.head(count), run.folder)["sample_id"]]
    names = collected(ranked, run.folder)["sample_id"]
    places = np.unique(np.linspace(0, max(len(names) - 1, 0), min(count, len(names))).round().astype(np.int64))
    return [str(names[int(place)]) for place in places]
