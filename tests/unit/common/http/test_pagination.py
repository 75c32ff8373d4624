from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis.strategies import text

from libs.common.errors import Invalid
from libs.common.http.auth import public
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from tests.unit.common.http.conftest import AppFactory, ClientFactory

PLACED_AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ORDER_ID = UUID("018f3e6e-0000-7000-8000-000000000001")


# A time that there is not in UTC.
EARLIEST = Cursor.encode("0001-01-01T00:00:00+14:00", ORDER_ID)


class TestCursor:
    def test_returns_the_key_it_was_made_from(self) -> None:
        cursor = Cursor.encode(PLACED_AT, ORDER_ID)

        assert Cursor.decode(cursor, tuple[datetime, UUID]) == (PLACED_AT, ORDER_ID)

    def test_fits_into_an_address_as_it_is(self) -> None:
        cursor = Cursor.encode("ÿ>?", 1)

        assert httpx.URL("http://x", params={"cursor": cursor}).query.decode() == f"cursor={cursor}"

    @pytest.mark.parametrize(
        "cursor", ["", "nonsense", "é", "W10", "AAAA", Cursor.encode("a"), Cursor.encode(1, 2, 3), EARLIEST]
    )
    def test_refuses_what_was_not_made_for_this_list(self, cursor: str) -> None:
        with pytest.raises(Invalid) as refusal:
            Cursor.decode(cursor, tuple[datetime, UUID])

        assert refusal.value.field == "cursor"

    def test_refuses_text_that_no_query_can_take(self) -> None:
        with pytest.raises(Invalid):
            Cursor.decode(Cursor.encode("a\x00"), tuple[str])

    @given(text())
    def test_refuses_any_other_text_in_the_same_way(self, cursor: str) -> None:
        with pytest.raises(Invalid):
            Cursor.decode(cursor, tuple[datetime, UUID])


class TestPage:
    def test_has_a_cursor_to_the_next_when_there_is_more(self) -> None:
        page = page_of([1, 2, 3], limit=2, key=lambda row: (row,), item=str)

        assert page.items == ["1", "2"]
        assert page.next_cursor is not None
        assert Cursor.decode(page.next_cursor, tuple[int]) == (2,)

    def test_has_none_at_the_end(self) -> None:
        page = page_of([1, 2], limit=2, key=lambda row: (row,), item=str)

        assert page.next_cursor is None

    def test_may_be_empty(self) -> None:
        assert page_of([], limit=2, key=lambda row: (row,), item=str) == Page[str](items=[])


class TestParameters:
    @pytest.fixture
    def client(self, make_app: AppFactory, connect: ClientFactory) -> httpx.AsyncClient:
        router = APIRouter(dependencies=[public()])

        @router.get("/v1/orders")
        async def list_orders(page_limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None) -> Page[int]:
            after = Cursor.decode(cursor, tuple[int])[0] if cursor else 0
            rows = range(after + 1, min(after + page_limit + 1, 120) + 1)
            return page_of(rows, limit=page_limit, key=lambda row: (row,), item=int)

        return connect(make_app(router))

    async def test_walk_through_the_whole_list_without_gaps(self, client: httpx.AsyncClient) -> None:
        seen: list[int] = []
        parameters: dict[str, str] = {}
        while True:
            page = (await client.get("/v1/orders", params=parameters)).json()
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            parameters = {"cursor": page["next_cursor"]}

        assert seen == list(range(1, 121))

    @pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1_0", "1.0", "+1", " 1", "\uff11", ""])
    async def test_refuse_a_limit_out_of_range(self, limit: str, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/orders", params={"limit": limit})).status_code == 422

    async def test_refuse_the_cursor_of_another_list(self, make_app: AppFactory, connect: ClientFactory) -> None:
        router = APIRouter(dependencies=[public()])

        @router.get("/v1/stock/{sku}/movements")
        async def list_movements(sku: str, cursor: PageCursor = None) -> Page[int]:
            after = Cursor.decode(cursor, tuple[int])[0] if cursor else 0
            return page_of(
                range(after + 1, after + 4), limit=2, key=lambda row: (row,), item=lambda row: row + len(sku)
            )

        client = connect(make_app(router))
        cursor = (await client.get("/v1/stock/LAMP/movements")).json()["next_cursor"]

        its_own = await client.get("/v1/stock/LAMP/movements", params={"cursor": cursor})
        of_another = await client.get("/v1/stock/MIRROR/movements", params={"cursor": cursor})

        assert its_own.status_code == 200
        assert of_another.status_code == 422
        assert of_another.json()["errors"][0]["field"] == "cursor"

    async def test_refuse_a_forged_cursor(self, client: httpx.AsyncClient) -> None:
        for cursor in ("nonsense", ""):
            response = await client.get("/v1/orders", params={"cursor": cursor})

            assert response.status_code == 422
            assert response.json()["errors"][0]["field"] == "cursor"
