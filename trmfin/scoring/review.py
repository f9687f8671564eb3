"""The rules of review: who may do what to a case, and what the case is afterwards. Nothing here is stored; `journal.py` does that.

    open ── claim ──▶ claimed ── accept, override ──▶ decided
                        │  ▲                             ▲
                        │  └── reject ── awaiting second ┘ approve       an override above the limit needs four eyes
                        ├── request document ──▶ awaiting document       its owner goes on when the document is there
                        └── refer ──▶ referred ── claim ──▶ claimed      to somebody who may approve

`release` gives a claimed case back; `undo` makes a case what it was before its last decision, as a new event.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from trmfin.errors import ConfigError, ReviewError

Role = Literal["viewer", "analyst", "approver", "compliance"]
Action = Literal[
    "claim", "release", "accept", "override up", "override down", "refer", "request document", "approve", "reject", "undo", "export"
]
State = Literal["open", "claimed", "awaiting document", "awaiting second", "referred", "decided"]
Decision = Literal["", "flagged", "not flagged"]
ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)
STATES: tuple[State, ...] = get_args(State)
MAY: dict[Role, frozenset[Action]] = {
    "viewer": frozenset(),
    "analyst": frozenset(ACTIONS) - {"approve", "reject"},
    "approver": frozenset(ACTIONS),
    "compliance": frozenset({"export"}),
}
LONGEST = 1200  # months
OVERRIDES: dict[Action, Decision] = {"override up": "flagged", "override down": "not flagged"}
OWNED: tuple[State, ...] = ("claimed", "awaiting document")  # a case that its owner works on
FROM: dict[Action, tuple[State, ...]] = {  # what a case must be
    "claim": ("open", "referred"),
    "release": OWNED,
    "accept": OWNED,
    "override up": OWNED,
    "override down": OWNED,
    "refer": OWNED,
    "request document": ("claimed",),
    "approve": ("awaiting second",),
    "reject": ("awaiting second",),
    "undo": ("decided",),
    "export": STATES,
}


@dataclass(frozen=True, kw_only=True)
class Reviewer:
    """Somebody who has logged in."""

    name: str
    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("reviewer: the name is empty; log in again")
        if unknown := sorted(set(self.roles) - set(ROLES)):
            raise ConfigError(f"reviewer {self.name!r}: role {unknown[0]!r} is unknown; choose from {', '.join(ROLES)}")

    def may(self, action: Action) -> bool:
        return any(action in MAY[role] for role in self.roles)


@dataclass(frozen=True, kw_only=True)
class ReviewPolicy:
    """What a house asks of reviews."""

    codes: tuple[str, ...] = ("document seen", "income verified", "identity doubtful", "known customer", "data wrong", "other")
    least_note: int = 20  # characters of an override's note
    four_eyes_above: int = 0  # money at stake, minor units, above which an override needs a second person
    retention_months: int = 25  # after its last event a case may be forgotten; 12 CFR 1002.12(b): 25 months, 12 for business credit

    @classmethod
    def from_toml(cls, path: Path) -> ReviewPolicy:
        """Of a file with some of the fields above; the others stay as they are. Raises ConfigError on what is none."""
        try:
            found: dict[str, Any] = tomllib.loads(path.read_text())
            if not isinstance(found.get("codes", []), list):
                raise TypeError(f"codes is {found['codes']!r}, expected a list")
            return cls(**found | ({"codes": tuple(found["codes"])} if "codes" in found else {}))
        except ConfigError as problem:
            raise ConfigError(f"{path}: {problem}") from problem
        except (OSError, ValueError, TypeError) as problem:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"{path}: is no review policy ({problem}); give TOML with some of {known}") from problem

    def takes_two(self, at_stake: int | None) -> bool:
        """Whether an override with so much money at stake needs a second person; where it is not known, it does."""
        return at_stake is None or at_stake > self.four_eyes_above

    def __post_init__(self) -> None:
        numbers = (self.least_note, self.four_eyes_above, self.retention_months)
        if any(type(number) is not int for number in numbers) or not all(isinstance(code, str) and code.strip() for code in self.codes):
            raise ConfigError("review policy: codes are texts, all else are whole numbers")
        if self.retention_months > LONGEST:
            raise ConfigError(f"review policy: retention_months is {self.retention_months}; at most {LONGEST}, a century")
        if not self.codes or min(self.least_note, self.four_eyes_above) < 0 or self.retention_months < 1:
            raise ConfigError("review policy: needs at least one code, numbers of at least 0 and at least one month of retention")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scored sample under review. `version` counts its changes: who acts says which version was seen."""

    state: State = "open"
    owner: str = ""  # who works on it, as the journal names people
    decision: Decision = ""  # of people; proposed while a second is awaited
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """What somebody wants to do to a case."""

    action: Action
    code: str = ""
    note: str = ""
    model_decision: Decision = ""  # what the score says, which an override goes against
    at_stake: int | None = 0  # money, minor units; None: not known, which counts as above every limit


def after(case: Case, step: Step, who: str, reviewer: Reviewer, policy: ReviewPolicy, before_decision: Case | None = None) -> Case:
    """The case once `who`, as the journal names the reviewer, has taken the step; an export leaves it as it is.

    before_decision: what the case was before its last decision, for `undo`. Raises ReviewError where the rules do not allow it.
    """
    action = step.action
    if not reviewer.may(action):
        needed = [role for role in ROLES if action in MAY[role]]
        raise ReviewError(f"{action}: {reviewer.name} is {', '.join(reviewer.roles) or 'without a role'}; it takes {' or '.join(needed)}")
    if case.state not in FROM[action]:
        raise ReviewError(f"{action}: the case is {case.state}; it must be {' or '.join(FROM[action])}: look at it again")
    frees = action == "release" and "approver" in reviewer.roles  # a case whose owner is away
    if case.state in OWNED and action != "export" and case.owner != who and not frees:
        raise ReviewError(f"{action}: another reviewer has claimed the case; only they may, until it is released")
    _check_words(step, policy)
    changed = _changed(case, step, who, reviewer, policy, before_decision)
    return changed if action == "export" else replace(changed, version=case.version + 1)


def possible(case: Case, reviewer: Reviewer, owns: bool, model_decision: Decision) -> list[Action]:
    """What `after` allows the reviewer to do to the case, once its words are there; without exports. owns: whether the case is theirs."""
    approver = "approver" in reviewer.roles
    barred = {action for action, decision in OVERRIDES.items() if decision == model_decision}
    barred.add("export")
    if case.state in OWNED and not owns:
        barred |= set(ACTIONS) - ({"release"} if approver else set())
    if owns:
        barred |= {"approve", "reject"}
    elif not approver:
        barred |= {"undo"}
    if case.state == "referred" and not approver:
        barred |= {"claim"}
    return [action for action in ACTIONS if action not in barred and case.state in FROM[action] and reviewer.may(action)]


def _check_words(step: Step, policy: ReviewPolicy) -> None:
    """Raises ReviewError where an override lacks its code or note, or goes with the model."""
    decision = OVERRIDES.get(step.action)
    if decision is None:
        return
    if step.code not in policy.codes:
        raise ReviewError(f"{step.action}: code {step.code!r} is unknown; choose one of {', '.join(policy.codes)}")
    if len(step.note.strip()) < policy.least_note:
        raise ReviewError(f"{step.action}: the note has {len(step.note.strip())} characters; write at least {policy.least_note}, why")
    if decision == step.model_decision:
        raise ReviewError(f"{step.action}: the model says {decision} too, so there is nothing to override; accept it")


def _changed(case: Case, step: Step, who: str, reviewer: Reviewer, policy: ReviewPolicy, before_decision: Case | None) -> Case:
    match step.action:
        case "claim":
            if case.state == "referred" and "approver" not in reviewer.roles:
                raise ReviewError("claim: the case was referred to an approver; it takes that role")
            return replace(case, state="claimed", owner=who)
        case "release":
            return replace(case, state="open", owner="")
        case "refer":
            return replace(case, state="referred", owner="")
        case "request document":
            return replace(case, state="awaiting document")
        case "accept":
            return replace(case, state="decided", decision=step.model_decision)
        case "override up" | "override down":
            second = policy.takes_two(step.at_stake)
            return replace(case, state="awaiting second" if second else "decided", decision=OVERRIDES[step.action])
        case "approve" | "reject":
            if case.owner == who:
                raise ReviewError(f"{step.action}: four eyes are asked for, and {reviewer.name} proposed it; a second person must")
            return replace(case, state="decided") if step.action == "approve" else replace(case, state="claimed", decision="")
        case "undo":
            if case.owner != who and "approver" not in reviewer.roles:
                raise ReviewError("undo: only who decided the case, or an approver, may undo it")
            return replace(before_decision or Case(), owner=case.owner)
        case "export":
            return case
