"""How long cases wait, and what people made of them: counted from the journal and the run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.explaining.runs import explained
from trmfin.errors import ReviewError
from trmfin.scoring.journal import Journal
from trmfin.scoring.judgements import claim_next, judgements, overrides, waiting
from trmfin.scoring.review import Reviewer, Step
from trmfin.scoring.views import Run, opened

ANN, BEN = Reviewer(name="ann", roles=("analyst",)), Reviewer(name="ben", roles=("approver",))
NOTE = "Seen the payslip of May, salary doubled."
HOUR = timedelta(hours=1)


class Clock:
    """Says what it is told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return opened(explained(tmp_path_factory.mktemp("judged"), clients=20).run)


@pytest.fixture
def clock(run: Run) -> Clock:
    return Clock(datetime.fromisoformat(run.manifest["times"]["finished"]) + 10 * HOUR)


@pytest.fixture
def act(run: Run, tmp_path: Path, clock: Clock) -> Callable[..., Journal]:
    journal = Journal(f"sqlite:///{tmp_path}/journal.db", now=clock)

    def act(*steps: tuple[Reviewer, str, Step]) -> Journal:
        for reviewer, sample, step in steps:
            journal.act(reviewer, run.seal, sample, step)
        return journal

    return act


def down(code: str = "other") -> Step:
    return Step(action="override down", code=code, note=NOTE, model_decision="flagged", at_stake=1)


def test_every_flagged_case_waits_until_it_is_decided(run: Run, clock: Clock, act: Callable[..., Journal]) -> None:
    scores = run.scores.sort("score", descending=True).collect()
    flagged = scores.filter(pl.col("decision") == "flagged")["sample_id"].to_list()
    others = scores.filter(pl.col("decision") == "not flagged")["sample_id"].to_list()
    assert len(flagged) >= 4 and others
    journal = act()
    assert waiting(run, journal.reviewed(run.seal), clock.now).rows() == [("open", len(flagged), 0, 0, 0, len(flagged))]
    act((ANN, flagged[0], Step(action="claim")), (ANN, flagged[1], Step(action="claim")))
    act((ANN, flagged[1], Step(action="accept", model_decision="flagged")), (ANN, others[0], Step(action="claim")))
    act((ANN, flagged[2], Step(action="claim")), (ANN, flagged[2], Step(action="release")))
    act((ANN, flagged[3], Step(action="claim")), (ANN, flagged[3], Step(action="refer")))
    clock.now += timedelta(days=3)
    found = waiting(run, journal.reviewed(run.seal), clock.now)
    assert found.rows() == [
        ("open", 0, 0, len(flagged) - 3, 0, len(flagged) - 3),
        ("claimed", 0, 0, 2, 0, 2),
        ("referred", 0, 0, 1, 0, 1),
    ]
    clock.now -= HOUR
    found = waiting(run, journal.reviewed(run.seal), clock.now)
    assert found.rows()[0] == ("open", 0, 1, len(flagged) - 4, 0, len(flagged) - 3), "one since it was released, the others since the run"
    clock.now += timedelta(days=30)
    found = waiting(run, journal.reviewed(run.seal), clock.now)
    assert found["over 7 days"].sum() == found["cases"].sum() == len(flagged), "one is decided, one that is not flagged was claimed"


def test_a_forgotten_case_is_open_again_as_nothing_ties_it_to_what_was_done(run: Run, clock: Clock, act: Callable[..., Journal]) -> None:
    best = run.scores.sort("score", descending=True).collect()["sample_id"][0]
    journal = act((ANN, best, Step(action="claim")), (ANN, best, Step(action="accept", model_decision="flagged")))
    assert waiting(run, journal.reviewed(run.seal), clock.now)["cases"].sum() == run.flagged - 1
    journal.erase(Reviewer(name="cleo", roles=("compliance",)), best)
    assert (
        waiting(run, journal.reviewed(run.seal), clock.now)["cases"].sum() == run.flagged and journal.case(run.seal, best).state == "open"
    )


def test_the_next_case_is_claimed_even_where_others_were_faster(
    run: Run, act: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = run.scores.filter(pl.col("decision") == "flagged").sort("score", descending=True).collect()["sample_id"].to_list()
    journal, seen = act(), act().reviewed(run.seal)
    with pytest.raises(ReviewError, match="it takes analyst or approver"):
        claim_next(run, journal, Reviewer(name="eve", roles=("viewer",)))
    asked = iter([seen])  # what Ann's page knew before Ben claimed the first case
    act((BEN, flagged[0], Step(action="claim")))
    fresh = journal.reviewed
    monkeypatch.setattr(journal, "reviewed", lambda seal: next(asked, fresh(seal)))
    assert [claim_next(run, journal, ANN) for _ in flagged[1:]] == flagged[1:] and claim_next(run, journal, ANN) == ""


def test_overrides_are_counted_by_code_and_by_how_they_turned_out(run: Run, clock: Clock, act: Callable[..., Journal]) -> None:
    claim, accept = Step(action="claim"), Step(action="accept", model_decision="flagged")
    for sample in ("s1", "s2", "s3", "s4", "s5"):
        act((ANN, sample, claim))
    clock.now += 2 * HOUR
    act((ANN, "s1", accept), (ANN, "s2", down()), (ANN, "s3", down("data wrong")), (ANN, "s4", down()))
    clock.now += HOUR
    act((BEN, "s2", Step(action="approve")), (BEN, "s3", Step(action="reject")), (BEN, "s4", Step(action="approve")))
    journal = act((BEN, "s4", Step(action="undo")))
    found = judgements(journal.events(run.seal))
    assert (found.overridden, found.rejected, found.undone, len(found.decisions)) == (1, 1, 1, 2)
    reviewed = journal.reviewed(run.seal)
    known = pl.DataFrame({"sample_id": ["s1", "s2"], "outcome": [1, 0]}).join(reviewed, on="sample_id")
    assert overrides(found, known).rows() == [
        ("accept", "", 1, 0.5, 0, 2.0, 1, 1.0),
        ("override down", "other", 1, 0.5, 1, 3.0, 1, 0.0),
    ]
    nothing = overrides(found, known.clear())
    assert nothing["known"].to_list() == [0, 0] and nothing["event_rate"].to_list() == [None, None]
    act((BEN, "s4", Step(action="approve")))
    assert judgements(journal.events(run.seal)).overridden == 2, "approved again after it was taken back"


def test_nothing_done_is_nothing_judged(act: Callable[..., Journal], run: Run) -> None:
    found = judgements(act().events(run.seal))
    assert (found.overridden, found.rejected, found.undone) == (0, 0, 0) and found.decisions.is_empty()
    assert overrides(found, pl.DataFrame(schema={"case": pl.String, "outcome": pl.Int8})).is_empty()


def test_a_moment_before_the_run_was_finished_is_no_age(run: Run, act: Callable[..., Journal]) -> None:
    early = datetime(2000, 1, 1, tzinfo=UTC)
    assert waiting(run, act().reviewed(run.seal), early)["under a day"].sum() == run.flagged
