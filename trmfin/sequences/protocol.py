"""How a use is evaluated, as plain data. `splits.py` makes rows of it; a command's options replace single fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import ConfigError

ProtocolKind = Literal["stratified", "walk_forward"]
KINDS: tuple[ProtocolKind, ...] = ("stratified", "walk_forward")
WHOLE = ("test_days", "train_days", "delay_days", "purge_days", "embargo_days", "known_from_days", "daily_alerts")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which samples train and which test.

    stratified: shuffled folds with equal shares of the primary target; for samples that share one as_of.
    walk_forward, for each start t of `starts`: test on as_of in [t, t + test_days); train on the `train_days` days that
    end `delay_days` before t, in the words of `splits.walk_forward` train_span = train_days + delay_days. Whatever the
    days, a training sample's label is known before t. With known_from_days a test row is left out where its group had a bad
    answer (as_of at most known_from_days + delay_days before t) that was known before the row's day began: its card is
    stopped already, so that finding it again is worth nothing (Fraud Detection Handbook, chapter 5).
    """

    kind: ProtocolKind
    folds: int = 5  # stratified: folds; walk_forward: test windows, one after the other
    seed: int = 42  # stratified: of the shuffle
    across_time: bool = False  # stratified: allow several as_of, although a random split then trains on what came later
    test_start: str = ""  # walk_forward: first day of the first test window, YYYY-MM-DD, UTC
    test_days: int = 0  # walk_forward: length of a test window
    train_days: int = 0  # walk_forward: length of training, 0 = everything before
    delay_days: int = 0  # walk_forward: least time a label takes, where the file's known_at is too kind
    purge_days: int = 0  # walk_forward: room between the last label of training and the test
    embargo_days: int = 0  # walk_forward: room between the last as_of of training and the test
    new_groups: bool = False  # walk_forward: train on no group (client, card, case) that is tested
    known_from_days: int = 0  # walk_forward: test no group known to be bad, by answers from so many days before the delay on
    daily_alerts: int = 0  # walk_forward: groups that people can look at in a day; 0 = not judged by that

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"protocol, kind: found {self.kind!r}; expected {' or '.join(map(repr, KINDS))}")
        least = {"folds": 2 if self.kind == "stratified" else 1, "seed": 0, **dict.fromkeys(WHOLE, 0)}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"protocol, {name}: found {value!r}; expected a whole number of at least {low}")
        others = ("across_time",) if self.kind == "walk_forward" else ("test_start", *WHOLE, "new_groups")
        if given := [name for name in others if getattr(self, name)]:
            found, kind = getattr(self, given[0]), next(kind for kind in KINDS if kind != self.kind)
            raise ConfigError(f"protocol, {given[0]}: found {found!r} with kind {self.kind!r}; expected kind {kind!r} or no {given[0]}")
        if self.kind == "walk_forward":
            if self.test_days < 1:
                raise ConfigError("protocol, test_days: found 0 with kind 'walk_forward'; expected at least 1 day to test on")
            try:
                date.fromisoformat(self.test_start)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"protocol, test_start: found {self.test_start!r}; expected a day such as '2018-08-08'") from error

    @property
    def starts(self) -> NDArray[np.int64]:
        """(folds,) first instant of each test window, microseconds since 1970 UTC; empty where the kind is stratified."""
        if self.kind == "stratified":
            return np.empty(0, np.int64)
        first = np.datetime64(date.fromisoformat(self.test_start), "us").astype(np.int64)
        return np.asarray(first + np.arange(self.folds) * np.timedelta64(self.test_days, "D").astype("timedelta64[us]").astype(np.int64))

    def walking_from(self, day: str, asked: dict[str, Any]) -> Protocol:
        """One that walks forward from a day (YYYY-MM-DD), with the fields asked for; the others stay this one's where it walks, too."""
        if self.kind == "walk_forward":
            return replace(self, test_start=day, **asked)
        return Protocol(kind="walk_forward", test_start=day, **{"folds": 1, "test_days": 0, **asked})

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Protocol.from_json` gives an equal protocol back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises ConfigError on an unknown key and where there is no kind."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(data) - set(known)):
            raise ConfigError(f"protocol: found key {unknown[0]!r}; expected {', '.join(known)}; correct its spelling")
        if "kind" not in data:
            raise ConfigError(f"protocol: no 'kind'; expected {' or '.join(map(repr, KINDS))}")
        return cls(**data)
