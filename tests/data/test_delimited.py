"""Delimited text with true line numbers."""

import json

import polars as pl
import pytest

from trmfin.data import delimited
from trmfin.data.delimited import read_delimited
from trmfin.errors import DataError


def rows(text: str | bytes) -> list[tuple[int, ...]]:
    data = text if isinstance(text, bytes) else text.encode()
    return read_delimited(data, "x.csv").frame.select("line", pl.exclude("line")).rows()


def test_every_column_is_text_and_the_header_is_line_one() -> None:
    table = read_delimited(b"a,b\n1, x \n2,\n", "x.csv")
    assert table.frame.rows() == [("1", " x ", 2), ("2", "", 3)]
    assert (table.encoding, table.separator, table.ragged.height) == ("utf-8", ",", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n\n1,2\n\n\n3,4", [(3, "1", "2"), (6, "3", "4")]),
        ("\n\na,b\n1,2\n", [(4, "1", "2")]),
        ('a,b\n"x\ny",2\n3,4\n', [(2, "x\ny", "2"), (4, "3", "4")]),
        ('"a\nq",b\n1,2\n', [(3, "1", "2")]),
        ("a,b\r\n1,2\r\n\r\n3,4\r\n", [(2, "1", "2"), (4, "3", "4")]),
        ("a,b\r1,2\r3,4\r", [(2, "1", "2"), (3, "3", "4")]),
        ('a,b\n1,"say ""hi"""\n2,5" pipe\n3,4\n', [(2, "1", 'say "hi"'), (3, "2", '5" pipe'), (4, "3", "4")]),
        ("a\n1\n\n2\n", [(2, "1"), (4, "2")]),
    ],
)
def test_line_numbers_are_those_an_editor_shows(text: str, expected: list[tuple[int, ...]]) -> None:
    assert rows(text) == expected


def test_ragged_rows_are_kept_with_line_and_count_of_fields() -> None:
    table = read_delimited(b'a,b\n1,2\n\n3\n"p\nq",5,6\n7,8\n', "x.csv")
    assert table.frame["line"].to_list() == [2, 7]
    assert table.ragged["line"].to_list() == [4, 5]
    assert table.ragged["rules"].to_list() == [["ragged: found 1 fields, expected 2"], ["ragged: found 3 fields, expected 2"]]
    assert [json.loads(row) for row in table.ragged["row"]] == [{"text": "3"}, {"text": '"p\nq",5,6'}]


def test_lines_stay_right_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK", 256)
    table = read_delimited(("a,b\n" + "".join(f"{i},x\n" if i % 7 else f"{i}\n" for i in range(2, 2000))).encode(), "x.csv")
    assert table.frame.filter(pl.col("line").cast(pl.String) != pl.col("a")).height == 0
    assert table.ragged["line"].to_list() == list(range(7, 2000, 7))


@pytest.mark.parametrize(
    ("data", "encoding", "value"),
    [
        ("a,b\né,2\n".encode(), "utf-8", "é"),
        ("\ufeffa,b\né,2\n".encode(), "utf-8 with BOM", "é"),
        ("a,b\né,2\n".encode("latin-1"), "latin-1", "é"),
        ("a,b\n€,2\n".encode("windows-1252"), "windows-1252", "€"),
    ],
)
def test_the_encoding_is_found_and_named(data: bytes, encoding: str, value: str) -> None:
    table = read_delimited(data, "x.csv")
    assert (table.encoding, table.frame["a"].to_list()) == (encoding, [value])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str) -> None:
    table = read_delimited(f'"x,;y"{separator}b\n1{separator}2\n'.encode(), "x.csv")
    assert table.separator == separator
    assert table.frame.rows() == [("1", "2", 2)]


def test_a_long_field_and_an_unnamed_column_are_read() -> None:
    table = read_delimited(b",b\n1," + b"x" * 200_000 + b"\n\n", "x.csv")
    assert table.frame.columns == ["unnamed_1", "b", "line"]
    assert table.frame["b"].str.len_bytes().to_list() == [200_000]


def test_a_column_called_line_does_not_hide_the_line_number() -> None:
    assert read_delimited(b"line,b\n9,2\n", "x.csv").frame.row(0, named=True) == {"line_in_file": "9", "b": "2", "line": 2}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n", "has a header and no rows"),
        (b"a,b", "has a header and no rows"),
        (b"\n  \n\n", "has only blank lines"),
        (b"a,b,a\n1,2,3\n", "names 'a' 2 times"),
        (b"a,b\n1,\x00\n", "line 2 holds a NUL byte"),
        ("a,b\n1,2\n".encode("utf-16"), "is encoded in UTF-16"),
        (b"PAR1....", "is Parquet"),
        (b"PK\x03\x04....", "Excel workbook"),
        ("a,b\né,2\n3,".encode() + b"\xe9\n", "line 3 holds byte 0xE9, which is not UTF-8"),
        ("\ufeffa,b\n1,2\n3,".encode() + b"\xe9\n", "line 3 holds byte 0xE9"),
        (b"a,b\n1,2\n3,\x81\n", "line 3 holds byte 0x81"),
        (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "quote opened in line 3 is never closed"),
        (b'a,b\n1,2\n3,"4', "quote opened in line 3 is never closed"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_delimited(data, "x.csv")


def test_a_quote_that_swallows_more_than_a_block_is_named_by_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK", 256)
    with pytest.raises(DataError, match="quote opened in line 4 is never closed"):
        read_delimited(b'a,b\n1,2\n3,4\n5,"6\n' + b"7,8\n" * 1000, "x.csv")
