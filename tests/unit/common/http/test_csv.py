import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from libs.common.errors import Invalid
from libs.common.http.csv import Cell, csv_response, encode_rows, wants_csv


class TestRows:
    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
    def test_text_that_a_spreadsheet_would_run_is_only_text(self, start: str) -> None:
        text = f"{start}cmd|' /C calc'!A0"

        assert _parsed(encode_rows([[text, "5"]])) == [[f"'{text}", "5"]]

    def test_numbers_stay_numbers(self) -> None:
        row: list[Cell] = [-5, Decimal("-0.10"), Decimal("1E+3"), True, None, datetime(2026, 1, 1, tzinfo=UTC)]

        assert encode_rows([row]) == "-5,-0.10,1000,true,,2026-01-01T00:00:00+00:00\r\n"

    @given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5))
    def test_every_text_can_be_read_back(self, rows: list[list[str]]) -> None:
        parsed = _parsed(encode_rows(rows))

        assert [[cell.removeprefix("'") for cell in row] for row in parsed] == [
            [cell.replace("\0", "").removeprefix("'") for cell in row] for row in rows
        ]
        assert not any(cell[:1] in set("=+-@\t\r\n") for row in parsed for cell in row if cell)


class TestResponse:
    async def test_is_streamed_with_a_header_and_a_name(self) -> None:
        async def pages() -> AsyncIterator[Sequence[Sequence[Cell]]]:
            yield [["lamp", 1]]
            yield [['a "big", mirror', 2]]

        response = await csv_response(["sku", "units"], pages(), filename="stock.csv")

        assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        assert response.headers["content-disposition"] == 'attachment; filename="stock.csv"'
        body = b"".join([chunk async for chunk in response.body_iterator])  # type: ignore[attr-defined]
        assert body == b'sku,units\r\nlamp,1\r\n"a ""big"", mirror",2\r\n'

    async def test_of_nothing_has_its_header(self) -> None:
        async def pages() -> AsyncIterator[Sequence[Sequence[Cell]]]:
            return
            yield

        response = await csv_response(["sku"], pages(), filename="stock.csv")

        assert [chunk async for chunk in response.body_iterator] == [b"sku\r\n"]  # type: ignore[attr-defined]

    async def test_is_refused_before_anything_is_sent(self) -> None:
        filters = {"sku": ""}

        async def pages() -> AsyncIterator[Sequence[Sequence[Cell]]]:
            await asyncio.sleep(0)
            if filters:
                raise Invalid("No.", field="sku")
            yield []

        with pytest.raises(Invalid):
            await csv_response(["sku"], pages(), filename="stock.csv")


class TestFormat:
    @pytest.mark.parametrize(
        ("query", "accept", "is_csv"),
        [
            ("", "", False),
            ("", "*/*", False),
            ("", "text/csv", True),
            ("", "text/csv;q=0", False),
            ("", "application/json, text/csv;q=0.5", False),
            ("", "application/json;q=0.5, text/csv", True),
            ("", "text/csv;q=nonsense", False),
            ("format=csv", "application/json", True),
            ("format=json", "text/csv", False),
        ],
    )
    def test_is_what_was_asked_for(self, query: str, accept: str, is_csv: bool) -> None:  # noqa: FBT001
        assert wants_csv(_request(query, accept)) is is_csv

    def test_that_nobody_knows_is_refused(self) -> None:
        with pytest.raises(Invalid):
            wants_csv(_request("format=xlsx", ""))


def _parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def _request(query: str, accept: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": [(b"accept", accept.encode())]})
