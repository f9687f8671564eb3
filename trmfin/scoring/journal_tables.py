"""The journal's tables in SQL, and how a database is opened for it. SQLite or PostgreSQL, by URL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, Text, create_engine, event, make_url

BUSY_SECONDS = 30  # that SQLite waits for another writer
TABLES = MetaData()
EVENTS = Table(
    "trmfin_events",
    TABLES,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, …
    Column("run", String(64), nullable=False, index=True),
    Column("case", String(32), nullable=False, index=True),
    Column("time", String(27), nullable=False),
    Column("line", Text, nullable=False),  # the whole event, its own hash included: keys sorted, no spaces
)
CASES = Table(
    "trmfin_cases",
    TABLES,
    Column("run", String(64), primary_key=True),
    Column("case", String(32), primary_key=True),
    Column("state", String(20), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed", String(27), nullable=False),  # when, as the last event that did it says
)
HEAD = Table(  # one row: where the chain ends; who appends holds its lock
    "trmfin_head",
    TABLES,
    Column("format", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)
KEYS = Table(  # what pseudonyms stand for
    "trmfin_keys",
    TABLES,
    Column("pseudonym", String(32), primary_key=True),
    Column("kind", String(10), nullable=False),  # reviewer, sample or note
    Column("lookup", String(64), nullable=False, unique=True),
    Column("salt", String(32), nullable=False),
    Column("words", Text, nullable=False),
)


def opened(url: str) -> Engine:
    """An engine whose reading transactions see one moment of the database each. Raises what SQLAlchemy raises."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _sqlite_settings)
    event.listen(engine, "begin", _sqlite_begins)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write, one after the other: each sees what the one before it left.

    In SQLite these take the write lock when they begin, in PostgreSQL the lock of `HEAD`'s row.
    """
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "READ COMMITTED"}
    return engine.execution_options(writing=True, **level)


def _sqlite_settings(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begins(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")
