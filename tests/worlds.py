"""Five tiny worlds, literal and whole: each function gives (Prepared, Task). They are as unlike as the uses of trmfin are.

monthly_panel   4 clients, 5 monthly statements each; every statement asks for a score at the month's end
card_and_shop   20 card payments with two histories (card, shop); a fraud becomes known 3 days later; a payment is its own trigger
order_book      20 book events in two sessions, several of one instant; four horizons
document_chain  20 documents of 4 cases, linked many to many; which document holds a wrong cell, and what each one settles
grid            a 4×4 grid with givens, once solved and once not; an answer per cell
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from trmfin.data.prepared import Prepared
from trmfin.sequences.task import Field, History, Target, Task

TIME = pl.Datetime("us", "UTC")
START = datetime(2024, 1, 1, tzinfo=UTC)


def at(day: float, second: float = 0) -> datetime:
    """A time so many days and seconds after the start of 2024."""
    return START + timedelta(days=day, seconds=second)


def month(number: int) -> datetime:
    """First of a month of 2024, from 1; 13 is January 2025."""
    return datetime(2024 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)


def table(rows: list[dict[str, Any]], **types: Any) -> pl.DataFrame:
    """Rows as a frame; times are UTC, and `types` names what a literal does not tell (columns that may be all null)."""
    frame = pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)
    return frame.with_columns(pl.col(name).cast(TIME) for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime))


def prepared(events: pl.DataFrame, samples: pl.DataFrame, links: pl.DataFrame | None = None) -> Prepared:
    """The two tables, checked as any prepared data are."""
    return Prepared(events=events, samples=samples, links=links)


def monthly_panel() -> tuple[Prepared, Task]:
    """Client c's statement of month m: status rises with c; the last month of client 4 has no label yet."""
    events, samples = [], []
    for client in range(1, 5):
        for m in range(1, 6):
            billed = 100_000 * client + 1_000 * m
            row = {"client_id": f"c{client}", "limit": 1_000_000 * client}
            paid = billed // client if m > 1 else 0
            event = {"event_id": f"c{client}@{m}", "event_time": month(m), "known_at": month(m + 1) - timedelta(days=1)}
            events.append({**event, "event_type": "statement", **row, "status": client - 2, "billed": billed, "paid": paid})
            labelled = (client, m) != (4, 5)
            sample = {"sample_id": f"c{client}@{m}", "as_of": month(m + 1), **row}
            sample |= {"education": "school" if client < 3 else None, "sex": "f"}
            sample |= {"target_default": float(client == 4), "target_default_known_at": month(m + 2)} if labelled else {}
            samples.append(sample)
    task = Task(
        name="monthly_panel",
        histories=(History(name="statements", keys=("client_id",), length=3),),
        fields=(
            Field(name="status", column="status", transform="category"),
            Field(name="billed", column="billed", transform="signed_log"),
            Field(name="utilisation", column="billed", transform="ratio", against="sample.limit"),
            Field(name="paid_share", column="paid", transform="ratio", against="previous.billed"),
            Field(name="age", column="event_time", transform="gap_seconds", against="as_of"),
            Field(name="limit", column="limit", transform="number", of="sample"),
            Field(name="education", column="education", transform="category", of="sample"),
        ),
        targets=(Target(name="default", head="binary", meaning="probability that the client does not pay next month"),),
        primary="default",
        group="client_id",
        money=("billed", "paid", "limit"),
        protected=("sex",),
    )
    return prepared(table(events), table(samples)), task


def card_and_shop() -> tuple[Prepared, Task]:
    """Payment i, one every 12 hours, of card i % 3 at shop i % 2 (the last two name no shop). Every fifth is a fraud."""
    events, samples = [], []
    for i in range(20):
        when = at(i / 2)
        row = {"card_id": f"card{i % 3}", "shop_id": f"shop{i % 2}" if i < 18 else None}
        row |= {"amount": 1_000 + 250 * i, "country": "at" if i % 4 else "de"}
        late = {"fraud": "fraud" if i % 5 == 0 else "genuine", "fraud_known_at": when + timedelta(days=3)}
        events.append({"event_id": f"p{i:02}", "event_time": when, "known_at": when, "event_type": "payment", **row, **late})
        target = {"target_fraud": i % 5 == 0, "target_fraud_known_at": when + timedelta(days=3)}
        samples.append({"sample_id": f"p{i:02}", "as_of": when, "trigger": f"p{i:02}", "paid_at": when, **row, **target})
    task = Task(
        name="card_and_shop",
        histories=(History(name="card", keys=("card_id",), length=4), History(name="shop", keys=("shop_id",), length=3)),
        fields=(
            Field(name="amount", column="amount", transform="signed_log"),
            Field(name="amount_ratio", column="amount", transform="ratio", against="sample.amount"),
            Field(name="amount_step", column="amount", transform="difference", against="previous.amount"),
            Field(name="pause", column="event_time", transform="gap_seconds", against="previous"),
            Field(name="fraud", column="fraud", transform="category"),
            Field(name="same_country", column="country", transform="same", against="sample.country"),
            Field(name="own_amount", column="amount", transform="signed_log", of="sample"),
            Field(name="hour", column="paid_at", transform="hour_of_day", of="sample"),
        ),
        targets=(Target(name="fraud", head="binary", meaning="probability that the payment is a fraud"),),
        primary="fraud",
        group="card_id",
        money=("amount",),
    )
    return prepared(table(events), table(samples)), task


def order_book() -> tuple[Prepared, Task]:
    """Two sessions of ten events, two at each second; a sample after each event; the mid price rises, then falls."""
    events, samples = [], []
    names = ("k10", "k20", "k50", "k100")
    for i in range(20):
        session, place = f"s{i // 10}", i % 10
        when = at(i // 10, place // 2)
        row = {"symbol": "x", "session": session, "mid": 10_000 + (i if i < 10 else 20 - i), "bid_size": float(i), "ask_size": 5.0}
        event = {"event_id": f"b{i:02}", "event_time": when, "known_at": when, "sequence": i, "event_type": ("add", "cancel")[i % 2]}
        events.append({**event, **row})
        as_of = when + timedelta(microseconds=1)
        sample = {"sample_id": f"b{i:02}", "as_of": as_of, "day": f"d{i // 10}", "symbol": "x", "session": session, "mid": row["mid"]}
        for horizon, name in enumerate(names, 1):
            known = place + horizon < 10
            sample[f"target_{name}"] = ("up" if i < 10 else "down") if known else None
            sample[f"target_{name}_known_at"] = as_of + timedelta(seconds=horizon) if known else None
        samples.append(sample)
    task = Task(
        name="order_book",
        histories=(History(name="book", keys=("symbol", "session"), length=6),),
        fields=(
            Field(name="type", column="event_type", transform="category"),
            Field(name="move", column="mid", transform="difference", against="sample.mid"),
            Field(name="bid_size", column="bid_size", transform="signed_log"),
            Field(name="size_step", column="bid_size", transform="difference", against="previous.bid_size"),
            Field(name="same_mid", column="mid", transform="same", against="previous.mid"),
        ),
        targets=tuple(Target(name=n, head="classes", classes=("down", "flat", "up"), meaning=f"move over {n[1:]} events") for n in names),
        primary="k10",
        group="day",
        money=("mid",),
    )
    return prepared(table(events), table(samples)), task


def document_chain() -> tuple[Prepared, Task]:
    """Case c has an order, two invoices, a receipt and a payment; the payment of case 0 also settles an invoice of case 1.

    Invoice i1 of case 2 states 7 more than it should. Case 3 is not labelled.
    """
    kinds = ("order", "invoice", "invoice", "receipt", "payment")
    names = ("order", "i0", "i1", "receipt", "pay")
    amounts = (3_000, 1_000, 2_000, 3_000, 3_000)
    events, samples, links = [], [], []
    for case in range(4):
        for place, (kind, name, amount) in enumerate(zip(kinds, names, amounts, strict=True)):
            wrong = 7 if (case, name) == (2, "i1") else 0
            event = {"event_id": f"{case}.{name}", "event_time": at(place), "known_at": at(place), "event_type": kind}
            events.append({**event, "case_id": f"case{case}", "amount": amount + wrong})
        for source, kind in (("order", "bills"), ("pay", "settles")):
            for target in ("i0", "i1"):
                link = {"from_event": f"{case}.{source}", "to_event": f"{case}.{target}", "kind": kind}
                links.append({**link, "amount": 1_000, "known_at": at(5)})
        wrong_cells = ["wrong" if (case, name) == (2, "i1") else "right" for name in names]
        settles: list[str | None] = [None, None, None, "", f"{case}.i0"]  # a receipt settles nothing, a payment the first invoice
        if case in (0, 1):
            wrong_cells, settles = [*wrong_cells, "right"], [*settles, None]  # the document that joins through the link comes last
        sample = {"sample_id": f"case{case}", "as_of": at(10), "case_id": f"case{case}"}
        label = {"target_cell": wrong_cells, "target_settles": settles} if case < 3 else {"target_cell": None, "target_settles": None}
        known = at(10) if case < 3 else None
        samples.append({**sample, **label, "target_cell_known_at": known, "target_settles_known_at": known})
    links.append({"from_event": "0.pay", "to_event": "1.i1", "kind": "also_settles", "amount": 500, "known_at": at(6)})
    task = Task(
        name="document_chain",
        histories=(History(name="documents", keys=("case_id",), length=7, links=("also_settles",)),),
        fields=(
            Field(name="type", column="event_type", transform="category"),
            Field(name="amount", column="amount", transform="number"),
        ),
        targets=(
            Target(name="cell", head="tokens", classes=("right", "wrong"), meaning="whether the document's amount is wrong"),
            Target(name="settles", head="choice", meaning="the document that this one settles"),
        ),
        primary="cell",
        group="case_id",
        money=("amount",),
        timeless=True,
        halt="exact",
        relations=("bills", "settles", "also_settles"),
    )
    return prepared(table(events), table(samples), table(links)), task


SOLVED_GRID = "1234341221434321"
GIVEN_CELLS = (0, 2, 5, 7, 8, 10, 13, 15)


def grid() -> tuple[Prepared, Task]:
    """Grid g0 with its solution and g1, the same without. Row, column and box are codes; a cell that is not given is absent."""
    events, samples = [], []
    for g in range(2):
        for cell, digit in enumerate(SOLVED_GRID):
            place = {"row": str(cell // 4), "column": str(cell % 4), "box": str(cell // 8 * 2 + cell % 4 // 2)}
            event = {"event_id": f"g{g}.{cell:02}", "event_time": at(0), "known_at": at(0), "sequence": cell, "event_type": "cell"}
            events.append({**event, "grid_id": f"g{g}", **place, "given": digit if cell in GIVEN_CELLS else None})
        solution = {"target_digit": list(SOLVED_GRID) if g == 0 else None, "target_digit_known_at": at(1) if g == 0 else None}
        samples.append({"sample_id": f"g{g}", "as_of": at(1), "grid_id": f"g{g}", **solution})
    task = Task(
        name="grid",
        histories=(History(name="cells", keys=("grid_id",), length=16),),
        fields=tuple(Field(name=name, column=name, transform="category") for name in ("given", "row", "column", "box")),
        targets=(Target(name="digit", head="tokens", classes=("1", "2", "3", "4"), meaning="the digit of a cell"),),
        primary="digit",
        group="grid_id",
        timeless=True,
        halt="exact",
    )
    return prepared(table(events), table(samples)), task


WORLDS = (monthly_panel, card_and_shop, order_book, document_chain, grid)
