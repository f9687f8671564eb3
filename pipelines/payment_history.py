"""Card statements of the last six months → probability of default next month.

Reads (a) the wide file "default of credit card clients" (UCI 350, Yeh & Lien 2009, doi:10.1016/j.eswa.2007.12.020) as it
comes, one line a client, September to April 2005, and (b) a long table, one line a client and month. Amounts are in
currency units; more than two decimals are rounded half-even to two, and counted. Status: -2 no use, -1 paid in full, 0
revolving, n months late. Of identical lines the first counts and the others are rejected as repeats; lines of the same client
(and month) that differ are all rejected, since nothing says which is right.
"""

from __future__ import annotations

from datetime import datetime

import dataframely as dy
import polars as pl

from trmfin import Change, Field, History, Player, Prepared, Protocol, Reason, Target, Task

LENGTH = 6  # the wide file has no more; one length for both tables keeps one task and one bundle
WIDE_MONTHS = [datetime(2005, month, 1) for month in (9, 8, 7, 6, 5, 4)]  # newest first, as BILL_AMT1..6
WIDE_STATUS = ["PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
OPTIONAL = {"optional": True}


def _status() -> dy.Int64:
    return dy.Int64(min=-2, max=9)


def _amount(least: int = -(10**12), above: int | None = None) -> dy.Decimal:
    return dy.Decimal(precision=18, scale=2, min=None if above is not None else least, min_exclusive=above, max=10**12)


def _code(highest: int, lowest: int = 0, optional: bool = True) -> dy.Int64:
    return dy.Int64(min=lowest, max=highest, nullable=optional, metadata=OPTIONAL if optional else None)


class Wide(dy.Schema):
    """One line a client; the label is not needed to score, the protected attributes only for fairness tables."""

    ID = dy.String(primary_key=True, min_length=1, max_length=64)
    LIMIT_BAL = _amount(above=0)
    SEX = _code(2, lowest=1)
    EDUCATION = _code(6, optional=False)
    MARRIAGE = _code(3)
    AGE = _code(150)
    PAY_0, PAY_2, PAY_3, PAY_4, PAY_5, PAY_6 = (_status() for _ in range(LENGTH))
    BILL_AMT1, BILL_AMT2, BILL_AMT3, BILL_AMT4, BILL_AMT5, BILL_AMT6 = (_amount() for _ in range(LENGTH))
    PAY_AMT1, PAY_AMT2, PAY_AMT3, PAY_AMT4, PAY_AMT5, PAY_AMT6 = (_amount(least=0) for _ in range(LENGTH))
    default_next_month = _code(1)


class Long(dy.Schema):
    """One line a client and month; each line is also a sample, scored with the statements up to it."""

    client = dy.String(primary_key=True, min_length=1, max_length=64)
    month = dy.Date(primary_key=True, metadata={"period": "month"})
    status = _status()
    billed = _amount()
    paid = _amount(least=0)
    limit = _amount(above=0)
    education = _code(6)
    default_next_month = _code(1)


SCHEMAS: dict[str, type[dy.Schema]] = {"wide": Wide, "long": Long}
ALIASES = {"default payment next month": "default_next_month", "default.payment.next.month": "default_next_month", "PAY_1": "PAY_0"}

TASK = Task(
    name="payment_history",
    histories=(History(name="statements", keys=("client_id",), length=LENGTH),),
    fields=(
        Field(name="status", column="status", transform="category"),
        Field(name="months_late", column="status", transform="number"),
        Field(name="used", column="billed", transform="ratio", against="sample.limit"),
        Field(name="used_change", column="used", transform="difference", against="previous.used"),
        Field(name="paid", column="paid", transform="signed_log"),
        Field(name="paid_of_bill", column="paid", transform="ratio", against="previous.billed"),
        Field(name="paid_of_limit", column="paid", transform="ratio", against="sample.limit"),
        Field(name="billed", column="billed", transform="signed_log"),
        Field(name="billed_change", column="billed", transform="difference", against="previous.billed"),
        Field(name="age_of_statement", column="event_time", transform="gap_seconds", against="as_of"),
        Field(name="limit", column="limit", transform="signed_log", of="sample"),
        Field(name="education", column="education", transform="category", of="sample"),
    ),
    targets=(Target(name="default", head="binary", meaning="probability that the client defaults next month; higher = riskier"),),
    primary="default",
    group="client_id",
    money=("billed", "paid", "limit"),
    players=(
        Player(name="lateness", fields=("status", "months_late")),
        Player(name="utilisation", fields=("used", "used_change")),
        Player(name="payments", fields=("paid", "paid_of_bill", "paid_of_limit")),
        Player(name="billing", fields=("billed", "billed_change")),
        Player(name="history", fields=("age_of_statement",), lengths=("statements",)),
        Player(name="limit", fields=("limit",)),
        Player(name="education", fields=("education",)),
    ),
    reasons=(
        Reason(
            code="P1",
            player="lateness",
            text="Months late with payments (0 or less: none): {status.most} at worst, {status.newest} in {status.when}",
        ),
        Reason(code="P2", player="utilisation", text="Share of the credit limit in use: {used.most} at most, {used.newest} in {used.when}"),
        Reason(code="P3", player="payments", text="Amounts paid: {paid.newest} in {paid.when}, {paid.total} in all months"),
        Reason(code="P4", player="billing", text="Size of the statements: {billed.newest} in {billed.when}, {billed.most} at most"),
        Reason(code="P5", player="history", text="How many statements are on file, and how old they are"),
        Reason(code="P6", player="limit", text="Amount of the credit limit: {limit}"),
        Reason(code="P7", player="education", text="Level of education stated in the application"),
    ),
    changes=(Change(column="paid", direction="up"), Change(column="status", direction="down", least=0)),
    protected=("sex", "age", "marriage"),
)
PROTOCOL = Protocol(kind="stratified", folds=5, seed=42)


def prepare(tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accepted rows of one table, wide or long → events (one a statement) and samples."""
    return _from_wide(tables["wide"]) if "wide" in tables else _from_long(tables["long"])


def _from_wide(wide: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    months = [
        wide.select(
            client_id="ID", month=pl.lit(month), status=status, billed=f"BILL_AMT{i}", paid=f"PAY_AMT{i}", limit="LIMIT_BAL"
        )  # fmt: skip
        for i, (month, status) in enumerate(zip(WIDE_MONTHS, WIDE_STATUS, strict=True), start=1)
    ]
    as_of = pl.lit(WIDE_MONTHS[0]).dt.offset_by("1mo")
    own = {"limit": "LIMIT_BAL", "education": "EDUCATION", **{name: name.upper() for name in TASK.protected}}
    samples = wide.select(sample_id="ID", client_id="ID", as_of=as_of, **own, target_default="default_next_month")
    return _events(pl.concat(months)), _samples(samples)


def _from_long(long: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    month = pl.col("month").dt.truncate("1mo").cast(pl.Datetime("us"))
    rows = long.with_columns(month=month, client_id="client", sample_id=pl.format("{}@{}", "client", month.dt.strftime("%Y-%m")))
    as_of = pl.col("month").dt.offset_by("1mo")
    samples = rows.select("sample_id", "client_id", "limit", "education", as_of=as_of, target_default="default_next_month")
    return _events(rows), _samples(samples)


def _events(statements: pl.DataFrame) -> pl.DataFrame:
    """client_id, month (its first day), status, billed, paid, limit → events, known on the last day of their month."""
    return statements.select(
        pl.format("{}@{}", "client_id", pl.col("month").dt.strftime("%Y-%m")).alias("event_id"),
        _utc(pl.col("month")).alias("event_time"),
        _utc(pl.col("month").dt.month_end()).alias("known_at"),
        pl.lit("statement").alias("event_type"),
        "client_id",
        "status",
        *(_minor(name) for name in ("billed", "paid", "limit")),
        (pl.col("billed").cast(pl.Float64) / pl.col("limit").cast(pl.Float64)).alias("used"),
    )


def _samples(rows: pl.DataFrame) -> pl.DataFrame:
    """Times in UTC, money in minor units, codes as text; a label is known one month after as_of."""
    known = pl.when(pl.col("target_default").is_not_null()).then(_utc(pl.col("as_of").dt.offset_by("1mo")))
    return rows.with_columns(
        _utc(pl.col("as_of")), _minor("limit"), pl.col("education").cast(pl.String), known.alias("target_default_known_at")
    )


def _utc(time: pl.Expr) -> pl.Expr:
    return time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _minor(name: str) -> pl.Expr:
    return (pl.col(name) * 100).cast(pl.Int64).alias(name)


def challenger_features(prepared: Prepared) -> pl.DataFrame:
    """What the challengers see of the same statements: a row a sample, newest statement 1, major units, no protected attribute."""
    lags, gaps = range(1, LENGTH + 1), range(1, LENGTH)
    events = prepared.events.sort("client_id", "known_at", "event_id").with_row_index("row")
    events = events.with_columns(pl.col("row").min().over("client_id").alias("first"), pl.col("billed", "paid") / 100)
    at = _last_known(prepared.samples, events)
    columns: dict[str, pl.Series] = {"sample_id": at["sample_id"], "limit": at["limit"] / 100, "education": at["education"].cast(pl.Int64)}
    for name in ("status", "billed", "paid"):
        for lag in lags:
            row = at.select(pl.when(pl.col("row") + 1 >= pl.col("first") + lag).then(pl.col("row") + 1 - lag)).to_series()
            columns[f"{name}_{lag}"] = events[name].gather(row)
    status, billed, paid, used = ([pl.col(f"{name}_{lag}") for lag in lags] for name in ("status", "billed", "paid", "used"))
    share = {f"used_{lag}": pl.col(f"billed_{lag}") / pl.col("limit") for lag in lags}
    before = {gap: pl.col(f"billed_{gap + 1}") for gap in gaps}
    late = {f"months_late_{least}_or_more": pl.sum_horizontal(each >= least for each in status) for least in (1, 2)}
    return pl.DataFrame(columns).with_columns(**share).with_columns(
        **{f"paid_of_bill_{gap}": pl.when(before[gap] > 0).then(pl.col(f"paid_{gap}") / before[gap]) for gap in gaps},
        **{f"billed_change_{gap}": pl.col(f"billed_{gap}") - before[gap] for gap in gaps},
        **late,
        worst_status=pl.max_horizontal(status),
        used_mean=pl.mean_horizontal(used),
        used_most=pl.max_horizontal(used),
        used_least=pl.min_horizontal(used),
        billed_total=pl.sum_horizontal(billed),
        billed_change=pl.col("billed_1") - pl.col(f"billed_{LENGTH}"),
        paid_total=pl.sum_horizontal(paid),
        paid_share=pl.sum_horizontal(paid) / pl.max_horizontal(pl.sum_horizontal(billed), 1),
        paid_most=pl.max_horizontal(paid),
        paid_least=pl.min_horizontal(paid),
        months_unpaid=pl.sum_horizontal(each == 0 for each in paid),
    )  # fmt: skip


def _last_known(samples: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Samples in their order, with `row` of the last event known strictly before as_of and `first` of the client's events."""
    known = events.select("client_id", "known_at", "row", "first").sort("known_at")
    asked = samples.select("sample_id", "client_id", "as_of", "limit", "education").with_row_index("order").sort("as_of")
    found = asked.join_asof(
        known, left_on="as_of", right_on="known_at", by="client_id", allow_exact_matches=False, check_sortedness=False
    )  # fmt: skip
    return found.sort("order").with_columns(pl.col("row", "first").cast(pl.Int64))
