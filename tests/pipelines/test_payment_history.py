"""Card statements, wide and long: what becomes an event and a sample, what is refused, what the challengers see."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trmfin import DataError, Prepared
from trmfin.data.files import raw_from_frame, read_raw
from trmfin.data.prepared import apply, read_raws
from trmfin.data.schema import sift
from trmfin.shipped import load_pipeline

USE = load_pipeline("payment_history")
NOW = datetime(2025, 1, 15, tzinfo=UTC)

CLIENT = {"ID": "7", "LIMIT_BAL": "20000", "SEX": "2", "EDUCATION": "1", "MARRIAGE": "3", "AGE": "24"}
CLIENT |= {
    name: str(status) for name, status in zip(("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"), (2, 1, 0, -1, -2, -2), strict=True)
}
CLIENT |= {f"BILL_AMT{i}": text for i, text in enumerate(("3913", "3102.5", "-20", "0", "0", "400"), 1)}
CLIENT |= {f"PAY_AMT{i}": text for i, text in enumerate(("0", "689.05", "0", "0", "400", "0"), 1)}
CLIENT |= {"default_next_month": "1"}

MONTH = {"client": "a", "month": "2024-02", "status": "1", "billed": "900.25", "paid": "0", "limit": "1000", "default_next_month": "0"}


def prepared(*rows: dict[str, str]) -> Prepared:
    """What the pipeline makes of rows as a CSV file would hold them, wide or long by their columns."""
    table = "wide" if "ID" in rows[0] else "long"
    return apply(USE, {table: raw_from_frame(pl.DataFrame(list(rows)), "raw.csv")}, NOW)


def history(*months: tuple[str, int, str, str]) -> list[dict[str, str]]:
    """Long rows of client a: month, status, billed, paid."""
    return [{**MONTH, "month": m, "status": str(s), "billed": b, "paid": p} for m, s, b, p in months]


def broken_rules(row: dict[str, str]) -> list[str]:
    table = "wide" if "ID" in row else "long"
    rejects = sift(raw_from_frame(pl.DataFrame([row]), "raw.csv"), USE.schemas[table], table, USE.aliases, NOW).rejects
    return [rule.partition(":")[0] for rule in rejects["rules"].explode(empty_as_null=False)]


def test_a_wide_row_becomes_six_statements_known_before_its_sample() -> None:
    made = prepared(CLIENT)
    events = made.events.sort("event_time")
    assert events["event_id"].to_list() == [f"7@2005-{month:02d}" for month in range(4, 10)]
    assert events["known_at"].to_list() == [
        datetime(2005, month, day, tzinfo=UTC) for month, day in zip(range(4, 10), (30, 31, 30, 31, 31, 30), strict=True)
    ]
    assert events["status"].to_list() == [-2, -2, -1, 0, 1, 2]
    assert events["billed"].to_list() == [40_000, 0, 0, -2_000, 310_250, 391_300]
    assert events["paid"].to_list() == [0, 40_000, 0, 0, 68_905, 0]
    assert events["used"].to_list() == pytest.approx([0.02, 0, 0, -0.001, 0.155125, 0.19565])
    sample = made.samples.row(0, named=True)
    assert sample == {
        **{"sample_id": "7", "client_id": "7", "as_of": datetime(2005, 10, 1, tzinfo=UTC), "limit": 2_000_000, "education": "1"},
        **{"sex": 2, "age": 24, "marriage": 3},
        **{"target_default": 1, "target_default_known_at": datetime(2005, 11, 1, tzinfo=UTC)},
    }


def test_every_long_row_is_a_statement_and_a_sample_that_may_see_it() -> None:
    made = prepared(*history(("2023-12", 0, "800", "80"), ("2024-02", 1, "900.25", "0")))
    assert made.events["event_id"].to_list() == made.samples["sample_id"].to_list() == ["a@2023-12", "a@2024-02"]
    assert made.events["known_at"].to_list() == [datetime(2023, 12, 31, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)]
    assert made.samples["as_of"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)]
    assert made.samples["target_default_known_at"].to_list() == [datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)]
    assert made.events["billed"].to_list() == [80_000, 90_025]
    assert made.samples["education"].to_list() == [None, None]


def test_a_date_stands_for_its_month() -> None:
    rows = pl.DataFrame([{**MONTH, "month": datetime(2024, 2, 20).date()}])
    made = apply(USE, {"long": raw_from_frame(rows, "rows")}, NOW)
    assert (made.events["event_id"][0], made.samples["sample_id"][0]) == ("a@2024-02", "a@2024-02")
    assert made.events["event_time"][0] == datetime(2024, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("row", [CLIENT, MONTH])
@pytest.mark.parametrize("empty", [True, False])
def test_without_a_label_rows_can_still_be_scored(row: dict[str, str], empty: bool) -> None:
    rest = {name: text for name, text in row.items() if name != "default_next_month"}
    made = prepared({**rest, "default_next_month": ""} if empty else rest)
    assert made.samples.select("target_default", "target_default_known_at").row(0) == (None, None)


def test_protected_attributes_may_be_missing_and_are_kept_where_they_are_not() -> None:
    without = {name: text for name, text in CLIENT.items() if name not in ("SEX", "AGE", "MARRIAGE")}
    assert prepared(without).samples.select("sex", "age", "marriage").row(0) == (None, None, None)
    assert set(USE.task.protected) == {"sex", "age", "marriage"} <= set(prepared(CLIENT).samples.columns)


@pytest.mark.parametrize("header", ["default payment next month", "default.payment.next.month", "DEFAULT_NEXT_MONTH"])
def test_older_headers_of_the_label_are_understood(header: str) -> None:
    row = {header if name == "default_next_month" else name: text for name, text in CLIENT.items()}
    assert prepared(row).samples["target_default"].to_list() == [1]


def test_pay_1_stands_for_pay_0_where_that_is_absent() -> None:
    row = {"PAY_1" if name == "PAY_0" else name: text for name, text in CLIENT.items()}
    assert prepared(row).events.sort("event_time")["status"][-1] == 2
    with pytest.raises(DataError, match="both mean 'PAY_0'; keep one of them"):
        prepared({**row, "PAY_0": "2"})


@pytest.mark.parametrize(
    ("column", "text", "rule"),
    [
        ("ID", "", "ID|nullability"),
        ("ID", "x" * 10_000, "ID|max_length"),
        ("LIMIT_BAL", "0", "LIMIT_BAL|min_exclusive"),
        ("LIMIT_BAL", "inf", "LIMIT_BAL|dtype"),
        ("PAY_0", "-3", "PAY_0|min"),
        ("PAY_2", "10", "PAY_2|max"),
        ("PAY_3", "1.5", "PAY_3|dtype"),
        ("PAY_6", "", "PAY_6|nullability"),
        ("BILL_AMT1", "NaN", "BILL_AMT1|dtype"),
        ("BILL_AMT6", "1e30", "BILL_AMT6|dtype"),
        ("BILL_AMT2", "1e-400", "BILL_AMT2|dtype"),
        ("LIMIT_BAL", "0.004", "LIMIT_BAL|min_exclusive"),
        ("AGE", "151", "AGE|max"),
        ("SEX", "3", "SEX|max"),
        ("PAY_AMT1", "-1", "PAY_AMT1|min"),
        ("EDUCATION", "7", "EDUCATION|max"),
        ("EDUCATION", "", "EDUCATION|nullability"),
        ("SEX", "0", "SEX|min"),
        ("default_next_month", "2", "default_next_month|max"),
        ("client", "", "client|nullability"),
        ("client", "=1+1", "client|formula"),
        ("month", "2024-13", "month|dtype"),
        ("month", "Feb 2024", "month|dtype"),
        ("month", "2025-02", "month|future"),
        ("month", "2025-01", "month|future"),
        ("status", "late", "status|dtype"),
        ("limit", "-5", "limit|min_exclusive"),
        ("paid", "-0.01", "paid|min"),
        ("billed", "9999999999999", "billed|max"),
        ("education", "-1", "education|min"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_by_name(column: str, text: str, rule: str) -> None:
    assert broken_rules({**(CLIENT if column in CLIENT else MONTH | {"education": "1"}), column: text}) == [rule]


def test_amounts_beyond_two_decimals_are_rounded_half_even_and_counted() -> None:
    made = prepared({**CLIENT, "BILL_AMT1": "3961.1299999", "BILL_AMT2": "1.005", "PAY_AMT1": "1e-17", "LIMIT_BAL": "2e4"})
    newest, before = made.events.sort("event_time", descending=True).head(2).rows(named=True)
    assert (newest["billed"], newest["paid"], before["billed"], made.samples["limit"][0]) == (396_113, 0, 100, 2_000_000)
    assert made.manifest["rounded"] == {"wide": {"BILL_AMT1": 1, "BILL_AMT2": 1, "PAY_AMT1": 1}}


@pytest.mark.parametrize("month", ["2024-02", "2024-02-17"])
def test_a_client_has_one_statement_a_month(month: str) -> None:
    rows = [MONTH, {**MONTH, "month": month, "billed": "1"}, {**MONTH, "client": "b"}]
    made = prepared(*rows)
    assert made.samples["sample_id"].to_list() == ["b@2024-02"]
    assert [rule.partition(":")[0] for rules in made.rejects["rules"] for rule in rules] == ["primary_key"] * 2


def test_an_id_of_lines_that_differ_is_refused_both_times() -> None:
    made = prepared(CLIENT, {**CLIENT, "ID": "8"}, {**CLIENT, "PAY_0": "0"})
    assert (made.samples["sample_id"].to_list(), made.rejects["line"].to_list()) == (["8"], [1, 3])


@pytest.mark.parametrize(("row", "name"), [(CLIENT, "7"), (MONTH, "a@2024-02")])
def test_a_line_that_two_exports_hold_counts_once(row: dict[str, str], name: str) -> None:
    made, once = prepared(row, row, row), prepared(row)
    assert made.samples.equals(once.samples) and made.events.equals(once.events) and made.samples["sample_id"].to_list() == [name]
    assert made.rejects["line"].to_list() == [2, 3]
    assert all(rules[0].startswith("repeat: found ") and rules[0].endswith("line 1 counts") for rules in made.rejects["rules"])


def features(*rows: dict[str, str]) -> list[dict[str, Any]]:
    return USE.challenger_features(prepared(*rows)).to_dicts()


def test_challengers_see_the_six_statements_in_major_units() -> None:
    (row,) = features(CLIENT)
    assert (row["sample_id"], row["limit"], row["education"]) == ("7", 20_000, 1)
    assert [row[f"status_{lag}"] for lag in range(1, 7)] == [2, 1, 0, -1, -2, -2]
    assert [row[f"billed_{lag}"] for lag in range(1, 7)] == [3913, 3102.5, -20, 0, 0, 400]
    assert row["paid_of_bill_1"] == 0 and row["paid_of_bill_2"] is None and row["paid_of_bill_5"] == 1
    assert (row["months_late_1_or_more"], row["months_late_2_or_more"], row["worst_status"], row["months_unpaid"]) == (2, 1, 2, 4)
    assert (row["used_most"], row["used_least"], row["billed_change"]) == (0.19565, -0.001, 3513)
    assert row["paid_share"] == pytest.approx(1089.05 / 7395.5)


def test_challengers_see_only_what_was_known_before_each_sample() -> None:
    months = [(f"2024-{m:02d}", m % 3, str(100 * m), "5") for m in range(1, 9)]
    rows = features(*history(*months))
    assert [row["status_1"] for row in rows] == [1, 2, 0, 1, 2, 0, 1, 2]
    assert [row["billed_6"] for row in rows] == [None] * 5 + [100, 200, 300]
    assert rows[0]["months_late_1_or_more"] == 1 and rows[0]["billed_change_1"] is None
    assert rows[:5] == features(*history(*months[:5]))


def test_challengers_of_mixed_clients_do_not_mix_them_and_keep_the_order() -> None:
    rows = [{**row, "client": client} for client in ("b", "a") for row in history(("2024-03", 3, "300", "0"), ("2024-02", 1, "100", "0"))]
    made = features(*rows)
    assert [row["sample_id"] for row in made] == ["b@2024-03", "b@2024-02", "a@2024-03", "a@2024-02"]
    assert [(row["status_1"], row["status_2"]) for row in made] == [(3, 1), (1, None)] * 2


def test_the_real_file_is_accepted_whole(real_data: Path) -> None:
    made = apply(USE, read_raws(USE, real_data / "credit_default_taiwan" / "default_of_credit_card_clients.csv"), NOW)
    assert (made.samples.height, made.events.height, made.rejects.height) == (24_000, 144_000, 0)
    assert made.samples["target_default"].mean() == pytest.approx(0.2212, abs=5e-5)
    raw = read_raw(real_data / "credit_default_taiwan" / "default_of_credit_card_clients.csv").frame
    assert made.events["billed"].sum() == 100 * sum(raw[f"BILL_AMT{i}"].cast(pl.Int64).sum() for i in range(1, 7))
    table = USE.challenger_features(made)
    assert table["sample_id"].equals(raw["ID"].alias("sample_id"))
    assert table["status_6"].equals(raw["PAY_6"].cast(pl.Int64).alias("status_6"))
