"""Reasons: what may be told to a person of a score, at most four, each only if its release checks pass.

A player that raises the score is told by the task's own reason for it, with the events that carry it; what lowers the score is told
the same way, apart. Where a check fails, a person must look: `needs_human` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.sequences.explained import CARRYING, Direction, Reason
from trmfin.sequences.task import Task
from trmfin.sequences.transforms import MINOR_UNITS

MOST = 4  # reasons (Reg B, comment 9(b)(2)-1: more than four are not likely to help)
LEAST_SHARE = 0.02  # of all that raises a score: what adds less is no principal reason
LEAST = 0.005  # log-odds: nor is this, however little raises a score; far above what rounding moves
RESIDUAL = 1e-4  # log-odds
SURE = 2.0  # standard errors
ALIKE = 0.75  # Jaccard index of two sets of principal players
UNKNOWN = "unknown"
UNWRITTEN = "no reason is written for"
WHOLE = 1_000.0  # from here on a number is told without its decimals
SIGN: dict[Direction, int] = {"raises": 1, "lowers": -1}
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Events of one case behind one player's value, rows of the case in the order in which they became known."""

    carrying: pl.DataFrame  # those that carry it
    read: pl.DataFrame  # all of the histories that the player reads


@dataclass(frozen=True, kw_only=True)
class Told:
    """One reason of one case."""

    rank: int  # from 1
    code: str
    player: str
    text: str
    contribution: float  # log-odds
    event_ids: tuple[str, ...]
    unfilled: tuple[str, ...] = ()  # slots of the text that the case has nothing for


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What must hold before reasons are released."""

    residual: float  # base + values less the logit in the run's table
    unmapped: tuple[str, ...]  # principal players without a reason
    unfilled: tuple[str, ...]  # principal players whose reason names what the case does not have
    stability: float  # Jaccard index of the principal players with those under small noise
    protected: tuple[str, ...]  # protected columns among what fields read
    silent: bool  # the score is flagged, and nothing raises it above the comparison's
    unsure: tuple[str, ...] | None  # players told, or left out, within what sampling may be off by; None: values are exact
    average: float | None  # how alike the group's average and rows are, by the bundle (nan: it does not say); None: rows are used

    @property
    def passed(self) -> dict[str, bool]:
        found = {
            "residual": abs(self.residual) <= RESIDUAL,
            "mapping": not self.unmapped,
            "wording": not self.unfilled,
            "stability": self.stability >= ALIKE,
            "protected": not self.protected,
            "told": not self.silent,
        }
        if self.unsure is not None:
            found["precision"] = not self.unsure
        if self.average is not None:
            found["average"] = self.average >= ALIKE
        return found

    @property
    def needs_human(self) -> tuple[str, ...]:
        """Why a person must look; empty where reasons may be released."""
        words = {
            "residual": f"values miss the score's log-odds by {self.residual:.2g}, more than {RESIDUAL:g}",
            "mapping": f"{UNWRITTEN} {', '.join(self.unmapped)}",
            "wording": f"the case has nothing to fill the reason's words with, of {', '.join(self.unfilled)}",
            "stability": f"under small noise the principal factors change (Jaccard index {self.stability:.2f}, below {ALIKE})",
            "protected": f"a field reads {', '.join(self.protected)}",
            "told": "the score is flagged, and no factor raises it above the comparison's",
            "precision": f"too few samples to say whether {', '.join(self.unsure or ())} is among the principal factors",
            "average": f"{self._average_said}: score with --comparison-form rows",
        }
        return tuple(words[name] for name, good in self.passed.items() if not good)

    @property
    def _average_said(self) -> str:
        if self.average is None or np.isnan(self.average):
            return "the bundle has not measured, for such a score, whether its group's average names what the group's rows name"
        return f"the group's average names other factors than its rows (Jaccard index {self.average:.2f}, below {ALIKE})"


def principal(values: Float, most: int = MOST) -> list[int]:
    """The players that raise a score most, strongest first; ties by the players' order. values: (M,)."""
    order = np.argsort(-values, kind="stable")[:most]
    return [int(player) for player in order if values[player] >= _least(values)]


def _least(values: Float) -> float:
    """What a principal player adds at least."""
    return max(LEAST_SHARE * float(values[values > 0].sum()), LEAST)


def unsure(values: Float, errors: Float) -> list[int]:
    """Players that are told or left out, of either direction, by less than SURE standard errors of sampling. values, errors: (M,)."""
    near = np.zeros(len(values), bool)
    for sign in SIGN.values():
        best = np.append(np.sort(sign * values)[::-1], -np.inf)
        between = (best[MOST - 1] + best[MOST]) / 2 if len(values) > MOST else -np.inf
        near |= abs(sign * values - max(_least(sign * values), between)) < SURE * errors
    return [int(player) for player in np.flatnonzero(near)]


def jaccard(first: Sequence[int], second: Sequence[int]) -> float:
    """Size of the intersection over size of the union; 1 where both are empty."""
    union = set(first) | set(second)
    return len(set(first) & set(second)) / len(union) if union else 1.0


def told(
    task: Task,
    players: Sequence[str],
    values: Float,
    events: Mapping[str, Evidence],
    sample: Mapping[str, Any],
    direction: Direction = "raises",
) -> tuple[list[Told], tuple[str, ...]]:
    """A case's reasons of one direction, and the principal players of it that have none written.

    values: (M,) of `players`. events: of each principal player. sample: the sample's own columns.
    """
    written = {reason.player: reason for reason in task.reasons if direction in reason.directions}
    found, unmapped = list[Told](), list[str]()
    for player in principal(SIGN[direction] * values):
        name = players[player]
        if name not in written:
            unmapped.append(name)
            continue
        reason, evidence = written[name], events[name]
        found.append(
            Told(
                rank=len(found) + 1,
                code=reason.code,
                player=name,
                text=filled(reason, evidence, sample, task.money),
                contribution=float(values[player]),
                event_ids=tuple(evidence.carrying["event_id"].to_list()),
                unfilled=unfilled(reason, evidence, sample),
            )
        )
    return found, tuple(unmapped)


def filled(reason: Reason, evidence: Evidence, sample: Mapping[str, Any], money: Sequence[str]) -> str:
    """The reason's text with its slots filled; `unknown` where the case has nothing to fill them with."""
    return reason.text.format_map(_Slots(evidence, sample, money)) if reason.slots else reason.text


def unfilled(reason: Reason, evidence: Evidence, sample: Mapping[str, Any]) -> tuple[str, ...]:
    """The slots of a reason's text that the case has nothing for."""
    slots = _Slots(evidence, sample, ())
    return tuple(slot for slot in reason.slots if f"{{{slot}}}".format_map(slots) == UNKNOWN)


class _Slots(dict[str, Any]):
    """Looks slots up when a text asks for them."""

    def __init__(self, evidence: Evidence, sample: Mapping[str, Any], money: Sequence[str]) -> None:
        self.carrying, self.read = (events.sort("event_time", maintain_order=True) for events in (evidence.carrying, evidence.read))
        self.sample, self.money = sample, money

    def __missing__(self, name: str) -> Any:
        if name == "events":
            return str(self.carrying.height)
        if name in ("first", "last"):
            return shown(self.carrying["event_time"][0 if name == "first" else -1] if self.carrying.height else None, False)
        return _Column(name, self, self.sample.get(name), name in self.money)


class _Column:
    """A slot's column: itself the sample's value, its attributes statistics over events."""

    def __init__(self, name: str, case: _Slots, own: Any, money: bool) -> None:
        self._name, self._case, self._own, self._money = name, case, own, money

    def __format__(self, form: str) -> str:
        return shown(self._own, self._money)

    def __getattr__(self, statistic: str) -> str:
        name, events = self._name, self._case.carrying if statistic in CARRYING else self._case.read
        known = events.filter(pl.col(name).is_not_null()) if name in events.columns else events.clear()
        if known.is_empty():
            return UNKNOWN
        if statistic == "when":
            return shown(known["event_time"][-1], False)
        values = known[name]
        value = {"newest": values[-1], "least": values.min(), "most": values.max()}.get(statistic)
        if statistic in ("mean", "total"):
            value = values.mean() if statistic == "mean" else values.sum()
        return shown(value, self._money)


def shown(value: Any, money: bool) -> str:
    """A value as people read it: money in major units, times as days, numbers to four digits."""
    if value is None:
        return UNKNOWN
    if money:
        return f"{value / MINOR_UNITS:,.2f}"
    if isinstance(value, datetime | date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE else f"{value:.4g}"
    return str(value)
