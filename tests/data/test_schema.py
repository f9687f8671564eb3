"""Raw rows against a schema: every row is accepted or rejected with all its reasons."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trmfin.data.files import RawTable, raw_from_frame
from trmfin.data.schema import Sifted, rule_counts, sift
from trmfin.errors import ConfigError, DataError

NOW = datetime(2025, 6, 15, tzinfo=UTC)


class Loan(dy.Schema):
    loan_id = dy.String(primary_key=True, max_length=8)
    month = dy.Date(metadata={"period": "month"})
    due = dy.Date(nullable=True, metadata={"future": True})
    status = dy.Int64(min=-2, max=9)
    paid = dy.Decimal(scale=2, nullable=True, min=0)
    rate = dy.Float64(nullable=True)
    note = dy.String(nullable=True, metadata={"optional": True})

    @dy.rule()
    def late_loans_have_a_rate(cls) -> pl.Expr:
        return (pl.col("status") <= 0) | pl.col("rate").is_not_null()


GOOD = {"loan_id": "a", "month": "2024-01", "due": "2030-01-01", "status": "0", "paid": "1.50", "rate": "0.1"}


def table(*changes: dict[str, str]) -> RawTable:
    return raw_from_frame(pl.DataFrame([GOOD | {"loan_id": f"L{number}"} | change for number, change in enumerate(changes)]), "given")


def reasons(*changes: dict[str, str]) -> list[list[str]]:
    return sift(table(*changes), Loan, "loans", {}, NOW).rejects["rules"].to_list()


def test_an_accepted_row_has_the_schemas_types_and_its_line() -> None:
    accepted = sift(table({}, {"status": "99"}, {"status": "1.0"}), Loan, "loans", {}, NOW).accepted
    assert accepted["line"].to_list() == [1, 3]
    values = ("L2", date(2024, 1, 1), date(2030, 1, 1), 1, Decimal("1.50"), 0.1, None, 3)
    assert accepted.row(1, named=True) == dict(zip([*Loan.column_names(), "line"], values, strict=True))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "abc"}, ["status|dtype: found 'abc', expected an integer"]),
        ({"paid": "1,50"}, ["paid|dtype: found '1,50', expected a number like 1234.50, within ±1e36"]),
        ({"paid": "-0.006"}, ["paid|min: found '-0.006', rounded to -0.01, expected at least 0"]),
        ({"month": "31.01.2024"}, ["month|dtype: found '31.01.2024', expected a date like 2024-01-31"]),
        ({"status": ""}, ["status|nullability"]),
        ({"status": "NaN"}, ["status|dtype: found 'NaN', expected an integer"]),
        ({"rate": "nan"}, ["rate|nan: found 'nan'"]),
        ({"rate": "-inf"}, ["rate|inf: found '-inf'"]),
        ({"status": "13"}, ["status|max: found '13', expected at most 9"]),
        ({"month": "2025-06"}, ["month|future: found '2025-06', expected at most 2025-06-15"]),
        ({"month": "2025-07-01"}, ["month|future: found '2025-07-01', expected at most 2025-06-15"]),
        ({"loan_id": "=1+1"}, ["loan_id|formula: found '=1+1', expected text or a number"]),
        ({"loan_id": "@SUM(A)"}, ["loan_id|formula: found '@SUM(A)', expected text or a number"]),
        ({"loan_id": "x" * 10_000}, ["loan_id|max_length: found '" + "x" * 40 + "…'"]),
        ({"status": "2", "rate": ""}, ["late_loans_have_a_rate"]),
        (
            {"paid": "x", "status": "12", "rate": "inf"},
            [
                "paid|dtype: found 'x', expected a number like 1234.50, within ±1e36",
                "status|max: found '12', expected at most 9",
                "rate|inf: found 'inf'",
            ],
        ),
    ],
)
def test_a_rejected_row_keeps_every_rule_it_broke_and_what_was_found(change: dict[str, str], expected: list[str]) -> None:
    assert reasons({}, change) == [expected]


@pytest.mark.parametrize("change", [{"loan_id": "-5"}, {"loan_id": "+4.5"}, {"note": "=1+1"}, {"due": ""}, {"month": "2025-05"}])
def test_numbers_in_ids_text_elsewhere_due_dates_and_finished_months_are_accepted(change: dict[str, str]) -> None:
    assert reasons({}, {"note": ""} | change) == []


def test_rows_of_one_key_that_contradict_one_another_are_all_rejected() -> None:
    found = reasons({"loan_id": "d"}, {"loan_id": "d"}, {"loan_id": "d", "status": "x"}, {})
    assert [rules[-1] for rules in found] == ["primary_key: found loan_id 'd' more than once"] * 3
    assert found[2][0] == "status|dtype: found 'x', expected an integer"


def test_of_identical_rows_the_first_in_the_file_counts() -> None:
    sifted = sift(table({"loan_id": "d"}, {}, {"loan_id": "d", "paid": "1.5"}, {"loan_id": " d "}), Loan, "loans", {}, NOW)
    assert sifted.accepted["line"].to_list() == [1, 2]
    assert sifted.rejects["line"].to_list() == [3, 4]
    assert sifted.rejects["rules"].to_list()[0] == ["repeat: found loan_id 'd' more than once, line 1 counts"]
    assert rule_counts(sifted.rejects) == {"repeat": 2}


def test_a_repeat_of_a_broken_row_is_not_accepted_in_its_place() -> None:
    twice = {"loan_id": "d", "status": "12"}
    assert [[rule.partition(":")[0] for rule in rules] for rules in reasons(twice, twice)] == [["status|max"], ["status|max", "repeat"]]


class Payment(dy.Schema):
    payment_id = dy.String(primary_key=True)
    at = dy.Datetime(metadata={"first": True})
    amount = dy.Int64(min=0)


def payments(*rows: tuple[str, str, str]) -> tuple[list[int], dict[int, list[str]]]:
    """Lines that are accepted, and why the others are not."""
    frame = pl.DataFrame(rows, schema=["payment_id", "at", "amount"], orient="row")
    sifted = sift(raw_from_frame(frame, "given"), Payment, "payments", {}, NOW)
    return sifted.accepted["line"].to_list(), dict(sifted.rejects.select("line", "rules").rows())


def test_where_a_column_says_which_is_first_that_row_counts_wherever_it_stands() -> None:
    accepted, rejected = payments(("p", "2024-03-01", "5"), ("p", "2024-01-01", "7"), ("q", "2024-01-01", "1"), ("p", "2024-01-01", "7"))
    assert accepted == [2, 3]
    assert rejected == {line: ["repeat: found payment_id 'p' more than once, line 2 counts"] for line in (1, 4)}


def test_of_equal_times_the_first_in_the_file_counts_and_a_broken_row_takes_no_ones_place() -> None:
    assert payments(("p", "2024-01-01", "5"), ("p", "2024-01-01", "7"))[0] == [1]
    assert payments(("p", "2024-01-01", "-5"), ("p", "2024-02-01", "7"))[0] == [2]
    assert payments(("p", "yesterday", "5"), ("p", "", "5"), ("p", "2024-02-01", "7"))[0] == [3]


class Told(Payment):
    verdict = dy.Int64(nullable=True, max=1, metadata={"late": True})


def told(*rows: tuple[str, str, str, str | None]) -> tuple[list[int], list[int]]:
    """Lines that are accepted and that are rejected."""
    sifted = sift(raw_from_frame(pl.DataFrame(rows, schema=Told.column_names(), orient="row"), "given"), Told, "told", {}, NOW)
    return sifted.accepted["line"].to_list(), sifted.rejects["line"].to_list()


def test_of_rows_that_are_alike_but_for_what_is_late_the_first_that_has_it_counts() -> None:
    bare, genuine, fraud = (("p", "2024-01-01", "5", verdict) for verdict in (None, "0", "1"))
    assert told(bare, genuine) == ([2], [1]) and told(genuine, bare) == ([1], [2])
    assert told(bare, fraud, bare, genuine) == ([2], [1, 3, 4])
    assert told(bare, bare) == ([1], [2])


def test_what_is_late_gives_no_row_the_place_of_an_earlier_an_unlike_or_a_sound_one() -> None:
    bare = ("p", "2024-01-01", "5", None)
    assert told(bare, ("p", "2024-01-02", "5", "1")) == ([1], [2])
    assert told(bare, ("p", "2024-01-01", "6", "1")) == ([1], [2])
    assert told(bare, ("p", "2024-01-01", "5", "7")) == ([1], [2])  # no such verdict
    assert told(bare, ("q", "2024-01-01", "5", "1")) == ([1, 2], [])


def test_without_a_first_what_is_late_contradicts_nothing_but_what_was_told_otherwise() -> None:
    class Graded(dy.Schema):
        loan_id = dy.String(primary_key=True)
        amount = dy.Int64()
        grade = dy.Int64(nullable=True, metadata={"late": True})

    rows = [("a", "1", None), ("a", "1", "4"), ("b", "1", None), ("b", "2", "4"), ("c", "1", "4"), ("c", "1", None), ("c", "1", "5")]
    sifted = sift(raw_from_frame(pl.DataFrame(rows, schema=Graded.column_names(), orient="row"), "given"), Graded, "graded", {}, NOW)
    assert sifted.accepted["line"].to_list() == [2]
    assert [rules[0].partition(":")[0] for rules in sifted.rejects["rules"]] == ["repeat", *["primary_key"] * 5]


@pytest.mark.parametrize("column", ["payment_id", "at", "second"])
def test_one_column_is_late_and_it_is_neither_the_key_nor_first(column: str) -> None:
    class Wrong(dy.Schema):
        payment_id = dy.String(primary_key=True, metadata={"late": column == "payment_id"})
        at = dy.Date(metadata={"first": True, "late": column == "at"})
        first = dy.Int64(nullable=True, metadata={"late": column == "second"})
        second = dy.Int64(nullable=True, metadata={"late": column == "second"})

    row = pl.DataFrame([("p", "2024-01-01", "1", "1")], schema=Wrong.column_names(), orient="row")
    with pytest.raises(ConfigError, match="marked 'late'; expected one column, and a late one neither first nor a key"):
        sift(raw_from_frame(row, "given"), Wrong, "wrong", {}, NOW)


def test_a_month_is_typed_as_its_first_day() -> None:
    assert sift(table({"month": "2024-01-17"}), Loan, "loans", {}, NOW).accepted["month"].to_list() == [date(2024, 1, 1)]


def test_absent_keys_are_absent_not_doubled() -> None:
    assert reasons({"loan_id": ""}, {"loan_id": " "}) == [["loan_id|nullability"]] * 2


def test_a_reject_keeps_the_raw_row_under_the_files_own_names() -> None:
    raw = raw_from_frame(pl.DataFrame([{"Loan.ID": "a", **{k: v for k, v in GOOD.items() if k != "loan_id"}, "status": 'x\n"y'}]), "given")
    sifted = sift(raw, Loan, "loans", {}, NOW)
    assert sifted.renamed == {"Loan.ID": "loan_id"}
    assert sifted.rejects.select("table", "line").rows() == [("loans", 1)]
    assert json.loads(sifted.rejects["row"][0]) == {"Loan.ID": "a", **{k: v for k, v in GOOD.items() if k != "loan_id"}, "status": 'x\n"y'}


def test_a_row_of_bytes_and_lists_is_kept_too() -> None:
    raw = raw_from_frame(pl.DataFrame([GOOD | {"status": [1], "note": b"\xff"}]), "given")
    rejects = sift(raw, Loan, "loans", {}, NOW).rejects
    assert [rule.partition(":")[0] for rule in rejects["rules"][0]] == ["status|dtype", "note|dtype"]
    assert json.loads(rejects["row"][0])["status"] == [1]


def test_rounded_cells_of_accepted_rows_are_counted_and_rejects_keep_what_was_read() -> None:
    sifted = sift(table({"paid": "1.505"}, {"paid": "1.50"}, {"paid": "2.675", "status": "99"}, {"paid": "1e1"}), Loan, "loans", {}, NOW)
    assert (sifted.accepted["paid"].to_list(), sifted.rounded) == ([Decimal("1.50"), Decimal("1.50"), Decimal("10.00")], {"paid": 1})
    assert [json.loads(row)["paid"] for row in sifted.rejects["row"]] == ["2.675"]
    assert sift(table({}, {"paid": "2.675", "status": "99"}), Loan, "loans", {}, NOW).rounded == {}


def test_typed_input_gives_what_text_gives() -> None:
    typed = pl.DataFrame([GOOD | {"month": date(2024, 1, 1), "status": 0.0, "paid": 1.5, "rate": 0.1}])
    assert sift(raw_from_frame(typed, "given"), Loan, "loans", {}, NOW).accepted.equals(
        sift(table({"loan_id": "a"}), Loan, "loans", {}, NOW).accepted
    )


def test_rules_are_counted_without_what_was_found() -> None:
    rejects = sift(table({"status": "x"}, {"status": "y"}, {"rate": "inf"}), Loan, "loans", {}, NOW).rejects
    assert list(rule_counts(rejects).items()) == [("status|dtype", 2), ("rate|inf", 1)]


def test_a_missing_column_is_an_error_and_a_schema_may_not_claim_line() -> None:
    with pytest.raises(DataError, match="misses 'rate'"):
        sift(raw_from_frame(pl.DataFrame([GOOD]).drop("rate"), "given"), Loan, "loans", {}, NOW)

    class Claims(dy.Schema):
        line = dy.Int64()

    with pytest.raises(ConfigError, match="kept for the line number"):
        sift(table({}), Claims, "claims", {}, NOW)


def test_a_rule_that_cannot_be_evaluated_is_the_pipelines_error() -> None:
    class Broken(dy.Schema):
        status = dy.Int64()

        @dy.rule()
        def wrong(cls) -> pl.Expr:
            return pl.col("no_such_column") > 0

    with pytest.raises(ConfigError, match="'Broken': its rules cannot be evaluated"):
        sift(table({}), Broken, "broken", {}, NOW)


CELL = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-3",
        "9",
        "3.0",
        "x",
        "nan",
        "inf",
        "2024-01",
        "2024-13",
        "=a",
        "é",
        "1e9",
        "0.125",
        "1e400",
        "1e-400",
        " 1 ",
        "10000000000000000000000",
    ]
)


@settings(max_examples=50)
@given(st.lists(st.fixed_dictionaries({name: CELL for name in GOOD}), min_size=1, max_size=8))
def test_accepted_and_rejected_are_together_what_was_read(rows: list[dict[str, str]]) -> None:
    sifted: Sifted = sift(raw_from_frame(pl.DataFrame(rows), "given"), Loan, "loans", {}, NOW)
    assert sorted([*sifted.accepted["line"], *sifted.rejects["line"]]) == list(range(1, len(rows) + 1))
    assert all(len(rules) for rules in sifted.rejects["rules"])
    assert len(Loan.filter(sifted.accepted.drop("line")).failure) == 0
