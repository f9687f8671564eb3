"""Reasons: which players are told, in what words, and what must hold before they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from tests.explaining.runs import TASK
from trmfin.errors import TaskError
from trmfin.explaining.evidence import carrying
from trmfin.explaining.reasons import Checks, Evidence, filled, jaccard, principal, told, unfilled, unsure
from trmfin.sequences.explained import Reason

EVENTS = pl.DataFrame(
    {
        "event_id": ["a", "b"],
        "event_time": [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)],
        "billed": [123_450, 200_000],
        "status": ["late", "paid"],
        "used": [0.123456, None],
        "amount": [1_234_567.8, 999.5],
    }
)
SAMPLE = {"limit": 5_000_000, "education": None, "billed": 7}
MORE = EVENTS.with_columns(
    event_id=pl.Series(["c", "d"]), event_time=pl.col("event_time") - pl.duration(days=366), billed=pl.lit(900_000, pl.Int64)
)
ALL = pl.concat([EVENTS, MORE])
BEHIND = {"bills": Evidence(carrying=EVENTS, read=EVENTS)}
NOTHING = Evidence(carrying=EVENTS.clear(), read=EVENTS.clear())


def text(words: str, carrying: pl.DataFrame = EVENTS, read: pl.DataFrame = EVENTS) -> str:
    return filled(Reason(code="R", player="bills", text=words), Evidence(carrying=carrying, read=read), SAMPLE, ("billed", "limit"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{events} statements, {first} to {last}", "2 statements, 2024-03-01 to 2024-05-01"),
        ("{billed.most} and {billed.least}, {billed.newest}", "2,000.00 and 1,234.50, 2,000.00"),
        ("{billed.total} or {billed.mean}", "3,234.50 or 1,617.25"),
        ("{status.newest}, {used.newest} in {used.when}", "paid, 0.1235 in 2024-03-01"),
        ("{amount.most} and {amount.least}", "1,234,568 and 999.5"),
        ("limit {limit}, school {education}", "limit 50,000.00, school unknown"),
        ("own {billed}", "own 0.07"),
        ("{nothing.most} {nothing}", "unknown unknown"),
        ("no slot, {{braces}}", "no slot, {braces}"),
    ],
)
def test_slots_are_filled_with_the_cases_values(words: str, said: str) -> None:
    assert text(words) == (said if "braces" not in words else "no slot, {{braces}}")


def test_without_events_slots_say_unknown() -> None:
    assert text("{events}: {billed.most} in {last}", EVENTS.clear(), EVENTS.clear()) == "0: unknown in unknown"


def test_extremes_and_sums_are_of_the_whole_case_and_days_of_what_carries_the_reason() -> None:
    assert text("{billed.most}, {billed.least}, {billed.total}", read=ALL) == "9,000.00, 1,234.50, 21,234.50"
    assert text("{events}, {first} to {last}, {billed.newest} in {billed.when}", read=ALL) == (
        "2, 2024-03-01 to 2024-05-01, 2,000.00 in 2024-05-01"
    )


def test_slots_that_the_case_has_nothing_for_are_found() -> None:
    reason = Reason(code="R", player="bills", text="{events} {limit} {education} {billed.most} {billed.newest}")
    assert unfilled(reason, Evidence(carrying=EVENTS, read=ALL), SAMPLE) == ("education",)
    assert unfilled(reason, NOTHING, SAMPLE) == ("education", "billed.most", "billed.newest")
    found, _ = told(TASK, ("bills",), np.array([1.0]), {"bills": NOTHING}, SAMPLE)
    assert found[0].unfilled == ("billed.most", "billed.newest", "last")


@pytest.mark.parametrize("words", ["{billed.median}", "{}", "{.most}"])
def test_an_unknown_slot_is_refused_when_the_task_is_made(words: str) -> None:
    with pytest.raises(TaskError, match="is unknown; expected {events}, {first}, {last}"):
        Reason(code="R", player="bills", text=words)


def test_braces_that_do_not_match_are_refused() -> None:
    with pytest.raises(TaskError, match="braces do not match"):
        Reason(code="R", player="bills", text="{billed")


def test_at_most_four_players_that_raise_the_score_are_principal_strongest_first() -> None:
    assert principal(np.array([0.1, 0.5, -2.0, 0.3, 0.2, 0.4])) == [1, 5, 3, 4]
    assert principal(np.array([1.0, 0.001, -1.0])) == [0], "less than a fiftieth of what raises it is no principal reason"
    assert principal(np.array([-1.0, 0.0])) == []
    assert principal(np.array([1e-6, 2e-6])) == [], "rounding alone is no reason"
    assert principal(np.array([0.5, 0.5])) == [0, 1], "ties by the players' order"


def test_told_reasons_carry_their_events_and_unmapped_players_are_named() -> None:
    found, unmapped = told(TASK, ("bills", "lateness", "mystery"), np.array([0.2, -0.1, 0.9]), BEHIND, SAMPLE)
    assert unmapped == ("mystery",)
    (reason,) = found
    assert (reason.rank, reason.code, reason.player, reason.event_ids) == (1, "B", "bills", ("a", "b"))
    assert reason.text == "Statements of 2,000.00 at most, 2,000.00 in 2024-05-01"
    assert reason.contribution == 0.2


def test_what_lowers_a_score_is_told_apart_and_a_reason_of_one_direction_is_not_told_in_the_other() -> None:
    players, values = ("bills", "lateness", "mystery"), np.array([-0.2, 0.1, -0.9])
    found, unmapped = told(TASK, players, values, BEHIND, SAMPLE, "lowers")
    assert [(reason.code, reason.contribution) for reason in found] == [("B", -0.2)] and unmapped == ("mystery",)
    high, low = (Reason(code=way, player="bills", text=way, direction=way) for way in ("raises", "lowers"))
    both = replace(TASK, reasons=(high, low))
    assert [reason.text for reason in told(both, players, values, BEHIND, SAMPLE, "lowers")[0]] == ["lowers"]
    assert [reason.text for reason in told(both, players, -values, BEHIND, SAMPLE)[0]] == ["raises"]
    assert told(replace(TASK, reasons=(low,)), players, -values, BEHIND, SAMPLE) == ([], ("mystery", "bills")), "written for lowering alone"


def test_directions_are_known_ones_and_no_two_reasons_tell_the_same() -> None:
    with pytest.raises(TaskError, match="direction is 'up'; expected raises, lowers or either"):
        Reason(code="R", player="bills", text="t", direction="up")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="reasons 'B' and 'R' tell the same of player 'bills'"):
        replace(TASK, reasons=(*TASK.reasons, Reason(code="R", player="bills", text="t", direction="lowers")))


def test_the_fewest_tokens_that_hold_most_of_the_pull_carry_a_reason() -> None:
    assert carrying(np.array([0.0, 0.1, 0.6, -0.5, 0.3])) == [2, 4]
    assert carrying(np.array([0.0, -0.1])) == []


def test_jaccard() -> None:
    assert jaccard([], []) == 1.0
    assert jaccard([1, 2], [2, 3]) == 1 / 3


def checks(**changed: object) -> Checks:
    good = {"residual": 1e-6, "unmapped": (), "unfilled": (), "stability": 1.0, "protected": (), "silent": False}
    return Checks(**(good | {"unsure": None, "average": None} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "check", "said"),
    [
        ({"residual": -2e-4}, "residual", "miss the score's log-odds by -0.0002"),
        ({"residual": float("nan")}, "residual", "miss the score's log-odds"),
        ({"unmapped": ("mystery",)}, "mapping", "no reason is written for mystery"),
        ({"unfilled": ("bills",)}, "wording", "nothing to fill the reason's words with, of bills"),
        ({"stability": 0.6}, "stability", "under small noise the principal factors change"),
        ({"silent": True}, "told", "the score is flagged, and no factor raises it"),
        ({"unsure": ("bills",)}, "precision", "too few samples to say whether bills is among the principal factors"),
        ({"protected": ("sex",)}, "protected", "a field reads sex"),
        (
            {"average": 0.74},
            "average",
            "the group's average names other factors than its rows (Jaccard index 0.74, below 0.75): score with",
        ),
        ({"average": float("nan")}, "average", "the bundle has not measured, for such a score, whether its"),
    ],
)
def test_a_failed_check_asks_for_a_person_and_says_why(changed: dict[str, object], check: str, said: str) -> None:
    found = checks(**changed)
    assert [name for name, good in found.passed.items() if not good] == [check]
    assert len(found.needs_human) == 1 and said in found.needs_human[0]


def test_checks_that_pass_ask_for_nobody() -> None:
    assert checks().needs_human == () and checks(unsure=()).needs_human == ()
    assert "precision" not in checks().passed, "values are exact"
    assert "average" not in checks().passed, "rows are compared with"
    assert checks(average=0.75).needs_human == ()


def test_events_that_were_known_late_are_dated_by_when_they_happened() -> None:
    assert text("{first} to {last}: {status.newest}", EVENTS.reverse()) == "2024-03-01 to 2024-05-01: paid"


def test_a_sampled_value_near_the_border_is_unsure() -> None:
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, -1.0])
    assert unsure(values, np.full(6, 0.01)) == []
    assert unsure(values, np.full(6, 0.04)) == [3, 4], "which of the two is the fourth?"
    assert unsure(np.array([0.9, 0.004]), np.full(2, 0.01)) == [1], "it may be a principal factor, too"
    assert unsure(np.array([0.9, -0.5]), np.full(2, 0.01)) == []
    assert unsure(np.array([0.9, -0.5, -0.012]), np.full(3, 0.01)) == [2], "what lowers a score is told, too"
