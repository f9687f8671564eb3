"""The journal: what was done is there once, in order, unchanged, and nothing else is; in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, delete, select, update

from tests.scoring.databases import programs, server
from trmfin.errors import JournalError, ReviewError
from trmfin.scoring.journal import FORMAT, Journal
from trmfin.scoring.journal_chain import ROOT
from trmfin.scoring.journal_tables import CASES, EVENTS, HEAD, KEYS
from trmfin.scoring.review import Case, Reviewer, ReviewPolicy, Step

RUN, OTHER = "a" * 64, "b" * 64
ANN, BEN = Reviewer(name="ann", roles=("analyst",)), Reviewer(name="ben", roles=("approver",))
CLEO = Reviewer(name="cleo", roles=("compliance",))
NOTE = "Seen the payslip of May, salary doubled."
DOWN = Step(action="override down", code="income verified", note=NOTE, model_decision="flagged")
CLAIM, ACCEPT = Step(action="claim"), Step(action="accept", model_decision="flagged")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not installed here")
    with server() as database:
        yield database


@contextmanager
def connected(url: str, **options: Any) -> Iterator[Connection]:
    """The database itself, behind the journal's back."""
    engine = create_engine(url, **options)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def journals() -> Iterator[Callable[..., Journal]]:
    """Opens journals, which are closed after the test."""
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(Journal(*given, **named))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    url: str = request.getfixturevalue("postgres")(f"j{abs(hash(str(tmp_path)))}")
    return url


def test_a_decision_leaves_who_what_when_and_why(url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url, now=lambda: datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert journal.case(RUN, "s1") == Case() and journal.history(RUN, "s1") == [] and journal.verify()[0] == 0
    journal.act(ANN, RUN, "s1", CLAIM, seen=0)
    done = journal.act(ANN, RUN, "s1", DOWN, seen=1, record="c" * 64)
    assert journal.case(RUN, "s1") == done.after and (done.after.state, done.after.decision) == ("decided", "not flagged")
    assert (done.number, done.time, done.action, done.run, done.record) == (
        2,
        "2026-05-01T12:00:00.000000Z",
        "override down",
        RUN,
        "c" * 64,
    )
    assert done.before.state == "claimed" and done.code == "income verified"
    assert journal.words([done.who, done.case, done.note]) == {done.who: "ann", done.case: "s1", done.note: NOTE}
    assert [event.action for event in journal.history(RUN, "s1")] == ["claim", "override down"]
    assert journal.history(OTHER, "s1") == [] and journal.verify()[0] == 2
    row = ("s1", "decided", "ann", "not flagged", 2, datetime(2026, 5, 1, 12, tzinfo=UTC), done.case)
    assert journal.reviewed(RUN).rows() == [row] and journal.reviewed(OTHER).is_empty()
    assert journals(url).verify()[0] == 2, "opened again"


def test_what_the_rules_refuse_is_not_written(url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url)
    with pytest.raises(ReviewError, match="the case is open; it must be claimed"):
        journal.act(ANN, RUN, "s1", ACCEPT)
    assert journal.verify()[0] == 0 and journal.reviewed(RUN).is_empty()
    journal.act(ANN, RUN, "s1", CLAIM)
    with pytest.raises(ReviewError, match="the case was changed meanwhile"):
        journal.act(BEN, RUN, "s1", CLAIM, seen=0)
    assert journal.verify()[0] == 1


def test_a_whole_run_can_be_exported_and_nothing_else_be_done_to_it(url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url)
    event = journal.act(ANN, RUN, "", Step(action="export", code="zip"))
    assert (event.case, event.code) == ("", "zip") and journal.reviewed(RUN).is_empty() and journal.verify()[0] == 1
    journal.act(CLEO, RUN, "s1", Step(action="export", code="html"))
    assert journal.case(RUN, "s1") == Case() and journal.reviewed(RUN).is_empty() and journal.verify()[0] == 2
    journal.act(ANN, RUN, "s1", CLAIM, seen=0)  # who looked before the export may still act
    journal.act(CLEO, RUN, "s1", Step(action="export", code="html"))
    assert journal.case(RUN, "s1").version == 1 and journal.verify()[0] == 4
    with pytest.raises(ReviewError, match="a whole run can only be exported"):
        journal.act(ANN, RUN, "", CLAIM)


def test_undo_gives_back_what_was_before_and_is_an_event_of_its_own(url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url, ReviewPolicy(four_eyes_above=1_000_00))
    steps = [(ANN, CLAIM), (ANN, Step(**vars(DOWN) | {"at_stake": 1_000_01})), (BEN, Step(action="approve"))]
    for reviewer, step in steps:
        journal.act(reviewer, RUN, "s1", step)
    undone = journal.act(ANN, RUN, "s1", Step(action="undo"))
    assert undone.before.state == "decided" and (undone.after.state, undone.after.decision) == ("awaiting second", "not flagged")
    assert undone.after.version == 4 and [event.number for event in journal.history(RUN, "s1")] == [1, 2, 3, 4]
    journal.act(BEN, RUN, "s1", Step(action="reject"))
    assert journal.case(RUN, "s1").state == "claimed" and journal.verify()[0] == 5


def test_an_erased_person_is_gone_and_the_chain_stands(url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url)
    journal.act(ANN, RUN, "s1", CLAIM)
    done = journal.act(ANN, RUN, "s1", DOWN)
    with pytest.raises(ReviewError, match="it takes compliance"):
        journal.erase(ANN, "s1")
    assert journal.erase(CLEO, "s1") == 2 and journal.erase(CLEO, "s1") == 0
    assert journal.verify(done.sha256)[0] == 2 and journal.history(RUN, "s1") == []
    assert journal.words([done.who, done.case, done.note]) == {done.who: "ann"}
    assert journal.reviewed(RUN)["sample_id"].to_list() == [None]
    with connected(url) as connection:
        kept = [str(row) for table in (EVENTS, CASES, HEAD, KEYS) for row in connection.execute(select(table))]
    assert not any("s1" in row.replace("sha", "") and NOTE in row for row in kept) and not any(NOTE in row for row in kept)


def test_a_sample_expires_once_all_its_cases_are_old(url: str, journals: Callable[..., Journal]) -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    journal = journals(url, ReviewPolicy(retention_months=25), now=lambda: now)
    for run, sample in ((RUN, "s1"), (RUN, "s2"), (OTHER, "s3"), (RUN, "s4")):
        journal.act(ANN, run, sample, CLAIM)
    journal.act(ANN, RUN, "s5", Step(action="export", code="html"))
    now = datetime(2026, 6, 1, tzinfo=UTC)
    journal.act(ANN, OTHER, "s2", CLAIM)
    journal.act(ANN, RUN, "s4", Step(action="export", code="html"))
    now = datetime(2028, 2, 29, tzinfo=UTC)
    assert journal.expired() == []
    now = datetime(2028, 3, 1, tzinfo=UTC)
    assert journal.expired() == ["s1", "s3", "s5"], "an export is an event too"
    journal.erase(CLEO, "s1")
    with pytest.raises(ReviewError, match="it takes compliance"):
        journal.erase_expired(ANN)
    assert journal.erase_expired(CLEO) == {"s3": 1, "s5": 1} and journal.expired() == [] and journal.verify()[0] == 7


def test_the_same_name_is_one_person_and_salts_differ_between_journals(tmp_path: Path, journals: Callable[..., Journal]) -> None:
    found = []
    for name in ("one", "two"):
        journal = journals(f"sqlite:///{tmp_path}/{name}.db")
        events = [journal.act(ANN, RUN, sample, CLAIM) for sample in ("s1", "s2")]
        assert events[0].who == events[1].who and events[0].case != events[1].case
        found.append(events[0].who)
    assert found[0] != found[1]


def _changed(url: str, change: Callable[[dict[str, object]], object], number: int = 2) -> None:
    with connected(url) as connection:
        event = json.loads(connection.scalar(select(EVENTS.c.line).where(EVENTS.c.number == number)))
        change(event)
        line = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        connection.execute(update(EVENTS).where(EVENTS.c.number == number).values(line=line))


def _run(url: str, *statements: object) -> None:
    with connected(url) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


TAMPERING: dict[str, tuple[Callable[[str], None], str]] = {
    "who": (lambda url: _changed(url, lambda e: e.update(who="0" * 32)), "event 2 was changed"),
    "a time": (lambda url: _changed(url, lambda e: e.update(time="2020-01-01T00:00:00.000000Z")), "event 2 was changed"),
    "a decision": (lambda url: _changed(url, lambda e: e["after"].update(decision="flagged")), "event 2 was changed"),
    "a hash": (lambda url: _changed(url, lambda e: e.update(sha256="0" * 64)), "event 2 was changed"),
    "no event": (lambda url: _changed(url, lambda e: e.pop("who")), "event 2 cannot be read"),
    "a dropped event": (lambda url: _run(url, delete(EVENTS).where(EVENTS.c.number == 2)), "event 3 stands where event 2 should"),
    "the last event dropped": (lambda url: _run(url, delete(EVENTS).where(EVENTS.c.number == 3)), "ends with event 2, but 3 were written"),
    "a moved event": (
        lambda url: _run(
            url,
            update(EVENTS).where(EVENTS.c.number == 1).values(number=9),
            update(EVENTS).where(EVENTS.c.number == 2).values(number=1),
            update(EVENTS).where(EVENTS.c.number == 9).values(number=2),
        ),
        "event 1 stands where event 1 should",
    ),
    "a case": (lambda url: _run(url, update(CASES).values(decision="flagged")), "is not what its events made it"),
    "an event's run": (lambda url: _run(url, update(EVENTS).values(run=OTHER)), "event 1 is kept under another run, case or time"),
    "an event's time": (
        lambda url: _run(url, update(EVENTS).where(EVENTS.c.number == 2).values(time="2020")),
        "event 2 is kept under another run, case or time",
    ),
    "when a case was changed": (lambda url: _run(url, update(CASES).values(changed="2020")), "is not what its events made it"),
    "a dropped case": (lambda url: _run(url, delete(CASES)), "is not what its events made it"),
    "the head": (lambda url: _run(url, update(HEAD).values(number=2)), "ends with event 3, but 2 were written"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_tampering_is_found_and_named(kind: str, url: str, journals: Callable[..., Journal]) -> None:
    journal = journals(url)
    for sample, step in (("s1", CLAIM), ("s1", DOWN), ("s2", CLAIM)):
        journal.act(ANN, RUN, sample, step)
    tamper, said = TAMPERING[kind]
    tamper(url)
    with pytest.raises(JournalError, match=said):
        journal.verify()


def test_a_chain_made_anew_lacks_the_hash_that_was_noted(tmp_path: Path, journals: Callable[..., Journal]) -> None:
    first, second = (journals(f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "two"))
    noted = first.act(ANN, RUN, "s1", CLAIM).sha256
    second.act(ANN, RUN, "s1", CLAIM)
    assert first.verify(noted)[0] == 1 and first.verify(ROOT)[0] == 1
    with pytest.raises(JournalError, match="made anew"):
        second.verify(noted)


def _works(url: str, name: str, cases: int) -> None:
    """Claim and accept whatever is free; a process of its own."""
    journal, reviewer = Journal(url), Reviewer(name=name, roles=("analyst",))
    for number in range(cases):
        sample = f"s{number}"
        seen = journal.case(RUN, sample)
        if seen.state != "open":
            continue
        try:
            journal.act(reviewer, RUN, sample, CLAIM, seen=seen.version)
        except ReviewError:
            continue
        journal.act(reviewer, RUN, sample, ACCEPT)


def test_reviewers_side_by_side_lose_nothing_and_decide_nothing_twice(url: str, journals: Callable[..., Journal]) -> None:
    context, cases = multiprocessing.get_context("spawn"), 15
    people = [context.Process(target=_works, args=(url, f"reviewer {n}", cases)) for n in range(4)]
    for process in people:
        process.start()
    with Journal(url) as looking:
        while any(process.is_alive() for process in people):
            looking.verify()  # in the middle of it all
    for process in people:
        process.join(60)
    assert [process.exitcode for process in people] == [0] * 4
    journal = journals(url)
    assert journal.verify()[0] == 2 * cases
    assert set(journal.reviewed(RUN)["state"]) == {"decided"} and len(journal.reviewed(RUN)) == cases
    events = list(journal.events())
    assert Counter((event.case, event.action) for event in events).most_common(1)[0][1] == 1
    for event in events:
        if event.action == "accept":
            assert event.who == event.before.owner


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "cannot be opened"),
        ("oracle+none://x", "cannot be opened"),
        ("sqlite:////nowhere/at/all/journal.db", "unable to open database file; check that it is there"),
        ("postgresql+psycopg://nobody:secret@localhost:1/none", "check that it is there"),
    ],
)
def test_a_journal_that_cannot_be_opened_is_one_line_without_the_password(url: str, said: str) -> None:
    with pytest.raises(JournalError, match=said) as found:
        Journal(url)
    assert "secret" not in str(found.value) and "\n" not in str(found.value)


def test_another_format_is_refused(tmp_path: Path, journals: Callable[..., Journal]) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journals(url)
    for other, advice in ((99, "update trmfin"), (1, "start another and keep this one")):
        _run(url, update(HEAD).values(format=other))
        with pytest.raises(JournalError, match=f"is of format {other}, this version reads {FORMAT}; {advice}"):
            journals(url)
