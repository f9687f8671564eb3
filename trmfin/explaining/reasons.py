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

from trmfin.sequences.explained import Direction, Reason
from trmfin.sequences.task import Task
from trmfin.sequences.transforms import MINOR_UNITS

MOST = 4  # reasons (Reg B, comment 9(b)(2)-1: more than four are not likely to help)
LEAST_SHARE = 0.02  # of all that raises a score: what adds less is no principal reason
LEAST = 0.005  # log-odds: nor is this, however little raises a score; far above what rounding moves
CARRYING = 0.8  # of a player's pull on its events: the strongest events that together have so much carry the reason
MOST_EVENTS = 12
RESIDUAL = 1e-4  # log-odds
SURE = 2.0  # standard errors
ALIKE = 0.75  # Jaccard index of two sets of principal players
UNKNOWN = "unknown"
UNWRITTEN = "no reason is written for"
WHOLE = 1_000.0  # from here on a number is told without its decimals
SIGN: dict[Direction, int] = {"raises": 1, "lowers": -1}
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Told:
    """One reason of one case."""

    rank: int  # from 1
    code: str
    player: str
    text: str
    contribution: float  # log-odds
    event_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What must hold before reasons are released."""

    residual: float  # base + values less the logit in the run's table
    unmapped: tuple[str, ...]  # principal players without a reason
    stability: float  # Jaccard index of the principal players with those under small noise
    protected: tuple[str, ...]  # protected columns among what fields read
    silent: bool  # the score is flagged, and nothing raises it above the comparison's
    unsure: tuple[str, ...] | None  # players told, or left out, within what sampling may be off by; None: values are exact

    @property
    def passed(self) -> dict[str, bool]:
        found = {
            "residual": abs(self.residual) <= RESIDUAL,
            "mapping": not self.unmapped,
            "stability": self.stability >= ALIKE,
            "protected": not self.protected,
            "told": not self.silent,
        }
        return found if self.unsure is None else found | {"precision": not self.unsure}

    @property
    def needs_human(self) -> tuple[str, ...]:
        """Why a person must look; empty where reasons may be released."""
        words = {
            "residual": f"values miss the score's log-odds by {self.residual:.2g}, more than {RESIDUAL:g}",
            "mapping": f"{UNWRITTEN} {', '.join(self.unmapped)}",
            "stability": f"under small noise the principal factors change (Jaccard index {self.stability:.2f}, below {ALIKE})",
            "protected": f"a field reads {', '.join(self.protected)}",
            "told": "the score is flagged, and no factor raises it above the comparison's",
            "precision": f"too few samples to say whether {', '.join(self.unsure or ())} is among the principal factors",
        }
        return tuple(words[name] for name, good in self.passed.items() if not good)


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


def carrying(pulls: Float) -> list[int]:
    """Which tokens carry a player's value, strongest first. pulls: (L,) what its cells there do in the value's direction."""
    up = np.maximum(pulls, 0.0)
    order = [int(token) for token in np.argsort(-up, kind="stable") if up[token] > 0]
    share = np.cumsum(up[order]) - up[order]  # before each
    return [token for token, before in zip(order, share, strict=True) if before < CARRYING * up.sum()][:MOST_EVENTS]


def told(
    task: Task,
    players: Sequence[str],
    values: Float,
    events: Mapping[str, pl.DataFrame],
    sample: Mapping[str, Any],
    direction: Direction = "raises",
) -> tuple[list[Told], tuple[str, ...]]:
    """A case's reasons of one direction, and the principal players of it that have none written.

    values: (M,) of `players`. events: player → rows of the events that carry it, in time. sample: the sample's own columns.
    """
    written = {reason.player: reason for reason in task.reasons if direction in reason.directions}
    found, unmapped = list[Told](), list[str]()
    for player in principal(SIGN[direction] * values):
        name = players[player]
        if name not in written:
            unmapped.append(name)
            continue
        reason, rows = written[name], events.get(name, pl.DataFrame())
        found.append(
            Told(
                rank=len(found) + 1,
                code=reason.code,
                player=name,
                text=filled(reason, rows, sample, task.money),
                contribution=float(values[player]),
                event_ids=tuple(rows["event_id"].to_list()) if rows.height else (),
            )
        )
    return found, tuple(unmapped)


def filled(reason: Reason, events: pl.DataFrame, sample: Mapping[str, Any], money: Sequence[str]) -> str:
    """The reason's text with its slots filled; `unknown` where there is nothing to fill them with."""
    return reason.text.format_map(_Slots(events, sample, money)) if reason.slots else reason.text


class _Slots(dict[str, Any]):
    """Looks slots up when a text asks for them."""

    def __init__(self, events: pl.DataFrame, sample: Mapping[str, Any], money: Sequence[str]) -> None:
        self.events = events.sort("event_time", maintain_order=True) if events.height else events
        self.sample, self.money = sample, money

    def __missing__(self, name: str) -> Any:
        if name == "events":
            return str(self.events.height)
        if name in ("first", "last"):
            times = self.events["event_time"] if self.events.height else None
            return shown(None if times is None else times[0 if name == "first" else -1], False)
        known = self.events.filter(pl.col(name).is_not_null()) if name in self.events.columns else None
        return _Column(name, known, self.sample.get(name), name in self.money)


class _Column:
    """A slot's column: itself the sample's value, its attributes statistics over events."""

    def __init__(self, name: str, known: pl.DataFrame | None, own: Any, money: bool) -> None:
        """known: the events that have a value, in time; None: they have no such column."""
        self._known, self._values = known, None if known is None else known[name]
        self._own, self._money = own, money

    def __format__(self, form: str) -> str:
        return shown(self._own, self._money)

    def __getattr__(self, statistic: str) -> str:
        known = self._values
        if self._known is None or known is None or known.is_empty():
            return UNKNOWN
        if statistic == "when":
            return shown(self._known["event_time"][-1], False)
        value = {"newest": known[-1], "least": known.min(), "most": known.max()}.get(statistic)
        if statistic in ("mean", "total"):
            value = known.mean() if statistic == "mean" else known.sum()
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
