from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from libs.common.errors import Invalid
from libs.common.http.ndjson import RowError
from services.catalog.api.rows import PRODUCT_CSV, read_rows
from services.catalog.api.schemas import CreateProductRequest

HEADER = "sku,title,price_minor,currency,is_listed,attribute.colour"


def a_request(content: str, media_type: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content.encode(), "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", media_type.encode())]}, receive)


async def rows_of(content: str, media_type: str = "text/csv") -> list[tuple[int, CreateProductRequest | RowError]]:
    rows: AsyncIterator[tuple[int, CreateProductRequest | RowError]] = read_rows(
        a_request(content, media_type), CreateProductRequest, PRODUCT_CSV, lines_max=10
    )
    return [row async for row in rows]


class TestCsv:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [("yes", True), ("TRUE", True), ("1", True), ("no", False), ("False", False), ("0", False), ("", True)],
    )
    async def test_reads_yes_and_no_in_several_ways(
        self,
        written: str,
        expected: bool,  # noqa: FBT001 - a table's column
    ) -> None:
        [(_, row)] = await rows_of(f"{HEADER}\nA,Lamp,1,GBP,{written},")

        assert isinstance(row, CreateProductRequest)
        assert row.is_listed is expected

    @pytest.mark.parametrize("written", ["1.5", "1e3", "1_000", "£5", "\u0665", "-", "1 000", "9" * 19])
    async def test_refuses_a_price_that_is_no_whole_number(self, written: str) -> None:
        [(number, row)] = await rows_of(f"{HEADER}\nA,Lamp,{written},GBP,,")

        assert isinstance(row, RowError)
        assert (number, row.field, row.code) == (1, "price_minor", "invalid-value")

    async def test_never_repeats_the_value_that_is_wrong(self) -> None:
        [(_, row)] = await rows_of(f"{HEADER}\nA,Lamp,secret-price,GBP,,")

        assert isinstance(row, RowError)
        assert "secret-price" not in row.reason

    async def test_leaves_out_attributes_without_a_value(self) -> None:
        rows = await rows_of(f"{HEADER}\nA,Lamp,1,GBP,,red\nB,Lamp,1,GBP,,")

        assert [row.attributes for _, row in rows if isinstance(row, CreateProductRequest)] == [{"colour": "red"}, {}]

    async def test_refuses_unknown_columns_by_name(self) -> None:
        with pytest.raises(Invalid, match="colour"):
            await rows_of(f"{HEADER},colour\nA,Lamp,1,GBP,,,red")


class TestNdjson:
    async def test_stops_at_the_limit(self) -> None:
        line = '{"sku": "A", "title": "Lamp", "price_minor": 1, "currency": "GBP"}\n'

        rows = await rows_of(line * 12, "application/x-ndjson")

        assert len(rows) == 11
        assert isinstance(rows[-1][1], RowError)
        assert rows[-1][1].code == "too-many-rows"

    @pytest.mark.parametrize("line", ["[" * 30_000, "1e400", "null", '"text"', '{"sku": 1e400}'])
    async def test_answers_for_any_line(self, line: str) -> None:
        [(_, row)] = await rows_of(line, "application/x-ndjson")

        assert isinstance(row, RowError)
