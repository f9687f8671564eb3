"""What people make of a run's scores: which cases wait and who takes the next, how often the model is overridden and why, and how that
turned out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from trmfin.errors import ReviewError
from trmfin.scoring.journal import Journal
from trmfin.scoring.journal_chain import Event
from trmfin.scoring.queue import EVERY, Query, next_case
from trmfin.scoring.review import OVERRIDES, STATES, Reviewer, Step
from trmfin.scoring.views import Run, collected

AGES = ("under a day", "1 to 3 days", "3 to 7 days", "over 7 days")
LIMITS = (timedelta(days=1), timedelta(days=3), timedelta(days=7))  # of the ages but the last
DECISIONS = {"case": pl.String, "action": pl.String, "code": pl.String, "second": pl.Boolean, "hours": pl.Float64}


def waiting(run: Run, reviewed: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Cases that wait for people: a row a state, a column each of AGES, and `cases`, which is their sum.

    A flagged case that nobody acted on waits since the run was finished, any other since it was last changed. reviewed: as
    `Journal.reviewed` gives it. A case whose sample was erased is open again: nothing ties it to what was done.
    """
    acted = reviewed.filter(pl.col("sample_id").is_not_null()).select("sample_id", "state", "changed").lazy()
    finished = datetime.fromisoformat(run.manifest["times"]["finished"])
    every = run.scores.select("sample_id", "decision").join(acted, on="sample_id", how="left")
    every = every.with_columns(pl.col("state").fill_null("open"), age=pl.lit(now) - pl.col("changed").fill_null(finished))
    open_ = (pl.col("state") == "open") & (pl.col("decision") == "flagged")
    found = collected(every.filter(open_ | ~pl.col("state").is_in(("open", "decided"))).select("state", "age"), run.folder)
    edges = [timedelta.min, *LIMITS, timedelta.max]
    inside = [(pl.col("age") >= low) & (pl.col("age") < high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    counted = found.group_by("state").agg(*(part.sum().alias(name) for name, part in zip(AGES, inside, strict=True)), cases=pl.len())
    return counted.sort(pl.col("state").replace_strict(STATES, range(len(STATES))))


def claim_next(run: Run, journal: Journal, reviewer: Reviewer, among: Query = EVERY) -> str:
    """The first open case of a query, now claimed; where others were faster, the one after it. "" where none is left.

    Raises ReviewError where the reviewer may not claim.
    """
    while name := next_case(run, journal.reviewed(run.seal), "", among):
        try:
            journal.act(reviewer, run.seal, name, Step(action="claim"))
        except ReviewError:
            if journal.case(run.seal, name).state == "open":
                raise
            continue
        return name
    return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgements:
    """What was decided of a run's cases, as the journal has it now."""

    decisions: (
        pl.DataFrame
    )  # one row a decided case: case (pseudonym), action, code, second (person approved), hours from claim to decision
    rejected: int  # overrides that a second person refused
    undone: int  # decisions that were taken back

    @property
    def overridden(self) -> int:
        return int(self.decisions["action"].is_in(list(OVERRIDES)).sum())


def judgements(events: Iterable[Event]) -> Judgements:
    """Follows a run's events, oldest first. hours is None where a case was never claimed."""
    claimed, proposed, decided = dict[str, datetime](), dict[str, Event](), dict[str, tuple[str, str, bool, float | None]]()
    rejected = undone = 0
    for event in events:
        time = datetime.fromisoformat(event.time)
        match event.action:
            case "claim":
                claimed[event.case] = time
            case "reject":
                rejected += 1
            case "undo":
                undone += 1
                decided.pop(event.case, None)
            case "accept" | "override up" | "override down":
                proposed[event.case] = event
        if event.after.state == "decided" != event.before.state:
            said, since = proposed[event.case], claimed.get(event.case)
            hours = None if since is None else (time - since) / timedelta(hours=1)
            decided[event.case] = (said.action, said.code, event.action == "approve", hours)
    rows = [(case, *told) for case, told in sorted(decided.items())]
    return Judgements(decisions=pl.DataFrame(rows, schema=DECISIONS, orient="row"), rejected=rejected, undone=undone)


def overrides(found: Judgements, outcome_of: pl.DataFrame) -> pl.DataFrame:
    """A row an action and code: cases, share of all decided, median hours, and of those whose outcome is known how many happened.

    outcome_of: case (pseudonym), outcome (0 or 1). The columns known and event_rate say so; the latter is null where none is known.
    """
    joined = found.decisions.join(outcome_of.select("case", "outcome"), on="case", how="left")
    grouped = joined.group_by("action", "code").agg(
        cases=pl.len(),
        second=pl.col("second").sum(),
        hours=pl.col("hours").median(),
        known=pl.col("outcome").count(),
        event_rate=pl.col("outcome").cast(pl.Float64).mean(),
    )
    shares = grouped.with_columns(share=pl.col("cases") / max(len(joined), 1))
    names = ("action", "code", "cases", "share", "second", "hours", "known", "event_rate")
    return shares.select(names).sort("cases", "action", "code", descending=[True, False, False])
