"""What a use of trmfin is, as plain data: histories, fields, targets, words. A `Task` needs no code to be understood."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

from trmfin.errors import TaskError
from trmfin.sequences.explained import Change, Player, Reason, check_players
from trmfin.sequences.transforms import TRANSFORMS

Head = Literal["binary", "classes", "ordinal", "quantiles", "tokens", "choice"]
HEADS: tuple[Head, ...] = ("binary", "classes", "ordinal", "quantiles", "tokens", "choice")
TOKEN_HEADS: tuple[Head, ...] = ("tokens", "choice")
HaltRule = Literal["exact", "no_further_gain"]
HALT_RULES: tuple[HaltRule, ...] = ("exact", "no_further_gain")
SUMMARIES = ("count", "mean", "min", "max")
PLAIN = ("number", "signed_log", "category")  # transforms that tell a value itself
FORMAT = 1
LATER: dict[str, dict[str, Any]] = {  # keys that came later, with their defaults: JSON without them keeps the hash of older tasks
    "histories": {"newest": 0},
    "fields": {"summary": ""},
    "players": {"of": "", "lengths": ()},
    "changes": {"least": None, "most": None},
}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class History:
    """The last `length` events that share the sample's key, known strictly before its as_of."""

    name: str
    keys: tuple[str, ...]  # columns of events and of samples that must agree; add an epoch to keep a window from crossing a gap
    length: int  # events at most
    links: tuple[str, ...] = ()  # kinds of links through which an event of another key joins, one hop, either way
    newest: int = 0  # of these, how many get a token each; summaries see all of them. 0 = every event has its token

    def __post_init__(self) -> None:
        if not self.keys or self.length < 1:
            raise TaskError(f"history {self.name!r}: {len(self.keys)} key columns and length {self.length}; both must be at least 1")
        if self.name in ("event", "sample"):
            raise TaskError(f"history {self.name!r}: fields use this word for something else; choose another name")
        if not 0 <= self.newest <= self.length:
            raise TaskError(f"history {self.name!r}: newest is {self.newest} of length {self.length}; expected 0 (all) to {self.length}")

    @property
    def tokens(self) -> int:
        """L_h: tokens this history takes in a sample."""
        return self.newest or self.length


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing the network sees at a token: a column under a named transform."""

    name: str
    column: str
    transform: str  # a key of transforms.TRANSFORMS
    of: str = "event"  # event tokens; the leading token: "sample" = the sample's own column, a history's name = summed up over it
    against: str = ""  # relative transforms: "sample.COLUMN", "previous.COLUMN", "as_of" or "previous" (the event before, in the window)
    summary: str = ""  # of a history: one of SUMMARIES, over the events where the field is present; absent where it nowhere is (count: 0)

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise TaskError(f"field {self.name!r}: transform {self.transform!r} is unknown; choose one of {', '.join(TRANSFORMS)}")
        transform = TRANSFORMS[self.transform]
        if self.summary not in ("", *SUMMARIES):
            raise TaskError(f"field {self.name!r}: summary {self.summary!r} is unknown; choose one of {', '.join(SUMMARIES)}")
        if bool(self.summary) != (self.of not in ("event", "sample")):
            raise TaskError(
                f"field {self.name!r}: of is {self.of!r} and summary {self.summary!r}; "
                "expected 'event' or 'sample' without a summary, or a history with one"
            )
        if self.summary and transform.gives == "code":
            raise TaskError(f"field {self.name!r}: {self.transform} gives no number to sum up; choose another transform")
        if self.of == "sample" and self.against.startswith("previous"):
            raise TaskError(f"field {self.name!r}: the leading token has no previous event; compare with 'sample.COLUMN' or 'as_of'")
        if not any(self.against == form or (form.endswith(".") and self.against.startswith(form)) for form in transform.against):
            raise TaskError(
                f"field {self.name!r}: {self.transform} against {self.against!r}; expected {' or '.join(map(repr, transform.against))}"
            )

    @property
    def is_code(self) -> bool:
        """True where the transform gives a category code, False where it gives a number."""
        return TRANSFORMS[self.transform].gives == "code"

    @property
    def side(self) -> Literal["event", "sample"]:
        """The table whose column it reads."""
        return "sample" if self.of == "sample" else "event"

    @property
    def reads(self) -> set[str]:
        """Columns of either table it depends on."""
        return {self.column} | ({self.against.partition(".")[2]} if "." in self.against else set())

    @property
    def leading(self) -> bool:
        """Whether it is a cell of the leading token, and not of event tokens."""
        return self.of != "event"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to be answered; its column in samples is `target_NAME`, with `target_NAME_known_at` beside it."""

    name: str
    head: Head
    meaning: str  # in words; for risk: higher = riskier
    classes: tuple[str, ...] = ()  # classes, ordinal (in order), tokens: what each answer is called
    levels: tuple[float, ...] = ()  # quantiles: levels in (0, 1), increasing

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise TaskError(f"target {self.name!r}: head {self.head!r} is unknown; choose one of {', '.join(HEADS)}")
        if self.head in ("classes", "ordinal", "tokens") and len(self.classes) < 2:
            raise TaskError(f"target {self.name!r}: {len(self.classes)} classes; a {self.head} head needs at least 2 names")
        rising = list(self.levels) == sorted(set(self.levels))
        if self.head == "quantiles" and not (self.levels and rising and 0 < self.levels[0] and self.levels[-1] < 1):
            raise TaskError(f"target {self.name!r}: levels {self.levels}; expected increasing numbers between 0 and 1")
        if not self.meaning:
            raise TaskError(f"target {self.name!r}: no meaning; say in words what a high answer means")

    @property
    def outputs(self) -> int:
        """K: logits per answer. Ordinal has one per threshold; choice has one per candidate token (0 here: it depends on L)."""
        return {"binary": 1, "ordinal": len(self.classes) - 1, "quantiles": len(self.levels), "choice": 0}.get(self.head, len(self.classes))


@dataclass(frozen=True, kw_only=True)
class Task:
    """The whole description of a use. Frozen, plain, JSON round trip, hashed.

    Token order of a sample: the leading token (the sample's own columns and summaries of histories), then each history
    in order, oldest event first, padded on the left. `timeless` declares that the events of a sample are one object
    without a before and an after (a grid, the documents of one case): only then may a target ask for an answer per token,
    because on a time sequence the core would answer for an early event with knowledge of later ones.
    """

    name: str
    histories: tuple[History, ...]
    fields: tuple[Field, ...]
    targets: tuple[Target, ...]
    primary: str  # the target that gives `score`
    group: str  # column of samples: the unit of splits and of the bootstrap (client, card, case, day)
    halt: HaltRule = "no_further_gain"
    timeless: bool = False
    money: tuple[str, ...] = ()  # columns held as int64 minor units
    relations: tuple[str, ...] = ()  # kinds of links between two tokens that bias attention, as codes 1, 2, …
    players: tuple[Player, ...] = ()
    reasons: tuple[Reason, ...] = ()
    changes: tuple[Change, ...] = ()  # what a counterfactual may change
    protected: tuple[str, ...] = ()  # columns of samples kept for fairness tables, never features
    format: int = FORMAT

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        for what, names in (
            ("history", [h.name for h in self.histories]),
            ("field", [f.name for f in self.fields]),
            ("target", [t.name for t in self.targets]),
            ("player", [p.name for p in self.players]),
            ("relation", list(self.relations)),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise TaskError(f"{where}: {what} {twice[0]!r} is named twice; names must differ")
        if self.primary not in {t.name for t in self.targets}:
            raise TaskError(f"{where}: primary target {self.primary!r} is not among its targets; name one of them")
        if self.halt not in HALT_RULES:
            raise TaskError(f"{where}: halt is {self.halt!r}; expected {' or '.join(map(repr, HALT_RULES))}")
        if not self.timeless and (per_token := [t.name for t in self.targets if t.head in TOKEN_HEADS]):
            raise TaskError(
                f"{where}: target {per_token[0]!r} asks for an answer per token of a time sequence, "
                "where the core would look ahead; declare the task timeless or ask for one answer per sample"
            )
        self._check_fields(where)
        check_players(self, where)
        self._check_changes(where)

    def _check_fields(self, where: str) -> None:
        histories = [h.name for h in self.histories]
        for f in self.fields:
            if f.summary and f.of not in histories:
                raise TaskError(f"{where}: field {f.name!r} sums up {f.of!r}, which is none of its histories ({', '.join(histories)})")
            if used := sorted(f.reads & set(self.protected)):
                raise TaskError(f"{where}: field {f.name!r} reads protected column {used[0]!r}; a protected attribute is never a feature")
            if used := sorted(c for c in f.reads if c.startswith("target_")):
                raise TaskError(f"{where}: field {f.name!r} reads {used[0]!r}; a target is never a feature")

    def _check_changes(self, where: str) -> None:
        """Values to try are those of a field that reads the column as it is: its bins or its vocabulary."""
        for change in self.changes:
            if not any(f.column == change.column and f.of == change.of and f.transform in PLAIN for f in self.fields):
                raise TaskError(
                    f"{where}: {change.of} column {change.column!r} may change, but no field of these reads it as it is "
                    f"({', '.join(PLAIN)}), so there are no values to try"
                )

    @property
    def length(self) -> int:
        """L: tokens of a sample, the leading one included."""
        return 1 + sum(h.tokens for h in self.histories)

    @cached_property
    def numbers(self) -> tuple[Field, ...]:
        """Number fields, in the order of `Batch.numbers`' last axis: F of them."""
        return tuple(f for f in self.fields if not f.is_code)

    @cached_property
    def codes(self) -> tuple[Field, ...]:
        """Category fields, in the order of `Batch.codes`' last axis: C of them."""
        return tuple(f for f in self.fields if f.is_code)

    def target(self, name: str) -> Target:
        """The target called `name`. Raises TaskError where there is none."""
        for target in self.targets:
            if target.name == name:
                return target
        raise TaskError(f"task {self.name!r}: no target {name!r}; it has {', '.join(t.name for t in self.targets)}")

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Task.from_json` gives an equal task back."""
        data = asdict(self)
        for part, later in LATER.items():
            data[part] = tuple(
                {key: value for key, value in item.items() if key not in later or value != later[key]} for item in data[part]
            )
        if not self.changes:  # a key that came later, too
            del data["changes"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises TaskError on an unknown or missing key and on a newer format."""
        found = data.get("format", FORMAT)
        if not isinstance(found, int) or found > FORMAT:
            raise TaskError(f"task: format {found!r} is newer than {FORMAT}, the newest this version reads; update trmfin")
        parts = {"histories": History, "fields": Field, "targets": Target, "players": Player, "reasons": Reason, "changes": Change}
        values = dict(data)
        for key in parts.keys() & data.keys():
            if not isinstance(data[key], list | tuple) or not all(isinstance(item, dict) for item in data[key]):
                raise TaskError(f"task: {key} is {str(data[key])[:40]!r}; expected a list of objects")
            values[key] = tuple(_part(parts[key], item) for item in data[key])
        return _part(cls, values)

    @cached_property
    def sha256(self) -> str:
        """Hash of the JSON form with sorted keys."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


_PLAIN: dict[str, tuple[type[Any], type[Any] | None]] = {  # annotation → type, and of a tuple's items
    "str": (str, None),
    "int": (int, None),
    "bool": (bool, None),
    "tuple[str, ...]": (tuple, str),
    "tuple[float, ...]": (tuple, float),
}


def _part(kind: type[T], data: dict[str, Any]) -> T:
    name = kind.__name__.lower()
    annotations = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(annotations)):
        raise TaskError(f"{name}: unknown key {unknown[0]!r}; known: {', '.join(sorted(annotations))}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    for key, value in values.items():
        whole, item = _PLAIN.get(annotations[key], (object, None))
        if not isinstance(value, whole) or (item and not all(isinstance(v, item) for v in value)):
            raise TaskError(f"{name}: {key} is {str(value)[:40]!r}; expected {annotations[key]}")
    try:
        return kind(**values)
    except TypeError as error:
        raise TaskError(f"{name}: {error}") from error
