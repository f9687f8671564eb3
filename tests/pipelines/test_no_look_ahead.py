"""Scores of transactions stay bit-identical whatever happens after as_of, and whatever is confirmed before its time."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring.models import bundle_for
from trmfin.data.files import raw_from_frame, read_raw
from trmfin.data.prepared import apply
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import score_rows
from trmfin.sequences.sequences import build
from trmfin.shipped import load_pipeline, shipped_folder

USE = load_pipeline("transactions")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DELAY = timedelta(days=7)
ASKED = 40  # the last so many samples before the cut are scored


@cache
def raw() -> pl.DataFrame:
    """The first of the sample data, in time."""
    file = shipped_folder("sample_data") / "transactions" / "raw" / "transactions.csv"
    return read_raw(file).frame.drop("line").sort(time()).head(3000)


def time() -> pl.Expr:
    return pl.col("TX_DATETIME").str.to_datetime()


@cache
def model() -> Bundle:
    data = apply(USE, {"transactions": raw_from_frame(raw().head(1500), "raw")}, NOW)
    return bundle_for(data, USE.task)


def cut() -> datetime:
    """The time of a row in the second half."""
    return datetime.fromisoformat(raw()["TX_DATETIME"][2200])


def scores(table: pl.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, log-odds at every step and challenger features of the transactions asked about, the last ASKED up to the cut."""
    data = apply(USE, {"transactions": raw_from_frame(table, "raw")}, NOW)
    sequences = build(data, USE.task).aligned(model().fitted)
    ids = raw().filter(time() <= cut()).tail(ASKED)["TRANSACTION_ID"].to_list()
    place = {name: row for row, name in enumerate(sequences.sample_ids.tolist())}
    rows = np.array([place[name] for name in ids])
    features = USE.challenger_features(data).drop("sample_id").cast(pl.Float64).to_numpy()[rows]
    return ids, score_rows(model(), sequences, rows).logits, features


@cache
def untouched() -> tuple[np.ndarray, np.ndarray]:
    _, logits, features = scores(raw())
    return logits, features


CHANGES = st.fixed_dictionaries(
    {
        "shuffle": st.booleans(),
        "deleted": st.sampled_from([0.0, 0.3, 1.0]),  # share of the later rows
        "amounts": st.booleans(),
        "places": st.booleans(),
        "verdicts": st.sampled_from(["as they are", "opposite", "none"]),
        "times": st.booleans(),
        "ids": st.sampled_from([0.0, 0.5]),  # share of the later rows that bear the id of an earlier one
        "repeats": st.sampled_from([0.0, 0.3]),  # share of all rows that the file holds twice
    }
)


@settings(max_examples=20, deadline=None)
@given(change=CHANGES, seed=st.integers(0, 10**6))
def test_nothing_after_as_of_and_no_verdict_before_its_time_moves_a_score_by_a_bit(change: dict[str, Any], seed: int) -> None:
    random, table = np.random.default_rng(seed), raw()
    later, n = table.select(time() > cut()).to_series(), len(table)
    untold = table.select(time() >= cut() - DELAY).to_series()
    if change["amounts"]:
        drawn = pl.Series(random.integers(0, 10**5, n) / 100).cast(pl.String)
        table = table.with_columns(TX_AMOUNT=pl.when(later).then(drawn).otherwise("TX_AMOUNT"))
    if change["places"]:  # among all that there are, so that later rows crowd every window
        moved = {name: table[name].gather(random.permutation(n)) for name in ("CUSTOMER_ID", "TERMINAL_ID")}
        table = table.with_columns(**{name: pl.when(later).then(values).otherwise(name) for name, values in moved.items()})
    if change["times"]:
        on = pl.Series(random.integers(0, 10**6, n)).cast(pl.Duration("us")) * 1_000_000
        table = table.with_columns(
            TX_DATETIME=pl.when(later).then((time() + on).dt.to_string("%Y-%m-%d %H:%M:%S")).otherwise("TX_DATETIME")
        )
    if change["verdicts"] != "as they are":
        other = (1 - pl.col("TX_FRAUD").cast(pl.Int64)).cast(pl.String) if change["verdicts"] == "opposite" else pl.lit("")
        table = table.with_columns(TX_FRAUD=pl.when(untold).then(other).otherwise("TX_FRAUD"))
    earlier = table.filter(~later)["TRANSACTION_ID"]
    taken = later & pl.Series(random.random(n) < change["ids"])
    table = table.with_columns(
        TRANSACTION_ID=pl.when(taken).then(earlier.gather(random.integers(0, len(earlier), n))).otherwise("TRANSACTION_ID")
    )
    table = table.filter(~later | pl.Series(random.random(n) >= change["deleted"]))
    table = pl.concat([table, table.filter(pl.Series(random.random(len(table)) < change["repeats"]))])
    if change["shuffle"]:
        table = table[random.permutation(len(table))]
    _, logits, features = scores(table)
    before = untouched()
    assert logits.tobytes() == before[0].tobytes()
    np.testing.assert_array_equal(features, before[1])


def test_what_was_known_before_does_move_scores() -> None:
    early = time() <= cut() - DELAY - timedelta(days=1)
    for name, other in (("TX_FRAUD", pl.lit("1")), ("TX_AMOUNT", pl.lit("999.99"))):
        _, logits, features = scores(raw().with_columns(pl.when(early).then(other).otherwise(name).alias(name)))
        assert (logits != untouched()[0]).any(1).mean() > 0.9 and (features != untouched()[1]).any()
