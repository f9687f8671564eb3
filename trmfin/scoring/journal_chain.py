"""Events of the journal: what each says, and the chain of hashes that ties it to the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trmfin.errors import JournalError
from trmfin.scoring.review import Action, Case

ROOT = "0" * 64  # what the first event follows


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the journal. `who`, `case` and `note` are pseudonyms; "" = none."""

    number: int  # from 1
    time: str
    who: str
    action: Action
    run: str  # seal of the run's manifest
    case: str
    record: str  # sha256 of the record that was looked at
    before: Case
    after: Case
    code: str
    note: str
    prev_sha256: str
    sha256: str

    @classmethod
    def from_line(cls, line: str) -> Event:
        found = json.loads(line)
        return cls(**found | {when: Case(**found[when]) for when in ("before", "after")})

    @property
    def line(self) -> str:
        """As it is stored and hashed."""
        return _line(asdict(self))


def sealed(body: Mapping[str, Any]) -> Event:
    """An event of its content, with its hash. body: all fields of Event but sha256, cases as JSON."""
    return Event.from_line(_line({**body, "sha256": digest(_line(body))}))


def checked(line: str, previous: str, count: int, where: str, number: int) -> Event:
    """The event of a line that stands as `number`, if it is what was written after `count` others. Raises JournalError."""
    try:
        event = Event.from_line(line)
        again = sealed({key: value for key, value in asdict(event).items() if key != "sha256"})
    except (ValueError, TypeError, KeyError) as problem:
        raise JournalError(f"{where} cannot be read ({problem}); restore it") from problem
    if number != count + 1 or event.number != number:
        raise JournalError(f"{where} stands where event {count + 1} should; one was dropped, added or moved: restore it")
    if event.prev_sha256 != previous:
        raise JournalError(f"{where} follows another event than the one before it; one was dropped, added or moved: restore it")
    if again.line != line:
        raise JournalError(f"{where} was changed, its hash does not fit; restore it")
    return event


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
