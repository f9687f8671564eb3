"""Evidence: which events of a case stand behind what a player adds to its score.

Events carry a player's value where the score loses most of it if the player's cells at that event alone are turned off. Where its
summary of a whole history weighs more, or no event alone carries it, they are the newest events that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.explaining.case import Case
from trmfin.explaining.players import Players
from trmfin.explaining.reasons import Evidence
from trmfin.explaining.shapley import Game
from trmfin.sequences.batch import summed_events, token_tags, window_events
from trmfin.sequences.sequences import Sequences
from trmfin.sequences.task import Task

ENOUGH = 0.8  # of a player's pull on its events: the strongest events that together have so much carry its value
MOST_EVENTS = 12
Float = NDArray[np.float64]


def evidence(
    game: Game,
    sequences: Sequences,
    rows: NDArray[np.int64],
    cases: Sequence[Case],
    chosen: Sequence[Sequence[int]],
    steps: NDArray[np.int64],
    sign: int,
) -> list[dict[str, Evidence]]:
    """Of each case, chosen player → its evidence.

    rows: (N,) the cases' among the sequences' samples. chosen: of each case. steps: (N,) after which step, from 0, each is looked at.
    sign: 1 for what raises a score, -1 for what lowers it.
    """
    players, ids = game.players, sequences.event_ids(rows)
    pulls = game.pulls(sequences.batch(rows), chosen, steps) if players.view == "features" else None
    found: list[dict[str, Evidence]] = []
    for place, (case, mine) in enumerate(zip(cases, chosen, strict=True)):
        windows, own = window_events(sequences, rows[place]), dict[str, Evidence]()
        for rank, player in enumerate(mine):
            read = {name: windows[name] for name in histories_of(sequences.task, players, player)}
            if pulls is None:  # events are the players
                carried = [name for name in ids[place][players.tokens == player] if name]
            else:
                carried = _carried(sequences, rows[place], players, player, sign * pulls[place][rank], ids[place]) or newest(read)
            every = [name for names in read.values() for name in names]
            own[players.names[player]] = Evidence(carrying=_rows(case, carried), read=_rows(case, every))
        found.append(own)
    return found


def carrying(pulls: Float) -> list[int]:
    """Which tokens carry a player's value, strongest first. pulls: (L,) what its cells there do in the value's direction."""
    up = np.maximum(pulls, 0.0)
    order = [int(token) for token in np.argsort(-up, kind="stable") if up[token] > 0]
    share = np.cumsum(up[order]) - up[order]  # before each
    return [token for token, before in zip(order, share, strict=True) if before < ENOUGH * up.sum()][:MOST_EVENTS]


def newest(read: dict[str, list[str]]) -> list[str]:
    """The newest events of each history, as many of each. read: history → ids of its events, oldest first."""
    return [name for names in read.values() for name in names[-(MOST_EVENTS // len(read)) :]]


def histories_of(task: Task, players: Players, player: int) -> list[str]:
    """The histories of which a player has a cell of an event, a summary, or the length, in the task's order."""
    owned = (players.cells == player).any(1) | (players.tokens == player)
    tags = set(token_tags(task)[1:][owned[1:]].tolist())
    summed = {field.of for axis, field in enumerate(task.numbers) if field.summary and players.cells[0, axis] == player}
    return [history.name for tag, history in enumerate(task.histories, 1) if tag in tags or history.name in summed]


def _carried(sequences: Sequences, row: int, players: Players, player: int, pulls: Float, ids: NDArray[np.object_]) -> list[str]:
    """Ids of the events that carry a player's value; none where no event alone does. pulls: (L,), as `carrying` takes them."""
    on_sample, on_events = pulls[0], np.append(0.0, pulls[1:])
    if on_sample > np.maximum(on_events, 0).sum():
        fields = [field.name for axis, field in enumerate(sequences.task.numbers) if players.cells[0, axis] == player]
        if summed := summed_events(sequences, np.array([row]), fields)[0][-MOST_EVENTS:]:
            return summed
    return [str(ids[token]) for token in carrying(on_events)]


def _rows(case: Case, ids: Sequence[str]) -> pl.DataFrame:
    return case.events.filter(pl.col("event_id").is_in(ids))
