"""A pipeline as small as can be: a line a client and month, an event and a sample each. Loaded by its path, like anyone's."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from trmfin import Field, History, Prepared, Protocol, Target, Task

CSV = b"client,month,status,paid\nA,2024-01,0,10.50\nA,2024-02,1,0\nB,2024-01,-2,7\n"


class Statements(dy.Schema):
    client = dy.String(primary_key=True, max_length=20)
    month = dy.Date(primary_key=True, metadata={"period": "month"})
    status = dy.Int64(min=-2, max=9)
    paid = dy.Decimal(scale=2, min=0)
    rate = dy.Float64(nullable=True, metadata={"optional": True})


SCHEMAS: dict[str, type[dy.Schema]] = {"statements": Statements}
ALIASES = {"customer": "client"}
TASK = Task(
    name="tiny",
    histories=(History(name="statements", keys=("client",), length=3),),
    fields=(Field(name="status", column="status", transform="number"),),
    targets=(Target(name="default", head="binary", meaning="higher = riskier"),),
    primary="default",
    group="client",
    money=("paid",),
)
PROTOCOL = Protocol(kind="stratified", folds=2, seed=0)


def prepare(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every accepted row is an event of its month, and a sample as of the month after."""
    rows = tables["statements"].with_columns(pl.col("month").cast(pl.Datetime("us", "UTC")))
    identity = pl.format("{}@{}", "client", pl.col("month").dt.strftime("%Y-%m"))
    events = rows.select(
        identity.alias("event_id"),
        pl.col("month").alias("event_time"),
        pl.col("month").dt.month_end().alias("known_at"),
        pl.lit("statement").alias("event_type"),
        "client",
        "status",
        (pl.col("paid") * 100).cast(pl.Int64),
    )
    return events, rows.select(identity.alias("sample_id"), pl.col("month").dt.offset_by("1mo").alias("as_of"), "client")


def challenger_features(prepared: Prepared) -> pl.DataFrame:
    """Nothing but the id."""
    return prepared.samples.select("sample_id")
