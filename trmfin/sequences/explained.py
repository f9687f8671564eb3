"""What a task says of how its scores are explained, as plain data: players, and reasons that may be told to people."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from string import Formatter
from typing import TYPE_CHECKING, Literal, get_args

from trmfin.errors import TaskError

if TYPE_CHECKING:
    from trmfin.sequences.task import Task

Direction = Literal["raises", "lowers"]  # what a player does to a score
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
CARRYING = ("newest", "when")  # of a column over the events that carry a reason
READ = ("least", "most", "mean", "total")  # of a column over all events that its player reads
STATISTICS = (*CARRYING, *READ)


@dataclass(frozen=True, kw_only=True)
class Player:
    """A named group of fields that an explanation turns on and off as one, in all tokens or in one history.

    Each history's length is some player's too: turned off, a sample has as many events as the comparison group.
    """

    name: str
    fields: tuple[str, ...]
    of: str = ""  # a history: only its events' cells and its summaries; "" = wherever the fields are
    lengths: tuple[str, ...] = ()  # histories: how many events of them there are


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What may be told to a person when a player raises the score, lowers it, or does either.

    The text may have slots, which the case fills: {events}, how many events carry the reason; {first} and {last}, the days of the
    first and the last of them; {COLUMN}, a column of the sample; {COLUMN.STATISTIC}: `newest` is the value of the last event that
    carries the reason and has one, `when` the day of that event; `least`, `most`, `mean` and `total` are of all events of the
    histories that the player reads, carrying or not, so that what is told of the case is true of the whole case.
    """

    code: str
    player: str
    text: str
    direction: Literal["raises", "lowers", "either"] = "either"

    def __post_init__(self) -> None:
        if self.direction not in (*DIRECTIONS, "either"):
            raise TaskError(f"reason {self.code!r}: direction is {self.direction!r}; expected {', '.join(DIRECTIONS)} or either")
        for slot in self.slots:
            column, dot, statistic = slot.partition(".")
            if not column or (dot and statistic not in STATISTICS):
                raise TaskError(
                    f"reason {self.code!r}: slot {{{slot}}} is unknown; expected {{events}}, {{first}}, {{last}}, {{COLUMN}} or "
                    f"{{COLUMN.STATISTIC}}, a statistic being one of {', '.join(STATISTICS)}"
                )

    @property
    def directions(self) -> tuple[Direction, ...]:
        return tuple(direction for direction in DIRECTIONS if self.direction in (direction, "either"))

    @property
    def slots(self) -> tuple[str, ...]:
        """What the text asks for, in its order. Raises TaskError where its braces do not match."""
        try:
            return tuple(name for _, name, _, _ in Formatter().parse(self.text) if name is not None)
        except ValueError as problem:
            raise TaskError(f"reason {self.code!r}: the text's braces do not match ({problem}); write {{{{ for a brace itself") from problem


@dataclass(frozen=True, kw_only=True)
class Change:
    """A column that could have been otherwise, and whose other values a counterfactual may try. All others stay as they are."""

    column: str
    of: Literal["event", "sample"] = "event"
    direction: Literal["any", "up", "down"] = "any"  # a client could have paid more, not less
    least: float | None = None  # values that are tried, in the column's own units, money in minor ones; None: as low as training's
    most: float | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("of", self.of, ("event", "sample")), ("direction", self.direction, ("any", "up", "down"))):
            if value not in known:
                raise TaskError(f"change of {self.column!r}: {what} is {value!r}; expected one of {', '.join(known)}")
        for name, bound in (("least", self.least), ("most", self.most)):
            if not (bound is None or (isinstance(bound, int | float) and isfinite(bound))):
                raise TaskError(f"change of {self.column!r}: {name} is {bound!r}; expected a number or nothing")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise TaskError(f"change of {self.column!r}: least is {self.least:g}, most {self.most:g}; expected least up to most")


def check_players(task: Task, where: str) -> None:
    """Raises TaskError where a task's players or reasons are of what it does not have, or overlap."""
    known, players = {f.name: f for f in task.fields}, {p.name for p in task.players}
    histories = [h.name for h in task.histories]
    taken, told = dict[tuple[str, str], str](), dict[tuple[str, str], str]()  # field and history → player; player and direction → code
    lengths = dict[str, str]()  # history → player
    for player in task.players:
        if missing := sorted(set(player.fields) - known.keys()):
            raise TaskError(f"{where}: player {player.name!r} names field {missing[0]!r}, which the task does not have")
        if player.of and player.of not in histories:
            raise TaskError(f"{where}: player {player.name!r} is of {player.of!r}, which is none of its histories")
        for name in player.lengths:
            if name not in histories:
                raise TaskError(f"{where}: player {player.name!r} has the length of {name!r}, which is none of its histories")
            if (other := lengths.setdefault(name, player.name)) != player.name:
                raise TaskError(f"{where}: players {other!r} and {player.name!r} both have the length of {name!r}; give it to one of them")
        for name in player.fields:
            at = known[name].of if known[name].leading else player.of
            if player.of and at != player.of:
                raise TaskError(f"{where}: player {player.name!r} is of {player.of!r}, field {name!r} of {at!r}; take it out")
            for history in [at] if at else histories:
                if (other := taken.setdefault((name, history), player.name)) != player.name:
                    raise TaskError(f"{where}: players {other!r} and {player.name!r} both have field {name!r}; give it to one of them")
    for reason in task.reasons:
        if reason.player not in players:
            raise TaskError(f"{where}: reason {reason.code!r} names player {reason.player!r}, which the task does not have")
        if others := {told.setdefault((reason.player, way), reason.code) for way in reason.directions} - {reason.code}:
            raise TaskError(f"{where}: reasons {min(others)!r} and {reason.code!r} tell the same of player {reason.player!r}; keep one")
