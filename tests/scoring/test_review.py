"""The rules of review: who may do what to a case, and what it is afterwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from trmfin.errors import ConfigError, ReviewError
from trmfin.scoring.review import ACTIONS, FROM, MAY, OVERRIDES, ROLES, STATES, Case, Reviewer, ReviewPolicy, Step, after, possible

ANN, BEN = Reviewer(name="ann", roles=("analyst",)), Reviewer(name="ben", roles=("approver",))
POLICY = ReviewPolicy(four_eyes_above=100)
NOTE = "x" * POLICY.least_note
CLAIMED = Case(state="claimed", owner="ann", version=1)
DOWN = Step(action="override down", code="other", note=NOTE, model_decision="flagged", at_stake=100)


def told(case: Case, step: Step, reviewer: Reviewer = ANN, **more: Case) -> Case:
    """`after`, the journal naming people by their names."""
    return after(case, step, reviewer.name, reviewer, POLICY, **more)


@pytest.mark.parametrize(("role", "action"), list(product(ROLES, ACTIONS)))
def test_every_action_takes_a_role(role: str, action: str) -> None:
    reviewer = Reviewer(name="x", roles=(role,))  # type: ignore[arg-type]
    case = replace(CLAIMED, state=FROM[action][0], owner="other" if action in ("approve", "reject") else "x")  # type: ignore[index]
    step = Step(action=action, code="other", note=NOTE, model_decision="not flagged" if action == "override up" else "flagged")  # type: ignore[arg-type]
    if action in MAY[role]:  # type: ignore[index]
        assert told(case, step, reviewer).version == (1 if action == "export" else 2)
    else:
        with pytest.raises(ReviewError, match=f"{action}: x is {role}; it takes "):
            told(case, step, reviewer)


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "export"])
def test_an_action_needs_the_state_it_starts_from(action: str) -> None:
    for state in {"open", "claimed", "awaiting document", "awaiting second", "referred", "decided"} - set(FROM[action]):  # type: ignore[index]
        with pytest.raises(ReviewError, match=f"{action}: the case is {state}; it must be "):
            told(replace(CLAIMED, state=state), Step(action=action), BEN)  # type: ignore[arg-type]


@pytest.mark.parametrize(("role", "state", "owner", "says"), list(product(ROLES, STATES, ("x", "other"), ("flagged", "not flagged"))))
def test_what_is_possible_is_what_the_rules_allow(role: str, state: str, owner: str, says: str) -> None:
    reviewer, case = Reviewer(name="x", roles=(role,)), Case(state=state, owner=owner, version=1)  # type: ignore[arg-type]
    allowed = []
    for action in ACTIONS[:-1]:
        try:
            told(case, Step(action=action, code="other", note=NOTE, model_decision=says), reviewer)  # type: ignore[arg-type]
        except ReviewError:
            continue
        allowed.append(action)
    assert ACTIONS[-1] == "export" and possible(case, reviewer, owner == "x", says) == allowed  # type: ignore[arg-type]


def test_a_case_is_claimed_by_one_and_worked_on_by_them_alone() -> None:
    claimed = told(Case(), Step(action="claim"))
    assert claimed == CLAIMED
    with pytest.raises(ReviewError, match="another reviewer has claimed the case"):
        told(claimed, Step(action="accept", model_decision="flagged"), BEN)
    assert told(claimed, Step(action="release")) == told(claimed, Step(action="release"), BEN) == Case(version=2)
    with pytest.raises(ReviewError, match="another reviewer has claimed the case"):
        told(claimed, Step(action="release"), Reviewer(name="eve", roles=("analyst",)))
    waiting = told(claimed, Step(action="request document"))
    assert (waiting.state, waiting.owner) == ("awaiting document", "ann")
    assert told(waiting, Step(action="accept", model_decision="not flagged")).decision == "not flagged"


def test_a_referred_case_waits_for_an_approver() -> None:
    referred = told(CLAIMED, Step(action="refer"))
    assert (referred.state, referred.owner) == ("referred", "")
    with pytest.raises(ReviewError, match="referred to an approver"):
        told(referred, Step(action="claim"))
    assert told(referred, Step(action="claim"), BEN).owner == "ben"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"code": "because"}, "code 'because' is unknown; choose one of document seen"),
        ({"note": "  too short   "}, "the note has 9 characters; write at least 20"),
        ({"model_decision": "not flagged"}, "the model says not flagged too, so there is nothing to override"),
    ],
)
def test_an_override_says_why_and_goes_against_the_model(changed: dict[str, str], said: str) -> None:
    with pytest.raises(ReviewError, match=said):
        told(CLAIMED, replace(DOWN, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("action", OVERRIDES)
def test_above_the_limit_an_override_needs_four_eyes(action: str) -> None:
    step = replace(DOWN, action=action, model_decision="flagged" if action == "override down" else "not flagged")  # type: ignore[arg-type]
    assert told(CLAIMED, step).state == "decided"
    proposed = told(CLAIMED, replace(step, at_stake=101))
    assert (proposed.state, proposed.decision) == ("awaiting second", OVERRIDES[action])  # type: ignore[index]
    same = Reviewer(name="ann", roles=("approver",))
    for second in ("approve", "reject"):
        with pytest.raises(ReviewError, match="a second person must"):
            told(proposed, Step(action=second), same)  # type: ignore[arg-type]
    approved, rejected = (told(proposed, Step(action=second), BEN) for second in ("approve", "reject"))  # type: ignore[arg-type]
    assert (approved.state, approved.decision, approved.owner) == ("decided", OVERRIDES[action], "ann")  # type: ignore[index]
    assert (rejected.state, rejected.decision, rejected.owner) == ("claimed", "", "ann")


def test_undo_is_for_who_decided_and_for_approvers() -> None:
    decided = told(CLAIMED, DOWN)
    assert told(decided, Step(action="undo"), before_decision=CLAIMED) == replace(CLAIMED, version=3)
    assert told(decided, Step(action="undo"), BEN, before_decision=CLAIMED).owner == "ann"
    with pytest.raises(ReviewError, match="only who decided the case, or an approver"):
        told(decided, Step(action="undo"), Reviewer(name="eve", roles=("analyst",)))


def test_what_makes_no_sense_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="role 'boss' is unknown"):
        Reviewer(name="x", roles=("boss",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the name is empty"):
        Reviewer(name=" ", roles=())
    with pytest.raises(ConfigError, match="at least one code"):
        ReviewPolicy(codes=())
    with pytest.raises(ReviewError, match="x is without a role; it takes analyst or approver"):
        told(Case(), Step(action="claim"), Reviewer(name="x", roles=()))


def test_what_is_at_stake_but_not_known_takes_four_eyes_whatever_the_limit() -> None:
    assert told(CLAIMED, replace(DOWN, at_stake=100)).state == "decided"
    assert told(CLAIMED, replace(DOWN, at_stake=None)).state == "awaiting second"
    assert ReviewPolicy(four_eyes_above=10**15).takes_two(None) and not ReviewPolicy(four_eyes_above=7).takes_two(7)


def test_a_house_sets_its_own_policy_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('codes = ["fraud confirmed", "other"]\nfour_eyes_above = 500_000\nretention_months = 12')
    found = ReviewPolicy.from_toml(path)
    assert found == ReviewPolicy(codes=("fraud confirmed", "other"), four_eyes_above=500_000, retention_months=12)
    assert found.least_note == ReviewPolicy().least_note
    for text in (
        "eyes = 4",
        "codes = 3",
        "codes = 'other'",
        "codes = [1]",
        "retention_months = 12.5",
        "least_note = true",
        "retention_months = 9999",
        "retention_months = 0",
        "least_note = 'long'",
        "no TOML",
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match="review policy"):
            ReviewPolicy.from_toml(path)
    with pytest.raises(ConfigError, match="is no review policy"):
        ReviewPolicy.from_toml(tmp_path / "none.toml")
