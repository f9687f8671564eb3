"""Players: named groups of a sample's cells that an explanation turns on and off as one.

A cell is one field at one token. Every cell belongs to one player, and so does whether an event's token is there at all, so that what
players say adds up from a base that is the same for every sample to its score. Turned off, a player's cells and tokens are those of a
comparison row, all from the same row, static and event cells alike. Such a mixture of two rows is a question to the network and need be
no possible row; nothing here calls it one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError
from trmfin.sequences.batch import token_tags
from trmfin.sequences.task import Field, Task

View = Literal["features", "histories", "segments", "events"]
VIEWS: tuple[View, ...] = get_args(View)
SAMPLE = "sample"  # the player of the sample's own columns, where events are the other players
NOBODY = -1
Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Players:
    """A partition of the cells of a task's samples into M players."""

    view: View
    names: tuple[str, ...]  # (M,)
    cells: Int  # (L, F + C) the player of each cell, number fields first; NOBODY where a token has no such field
    tokens: Int  # (L,) the player with whom a token itself comes and goes; NOBODY: the leading one, which is always there

    def __len__(self) -> int:
        return len(self.names)


def players_of(task: Task, view: View = "features") -> Players:
    """The players of a task.

    features   the task's own groups of fields, over all events, and of histories' lengths; a field and a length in none play alone
    histories  the sample's own columns, and each history with all its events and summaries
    segments   the same, each history cut into its newest event, the two before, the four before them, …
    events     the same, each place of a history alone, 1 = newest (documents of a timeless task are events)

    In the last two a history's summaries are one player, NAME summaries: they tell of all its events.
    Raises ConfigError on another view.
    """
    if view not in VIEWS:
        raise ConfigError(f"players: view {view!r} is unknown; choose one of {', '.join(VIEWS)}")
    names: list[str] = []

    def number(name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    fields = (*task.numbers, *task.codes)
    cells = np.full((task.length, len(fields)), NOBODY, np.int64)
    tokens = np.full(task.length, NOBODY, np.int64)
    if view == "features":
        for player in task.players:  # in the task's order, whatever the order of fields
            number(player.name)
        for token, history in enumerate(_histories(task)):
            for axis, field in enumerate(fields):
                if field.leading == (token == 0):
                    cells[token, axis] = number(_group(task, field, history))
            if history:
                tokens[token] = number(_length(task, history))
        return _named(view, names, cells, tokens)
    number(SAMPLE)
    for token, name in enumerate(_places(task, view)):
        for axis, field in enumerate(fields):
            if field.leading == (token == 0):
                cells[token, axis] = number(_owner(field, view) if token == 0 else name)
        if token:
            tokens[token] = number(name)
    return _named(view, names, cells, tokens)


def coalitions(players: int) -> NDArray[np.bool_]:
    """(2^M, M) every set of players; row c holds player p where bit p of c is set, so that row 0 is nobody and the last row all."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def _named(view: View, names: list[str], cells: Int, tokens: Int) -> Players:
    """Without players that own nothing."""
    owners = np.union1d(cells, tokens)
    kept = [place for place in range(len(names)) if place in owners]
    renumbered = np.full(len(names) + 1, NOBODY, np.int64)  # its last entry, which NOBODY = -1 finds, stays NOBODY
    renumbered[kept] = np.arange(len(kept))
    return Players(view=view, names=tuple(names[place] for place in kept), cells=renumbered[cells], tokens=renumbered[tokens])


def _histories(task: Task) -> Iterator[str]:
    """The history of each token, "" for the leading one."""
    names = ["", *(history.name for history in task.histories)]
    yield from (names[tag] for tag in token_tags(task))


def _group(task: Task, field: Field, history: str) -> str:
    """The task's player that a field's cells of a history belong to, or the field itself; history: "" for the leading token."""
    for player in task.players:
        if field.name in player.fields and (not player.of or player.of == (field.of if field.summary else history)):
            return player.name
    return field.name


def _length(task: Task, history: str) -> str:
    """The task's player that has a history's length, or the length itself."""
    return next((player.name for player in task.players if history in player.lengths), f"length of {history}")


def _owner(field: Field, view: View) -> str:
    """Whose a cell of the leading token is, where events are the players."""
    if not field.summary:
        return SAMPLE
    return field.of if view == "histories" else f"{field.of} summaries"


def _places(task: Task, view: View) -> Iterator[str]:
    """What each token is called, oldest first within a history; the leading one too, whose name is not used."""
    yield SAMPLE
    for history in task.histories:
        for newest in range(history.tokens, 0, -1):  # 1 = newest
            if view == "histories":
                yield history.name
            elif view == "events":
                yield f"{history.name} {newest}"
            else:
                first = 2 ** (newest.bit_length() - 1)
                last = min(2 * first - 1, history.tokens)
                yield f"{history.name} {first}" + (f"-{last}" if last > first else "")
