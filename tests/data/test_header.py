"""Which table a file is, and which of its columns is which."""

import dataframely as dy
import polars as pl
import pytest

from trmfin.data.files import RawTable, raw_from_frame
from trmfin.data.header import matches, sources
from trmfin.errors import DataError


class Wide(dy.Schema):
    ID = dy.String(primary_key=True)
    PAY_0 = dy.Int64()
    PAY_2 = dy.Int64()
    label = dy.Int64(nullable=True, metadata={"optional": True})


class Long(dy.Schema):
    client = dy.String()
    month = dy.Date()


class Longer(Long):
    paid = dy.Int64()


SCHEMAS: dict[str, type[dy.Schema]] = {"wide": Wide, "long": Long, "longer": Longer}


def table(*columns: str) -> RawTable:
    return raw_from_frame(pl.DataFrame({column: ["1"] for column in columns}), "given")


def test_a_table_is_known_by_its_columns_whatever_their_order_and_company() -> None:
    assert matches(table("PAY_2", "more", "ID", "PAY_0"), SCHEMAS, {}) == "wide"


def test_of_several_that_fit_the_one_with_most_columns_is_meant() -> None:
    assert matches(table("client", "month", "paid"), SCHEMAS, {}) == "longer"


def test_tables_that_fit_equally_well_are_refused() -> None:
    with pytest.raises(DataError, match="a and b equally well"):
        matches(table("client", "month"), {"a": Long, "b": Long}, {})


def test_no_fit_names_the_closest_table_its_missing_columns_and_close_spellings() -> None:
    with pytest.raises(DataError, match="closest is 'wide', of which it misses 'PAY_0'; found 'PAY0', expected 'PAY_0'"):
        matches(table("ID", "PAY0", "PAY_2"), SCHEMAS, {})


def test_no_fit_and_no_close_spelling_lists_what_is_there() -> None:
    with pytest.raises(DataError, match="it has 'q', 'r'"):
        matches(table("q", "r"), SCHEMAS, {})


def test_case_blanks_and_dots_do_not_matter_and_aliases_are_heeded() -> None:
    raw = table("id", " Pay.0", "pay 2", "Default Payment")
    assert sources(raw, Wide, {"default.payment": "label"}) == {"ID": "id", "PAY_0": " Pay.0", "PAY_2": "pay 2", "label": "Default Payment"}


def test_an_alias_of_another_table_is_no_concern() -> None:
    assert sources(table("client", "month"), Long, {"client": "ID"}) == {"client": "client", "month": "month"}


def test_two_columns_of_one_meaning_are_refused() -> None:
    with pytest.raises(DataError, match="'PAY_0' and 'pay 0' both mean 'PAY_0'"):
        sources(table("ID", "PAY_0", "PAY_2", "pay 0"), Wide, {})


def test_a_misspelt_optional_column_is_not_taken_for_absent() -> None:
    with pytest.raises(DataError, match="found 'lable' where the optional column 'label' is missing|found 'labels'"):
        sources(table("ID", "PAY_0", "PAY_2", "labels"), Wide, {})
    assert "label" not in sources(table("ID", "PAY_0", "PAY_2"), Wide, {})
