"""Card transactions → probability that the present one is fraud.

Reads a table of transactions as the Fraud Detection Handbook publishes it (Le Borgne et al. 2022,
https://fraud-detection-handbook.github.io), one line a transaction; columns that it does not know are left alone. Amounts
are in currency units; more than two decimals are rounded half-even to two, and counted. Times are taken as UTC. Whether
a transaction was fraud is told LABEL_DAYS later, and no history shows it before. Of lines with the same TRANSACTION_ID the
first by time counts, of the same time the first in the file; the others are rejected as repeats. Where they differ in the
label alone, the first that has it counts.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

from trmfin import Change, Field, History, Player, Prepared, Protocol, Reason, Target, Task

LABEL_DAYS = 7  # until a transaction is known to be fraud or genuine
DAYS = (1, 7, 30)  # windows of the Handbook's features
VERDICT = {"optional": True, "late": True}


class Transactions(dy.Schema):
    """One line a transaction; the label is not needed to score."""

    TRANSACTION_ID = dy.String(primary_key=True, min_length=1, max_length=64)
    TX_DATETIME = dy.Datetime(time_unit="us", metadata={"first": True})
    CUSTOMER_ID = dy.String(min_length=1, max_length=64)
    TERMINAL_ID = dy.String(min_length=1, max_length=64)
    TX_AMOUNT = dy.Decimal(precision=18, scale=2, min=0, max=10**12)
    TX_FRAUD = dy.Int64(min=0, max=1, nullable=True, metadata=VERDICT)


SCHEMAS: dict[str, type[dy.Schema]] = {"transactions": Transactions}
ALIASES: dict[str, str] = {}

SUMMARIES = tuple(  # of whole windows
    Field(name=f"{history}_{name}_{summary}", column=column, transform=transform, against=against, of=history, summary=summary)
    for history in ("card", "terminal")
    for name, column, transform, against, summaries in (
        ("amount", "amount", "signed_log", "", ("mean", "max")),
        ("amount_of_present", "amount", "ratio", "sample.amount", ("mean", "max")),
        ("age_of_fraud", "fraud_time", "gap_seconds", "as_of", ("count", "min", "max")),
        ("age_of_genuine", "genuine_time", "gap_seconds", "as_of", ("min", "max")),
    )
    for summary in summaries
)

TASK = Task(
    name="transactions",
    histories=(
        History(name="card", keys=("customer_id",), length=24, newest=8),
        History(name="terminal", keys=("terminal_id",), length=36, newest=12),
    ),
    fields=(
        Field(name="amount", column="amount", transform="signed_log"),
        Field(name="amount_of_present", column="amount", transform="ratio", against="sample.amount"),
        Field(name="verdict", column="verdict", transform="category"),
        Field(name="age_of_fraud", column="fraud_time", transform="gap_seconds", against="as_of"),
        Field(name="age", column="event_time", transform="gap_seconds", against="as_of"),
        Field(name="gap", column="event_time", transform="gap_seconds", against="previous"),
        Field(name="same_card", column="customer_id", transform="same", against="sample.customer_id"),
        Field(name="same_terminal", column="terminal_id", transform="same", against="sample.terminal_id"),
        Field(name="present_amount", column="amount", transform="signed_log", of="sample"),
        Field(name="present_hour", column="as_of", transform="hour_of_day", of="sample"),
        Field(name="present_day", column="as_of", transform="day_of_week", of="sample"),
        *SUMMARIES,
    ),
    targets=(Target(name="fraud", head="binary", meaning="probability that the transaction is fraud; higher = riskier"),),
    primary="fraud",
    group="customer_id",
    money=("amount",),
    players=(
        Player(name="amount", fields=("present_amount",)),
        Player(name="time", fields=("present_hour", "present_day")),
        *(
            Player(
                name=f"{name} {what}",
                of=name,
                fields=(*own, *(f.name for f in SUMMARIES if f.of == name and (f.column == "amount") == money)),
            )
            for name in ("card", "terminal")
            for what, own, money in (("amounts", ("amount", "amount_of_present"), True), ("frauds", ("verdict", "age_of_fraud"), False))
        ),
        Player(name="pace", fields=("age", "gap"), lengths=("card", "terminal")),
        Player(name="familiarity", fields=("same_card", "same_terminal")),
    ),
    reasons=(
        Reason(code="T1", player="amount", text="Amount of the transaction: {amount}"),
        Reason(code="T2", player="time", text="Hour and day of the transaction"),
        Reason(code="T3", player="card amounts", text="Amount in relation to earlier ones of the card, of up to {amount.most}"),
        Reason(
            code="T4",
            player="card frauds",
            text="Earlier transactions of the card were confirmed, that of {verdict.when} as {verdict.newest}",
        ),
        Reason(code="T5", player="terminal amounts", text="Amount in relation to earlier ones at the terminal, of up to {amount.most}"),
        Reason(
            code="T6",
            player="terminal frauds",
            text="Earlier ones at the terminal were confirmed, that of {verdict.when} as {verdict.newest}",
        ),
        Reason(code="T7", player="pace", text="How many transactions of the card or at the terminal there were, and how fast they follow"),
        Reason(code="T8", player="familiarity", text="Whether the card was used at this terminal before"),
    ),
    changes=(Change(column="amount", of="sample"),),
)
PROTOCOL = Protocol(  # the Handbook's
    kind="walk_forward",
    folds=1,
    test_start="2018-08-08",
    test_days=7,
    train_days=7,
    delay_days=LABEL_DAYS,
    known_from_days=7,
    daily_alerts=100,
)

RECIPE = {  # edges where frauds begin, because a fixed amount divides them; small batches, few genuine ones: docs/log.md
    "preset": "tiny",
    "model": {"bins": 32, "splits": 16, "members": 4},
    "training": {
        "pretrain_epochs": 0.0,
        "epochs": 3.0,
        "batch_size": 128,
        "validations": 4,
        "negative_share": 0.1,
        "least_negatives": 25_000,
    },
}


def prepare(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accepted transactions → an event and a sample each; the verdict is a late column, known LABEL_DAYS after."""
    rows = tables["transactions"].select(
        pl.col("TRANSACTION_ID").alias("event_id"),
        pl.col("TX_DATETIME").dt.replace_time_zone("UTC").alias("time"),
        pl.col("CUSTOMER_ID").alias("customer_id"),
        pl.col("TERMINAL_ID").alias("terminal_id"),
        (pl.col("TX_AMOUNT") * 100).cast(pl.Int64).alias("amount"),
        pl.col("TX_FRAUD").alias("fraud"),
    )
    told = pl.when(pl.col("fraud").is_not_null()).then(pl.col("time").dt.offset_by(f"{LABEL_DAYS}d"))
    events = rows.select(
        "event_id",
        pl.col("time").alias("event_time"),
        pl.col("time").alias("known_at"),
        pl.lit("transaction").alias("event_type"),
        "customer_id",
        "terminal_id",
        "amount",
        pl.col("fraud").replace_strict({0: "genuine", 1: "fraud"}, return_dtype=pl.String).alias("verdict"),
        told.alias("verdict_known_at"),
        pl.when(pl.col("fraud") == 1).then("time").alias("fraud_time"),
        told.alias("fraud_time_known_at"),
        pl.when(pl.col("fraud") == 0).then("time").alias("genuine_time"),
        told.alias("genuine_time_known_at"),
    )
    samples = rows.select(
        pl.col("event_id").alias("sample_id"),
        pl.col("time").alias("as_of"),
        pl.col("event_id").alias("trigger"),
        "customer_id",
        "terminal_id",
        "amount",
        pl.col("fraud").alias("target_fraud"),
        told.alias("target_fraud_known_at"),
    )
    return events, samples


def challenger_features(prepared: Prepared) -> pl.DataFrame:
    """The Handbook's fifteen features: amount, weekend, night; how often and how much the card paid; the terminal's use and frauds.

    Of a card's and a terminal's other transactions only those strictly before the present one count.
    """
    events = prepared.events.sort("event_time").select(
        "event_id",
        *(each for days in DAYS for each in (*_of_card(days), *_of_terminal(days))),
    )
    samples = prepared.samples.select(
        "sample_id",
        pl.col("trigger").alias("event_id"),
        pl.col("amount") / 100,
        weekend=(pl.col("as_of").dt.weekday() >= 6).cast(pl.Int8),
        night=(pl.col("as_of").dt.hour() <= 6).cast(pl.Int8),
    )
    return samples.join(events, on="event_id", how="left", maintain_order="left").drop("event_id")


ONE = pl.col("amount") * 0 + 1


def _before(value: pl.Expr, key: str, days: int) -> pl.Expr:
    """Sum over the transactions of the same key in so many days before the present one, which is left out."""
    return value.cast(pl.Float64).rolling_sum_by("event_time", f"{days}d", closed="left").over(key).fill_null(0.0)


def _of_card(days: int) -> tuple[pl.Expr, pl.Expr]:
    """How many transactions of the card, the present one included, and their mean amount."""
    count = _before(ONE, "customer_id", days) + 1
    total = _before(pl.col("amount") / 100, "customer_id", days) + pl.col("amount") / 100
    return count.alias(f"card_count_{days}d"), (total / count).alias(f"card_mean_{days}d")


def _of_terminal(days: int) -> tuple[pl.Expr, pl.Expr]:
    """How many transactions at the terminal in so many days whose verdict is known, and the share of frauds among them."""
    known, bad = pl.col("verdict").is_not_null(), (pl.col("verdict") == "fraud").fill_null(False)
    count, frauds = (_before(each, "terminal_id", days + LABEL_DAYS) - _before(each, "terminal_id", LABEL_DAYS) for each in (known, bad))
    share = pl.when(count > 0).then(frauds / count).otherwise(0.0)
    return count.alias(f"terminal_count_{days}d"), share.alias(f"terminal_fraud_share_{days}d")
