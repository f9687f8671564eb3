"""The journal of reviews: append-only, hash-chained, in SQL, for many people at once.

Every event names the hash of the one before, so that none can be changed, dropped or moved unseen. What a case is now stands in a
table of its own, for speed; it follows from the events, and `verify` works it out again. An event and the case it changes are one
transaction: after a kill either both are there or neither.

Reviewers, samples and notes are in the events under pseudonyms, salted hashes whose key table lies apart. `erase` forgets a sample:
the chain stays whole, and nothing in it leads back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import polars as pl
from sqlalchemy import Connection, RowMapping, delete, func, insert, inspect, make_url, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from trmfin.errors import JournalError, ReviewError
from trmfin.scoring.journal_chain import ROOT, Event, checked, digest, sealed
from trmfin.scoring.journal_tables import CASES, EVENTS, HEAD, KEYS, TABLES, opened, writing
from trmfin.scoring.review import Case, Reviewer, ReviewPolicy, Step, after

FORMAT = 2  # since 2 cases say when they were changed
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"
TRIES = 3  # to make the tables, which others may be making at the same moment
LINES = select(*EVENTS.c).order_by(EVENTS.c.number).execution_options(yield_per=1_000)
REVIEWED = {name: pl.String for name in ("sample_id", "state", "owner", "decision", "version", "changed", "case")} | {"version": pl.Int64}
NEVER = (Case(), "")  # what a case is, and when that was changed, before anybody acts


class Journal:
    """An open journal. Threads may share it; every call is a transaction of its own."""

    def __init__(
        self,
        url: str,
        policy: ReviewPolicy | None = None,
        *,
        create: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """url: as SQLAlchemy has it: sqlite:///journal.db, postgresql+psycopg://HOST/NAME. create: make the tables if they are not there.

        Raises JournalError where it cannot be opened.
        """
        self.policy, self._now = policy or ReviewPolicy(), now
        try:
            address = make_url(url)
            self.name = address.render_as_string(hide_password=True)
            self._engine = opened(url)
        except (ArgumentError, NoSuchModuleError, ImportError) as problem:
            raise JournalError(f"journal: {url.partition('://')[0]!r} cannot be opened ({problem}); give sqlite:///FILE, say") from problem
        in_file = address.get_backend_name() == "sqlite" and address.database
        found = None if in_file and not create and not Path(in_file).exists() else self._prepared(create)
        if found != FORMAT:
            self.close()
            advice = "start another and keep this one" if found and found < FORMAT else "update trmfin"
            what = "there is none; check the URL" if found is None else f"is of format {found}, this version reads {FORMAT}; {advice}"
            raise JournalError(f"journal {self.name}: {what}")

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def act(self, reviewer: Reviewer, run: str, sample_id: str, step: Step, *, seen: int | None = None, record: str = "") -> Event:
        """Append what a reviewer does to a case, and change the case. sample_id "": the whole run, which can be exported.

        seen: the case's version that the reviewer looked at. Raises ReviewError where the rules do not allow it, or where the case was
        changed since: nothing is written then.
        """
        if not sample_id and step.action != "export":
            raise ReviewError(f"{step.action}: no case is named; a whole run can only be exported")
        with self._transaction(write=True) as connection:
            head = connection.execute(select(HEAD).with_for_update()).one()
            who = self._pseudonym(connection, "reviewer", reviewer.name)
            name = self._pseudonym(connection, "sample", sample_id) if sample_id else ""
            case = _case(connection, run, name)
            if seen is not None and seen != case.version:
                raise ReviewError(f"{step.action}: the case was changed meanwhile (it is {case.state}); look at it again")
            earlier = _before_decision(connection, run, name) if step.action == "undo" else None
            changed = after(case, step, who, reviewer, self.policy, earlier)
            body = dict(
                number=head.number + 1,
                time=self._now().strftime(MOMENT),
                who=who,
                action=step.action,
                run=run,
                case=name,
                record=record,
                before=asdict(case),
                after=asdict(changed),
                code=step.code,
                note=self._pseudonym(connection, "note", step.note) if step.note else "",
                prev_sha256=head.sha256,
            )
            event = sealed(body)
            connection.execute(insert(EVENTS).values(number=event.number, run=run, case=name, time=event.time, line=event.line))
            connection.execute(update(HEAD).values(number=event.number, sha256=event.sha256))
            row = asdict(changed) | {"run": run, "case": name, "changed": event.time}
            if changed == case:  # an export
                return event
            if case.version:
                connection.execute(update(CASES).where(CASES.c.run == run, CASES.c.case == name).values(row))
            else:
                connection.execute(insert(CASES).values(row))
        return event

    def case(self, run: str, sample_id: str) -> Case:
        """What a case is now; open where nobody did anything to it."""
        with self._transaction() as connection:
            return _case(connection, run, self._known(connection, "sample", sample_id))

    def history(self, run: str, sample_id: str) -> list[Event]:
        """Everything that was done to a case, oldest first."""
        with self._transaction() as connection:
            return list(_history(connection, run, self._known(connection, "sample", sample_id)))

    def reviewed(self, run: str) -> pl.DataFrame:
        """One row a case of the run that somebody acted on: sample_id (null if it was erased), state, owner's name, decision, version,
        changed (UTC), case (pseudonym).
        """
        owner, sample = KEYS.alias("owner_key"), KEYS.alias("sample_key")
        joined = CASES.outerjoin(owner, CASES.c.owner == owner.c.pseudonym).outerjoin(sample, CASES.c.case == sample.c.pseudonym)
        columns = (sample.c.words, CASES.c.state, owner.c.words, CASES.c.decision, CASES.c.version, CASES.c.changed, CASES.c.case)
        with self._transaction() as connection:
            rows = connection.execute(
                select(*columns).select_from(joined).where(CASES.c.run == run, CASES.c.case != "").order_by(CASES.c.case)
            ).all()
        moment = pl.col("changed").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
        return pl.DataFrame([tuple(row) for row in rows], schema=REVIEWED, orient="row").with_columns(moment)

    def words(self, pseudonyms: list[str]) -> dict[str, str]:
        """What pseudonyms stand for; without those that were erased."""
        with self._transaction() as connection:
            rows = connection.execute(select(KEYS.c.pseudonym, KEYS.c.words).where(KEYS.c.pseudonym.in_(pseudonyms))).all()
        return {row.pseudonym: row.words for row in rows}

    def events(self, run: str | None = None) -> Iterator[Event]:
        """All events, or those of a run, oldest first, as they were written; nothing is checked."""
        wanted = LINES if run is None else LINES.where(EVENTS.c.run == run)
        with self._transaction() as connection, connection.execute(wanted) as lines:
            yield from (Event.from_line(row.line) for row in lines)

    def verify(self, anchor: str | None = None) -> tuple[int, str]:
        """Check every event, the chain, and that cases are what the events make them; how many events, and the hash of the last.

        anchor: the hash of an event that was noted elsewhere, which must be in the chain: so a chain made anew is found too. Raises
        JournalError naming the first event that is not right.
        """
        previous, count, cases, anchored = ROOT, 0, dict[tuple[str, str], tuple[Case, str]](), anchor in (None, ROOT)
        with self._transaction() as connection:  # one moment of the journal, whoever writes meanwhile
            head = connection.execute(select(HEAD)).one()
            rows = connection.execute(select(CASES)).mappings().all()
            with connection.execute(LINES) as lines:
                for row in lines:
                    number = row.number
                    event, count = checked(row.line, previous, count, f"journal {self.name}: event {number}", number), count + 1
                    if (row.run, row.case, row.time) != (event.run, event.case, event.time):
                        raise JournalError(
                            f"journal {self.name}: event {number} is kept under another run, case or time than its own; restore it"
                        )
                    before, changed = cases.get((event.run, event.case), NEVER)
                    if event.before != before:
                        raise JournalError(f"journal {self.name}: event {number} changes a case that was not so before it; restore it")
                    cases[event.run, event.case] = (event.after, changed if event.after == before else event.time)
                    previous, anchored = event.sha256, anchored or event.sha256 == anchor
        if (head.number, head.sha256) != (count, previous):
            raise JournalError(f"journal {self.name}: ends with event {count}, but {head.number} were written; restore it")
        now = {(row["run"], row["case"]): (_as_case(row), row["changed"]) for row in rows}
        if wrong := sorted(key for key in cases.keys() | now.keys() if cases.get(key, NEVER) != now.get(key, NEVER)):
            raise JournalError(f"journal {self.name}: case {wrong[0][1]} is not what its events made it ({len(wrong)} in all); restore it")
        if not anchored:
            raise JournalError(
                f"journal {self.name}: has no event with hash {str(anchor)[:12]}…, which it had; it was made anew: restore it"
            )
        return count, previous

    def erase(self, reviewer: Reviewer, sample_id: str) -> int:
        """Forget which sample a pseudonym stands for, and the notes about it; how many keys were forgotten. The chain stays as it is.

        Raises ReviewError without the role compliance.
        """
        _may_erase(reviewer)
        with self._transaction(write=True) as connection:
            return _forgotten(connection, self._known(connection, "sample", sample_id))

    def expired(self) -> list[str]:
        """Samples whose last event, in all runs, is longer ago than the policy's retention; without those that were erased."""
        with self._transaction() as connection:
            return sorted(self._expired(connection).values())

    def erase_expired(self, reviewer: Reviewer) -> dict[str, int]:
        """Erase them: sample → how many keys were forgotten. Raises as `erase`."""
        _may_erase(reviewer)
        with self._transaction(write=True) as connection:  # nobody acts on one of them meanwhile
            return {words: _forgotten(connection, name) for name, words in sorted(self._expired(connection).items())}

    def _expired(self, connection: Connection) -> dict[str, str]:
        """Pseudonym → sample."""
        end = pl.Series([self._now()]).dt.offset_by(f"-{self.policy.retention_months}mo")[0].strftime(MOMENT)
        old = select(EVENTS.c.case).group_by(EVENTS.c.case).having(func.max(EVENTS.c.time) < end)
        rows = connection.execute(select(KEYS.c.pseudonym, KEYS.c.words).where(KEYS.c.pseudonym.in_(old)))
        return {row.pseudonym: row.words for row in rows}

    def _pseudonym(self, connection: Connection, kind: str, words: str) -> str:
        """The pseudonym of a reviewer or sample, made where there is none yet; a new one for every note."""
        if kind != "note" and (known := self._known(connection, kind, words)):
            return known
        salt = secrets.token_hex(16)
        name = digest(f"{salt}\n{kind}\n{words}")[:32]
        lookup = salt + name if kind == "note" else digest(f"{kind}\n{words}")
        connection.execute(insert(KEYS).values(pseudonym=name, kind=kind, lookup=lookup, salt=salt, words=words))
        return name

    def _known(self, connection: Connection, kind: str, words: str) -> str:
        """ "" where there is none."""
        return connection.scalar(select(KEYS.c.pseudonym).where(KEYS.c.lookup == digest(f"{kind}\n{words}"))) or ""

    def _prepared(self, create: bool) -> int | None:
        """The format of the tables, made where they are not; None where there are none and none are to be made."""
        for left in reversed(range(TRIES)):
            try:
                with self._transaction(write=create) as connection:
                    if not create and not inspect(connection).has_table(HEAD.name):
                        return None
                    TABLES.create_all(connection)
                    found = connection.scalar(select(HEAD.c.format))
                    if found is None:
                        connection.execute(insert(HEAD).values(format=FORMAT, number=0, sha256=ROOT))
                    return FORMAT if found is None else int(found)
            except JournalError:
                if not left:
                    raise
        return None

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[Connection]:
        """Raises JournalError where the database does not do what it should; nothing of the transaction is kept then."""
        try:
            with (writing(self._engine) if write else self._engine).begin() as connection:
                yield connection
        except DBAPIError as problem:
            said = str(problem.orig).strip().partition("\n")[0]
            raise JournalError(f"journal {self.name}: {said}; check that it is there and may be written, then try again") from problem


def _may_erase(reviewer: Reviewer) -> None:
    if "compliance" not in reviewer.roles:
        raise ReviewError(f"erase: {reviewer.name} is {', '.join(reviewer.roles) or 'without a role'}; it takes compliance")


def _forgotten(connection: Connection, name: str) -> int:
    """Deletes the key of a sample's pseudonym, and of the notes about it; how many."""
    lines = connection.scalars(select(EVENTS.c.line).where(EVENTS.c.case == name)).all() if name else []
    names = {name, *(Event.from_line(line).note for line in lines)} - {""}
    connection.execute(delete(KEYS).where(KEYS.c.pseudonym.in_(names)))
    return len(names)


def _case(connection: Connection, run: str, name: str) -> Case:
    row = connection.execute(select(CASES).where(CASES.c.run == run, CASES.c.case == name)).mappings().one_or_none()
    return Case() if row is None else _as_case(row)


def _as_case(row: RowMapping) -> Case:
    return Case(**{key: row[key] for key in ("state", "owner", "decision", "version")})


def _history(connection: Connection, run: str, name: str) -> Iterator[Event]:
    asked = select(EVENTS.c.line).where(EVENTS.c.run == run, EVENTS.c.case == name).order_by(EVENTS.c.number)
    yield from map(Event.from_line, connection.scalars(asked))


def _before_decision(connection: Connection, run: str, name: str) -> Case | None:
    """What the case was before it was decided last."""
    decided = [event for event in _history(connection, run, name) if event.after.state == "decided" != event.before.state]
    return decided[-1].before if decided else None
