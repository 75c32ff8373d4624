"""Files of orders: a result for each row in order, each order once, and no row harms another."""

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.events.orders import OrderPlaced
from services.orders.api import import_routes
from tests.integration.orders.shop import TOTAL_MINOR, Shop, an_order, key
from tests.integration.orders.test_prices import STRICT, list_chair
from tests.support.postgres import FreshDatabase

NDJSON = {"Content-Type": "application/x-ndjson"}


def row(reference: str | None, **changes: Any) -> bytes:
    body = an_order(channel="bazaar", **changes)
    return json.dumps(body if reference is None else {**body, "reference": reference}).encode()


BAD_ROWS: list[tuple[bytes, str, str | None]] = [
    (b"{", "malformed-json", None),
    (b"[]", "invalid-row", None),
    (b"null", "invalid-row", None),
    (b"\xff\xfe", "invalid-encoding", None),
    (b"\x00", "malformed-json", None),
    (row("x").replace(b"2", b"NaN", 1), "malformed-json", None),
    (row(None), "missing-reference", "reference"),
    (row("b\x00"), "unstorable-text", "reference"),
    (row("\ud800"), "unstorable-text", "reference"),
    (row("x", lines=[]), "invalid-row", "lines"),
    (row("x", lines=[{"sku": "A", "quantity": 10**30, "unit_price_minor": 1}]), "invalid-row", "lines.0.quantity"),
    (row("x", lines=[{"sku": "A", "quantity": 10**6, "unit_price_minor": 10**12}]), "total-out-of-range", "lines"),
    (row("x", placed_at="0001-01-01T00:00:00Z"), "implausible-time", "placed_at"),
    (row("x", currency="pounds"), "invalid-row", "currency"),
    (row("x", currency="ZZZ"), "invalid-row", "currency"),
    (row("x", payment={"token": "t", "method": "shells"}), "payment-method-not-offered", "payment.method"),
    (row("x", shape="round"), "invalid-row", "shape"),
    (row("x" * 300_000), "row-too-long", None),
    (b'{"lines":' + b"[" * 50_000, "malformed-json", None),
]


async def send(shop: Shop, rows: Iterable[bytes], **headers: str) -> httpx.Response:
    return await shop.client.post("/v1/orders/import", content=b"\n".join(rows), headers={**NDJSON, **headers})


async def imported(shop: Shop, *rows: bytes) -> list[dict[str, Any]]:
    response = await send(shop, rows)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def count(shop: Shop) -> int:
    return await shop.count("SELECT count(*) FROM orders")


class TestImport:
    async def test_places_each_order_as_if_it_had_come_alone(self, shop: Shop) -> None:
        results = await imported(shop, row("b-1"), row("b-2", placed_at="2011-06-01T10:00:00Z"))

        assert [(one["row"], one["result"], one["reference"], one["status"]) for one in results] == [
            (1, "placed", "b-1", "approved"),
            (2, "placed", "b-2", "approved"),
        ]
        order = await shop.order(results[1]["order_id"])
        assert (order["channel"], order["total_minor"]) == ("bazaar", TOTAL_MINOR)
        assert order["placed_at"] == "2011-06-01T10:00:00Z"
        assert await shop.published_types() == ["order.placed", "order.approved"] * 2
        placed = [one for one in await shop.published() if isinstance(one.event, OrderPlaced)]
        # A file is no one thing to follow: each order is.
        assert [one.correlation_id for one in placed] == [one["order_id"] for one in results]
        assert {one.traceparent for one in placed} == {None}

    async def test_is_idempotent_by_channel_and_reference(self, shop: Shop) -> None:
        [first] = await imported(shop, row("b-1"))

        again = await imported(shop, row("b-1"), row("b-1", customer_id="somebody else"), row("b-1"))

        assert [one["result"] for one in again] == ["duplicate", "rejected", "duplicate"]
        assert [one.get("order_id") for one in again] == [first["order_id"], None, first["order_id"]]
        assert (again[1]["code"], again[1]["field"]) == ("reference-reused", "reference")
        [other] = await imported(shop, json.dumps({**an_order(), "channel": "other", "reference": "b-1"}).encode())
        assert other["result"] == "placed"
        assert await count(shop) == 2

    async def test_knows_an_order_whose_fields_come_in_another_order(self, shop: Shop) -> None:
        body = json.loads(row("b-1"))
        shuffled = json.dumps(dict(reversed(body.items())), indent=None, separators=(" , ", " : ")).encode()

        results = await imported(shop, row("b-1"), shuffled)

        assert [one["result"] for one in results] == ["placed", "duplicate"]

    async def test_remembers_when_the_keys_of_requests_are_long_forgotten(self, shop: Shop) -> None:
        await imported(shop, row("b-1"))
        await shop.fetch("DELETE FROM idempotency_keys RETURNING key")
        shop.clock.advance(timedelta(days=400))

        [again] = await imported(shop, row("b-1"))

        assert again["result"] == "duplicate"

    async def test_takes_a_file_twice_at_once_and_each_order_once(self, shop: Shop) -> None:
        rows = [row(f"b-{number}") for number in range(30)]

        results = await asyncio.gather(imported(shop, *rows), imported(shop, *reversed(rows)))

        assert await count(shop) == 30
        kinds = [one["result"] for one in results[0] + results[1]]
        assert (kinds.count("placed"), kinds.count("duplicate")) == (30, 30)
        assert {one["order_id"] for one in results[0]} == {one["order_id"] for one in results[1]}

    async def test_names_bad_rows_and_takes_their_neighbours(self, shop: Shop) -> None:
        good = [row(f"b-{number}") for number in range(len(BAD_ROWS))]
        pairs = zip((bad for bad, _, _ in BAD_ROWS), good, strict=True)

        results = await imported(shop, *(line for pair in pairs for line in pair))

        assert [one["row"] for one in results] == list(range(1, 2 * len(BAD_ROWS) + 1))
        assert {one["result"] for one in results[1::2]} == {"placed"}
        assert {one["result"] for one in results[::2]} == {"rejected"}
        assert [(one["code"], one.get("field")) for one in results[::2]] == [
            (code, place) for _, code, place in BAD_ROWS
        ]
        assert all(one["reason"] for one in results[::2])
        assert await count(shop) == len(BAD_ROWS)

    async def test_numbers_rows_as_the_file_does_and_ends_where_it_ends(self, shop: Shop) -> None:
        assert [one["row"] for one in await imported(shop, b"", row("b-1"), b"  ", row("b-2"), b"")] == [2, 4]
        assert await imported(shop, b"") == []

    async def test_refuses_by_the_channels_policy_and_takes_the_row_once_it_is_right(
        self, database: FreshDatabase
    ) -> None:
        async with Shop.open(database, price_policies={"bazaar": STRICT}) as shop:
            await list_chair(shop)
            wrong = row("b-1", lines=[{"sku": "CHAIR", "quantity": 1, "unit_price_minor": 1}])
            right = row("b-1", lines=[{"sku": "CHAIR", "quantity": 1, "unit_price_minor": 1_000}])

            results = await imported(shop, wrong, wrong, right, wrong)

            assert [one["result"] for one in results] == ["rejected", "rejected", "placed", "rejected"]
            assert [one.get("code") for one in results] == ["price-refused", "price-refused", None, "price-refused"]
            assert results[0]["field"] == "lines.0.unit_price_minor"
            assert await count(shop) == 1

    async def test_is_written_in_batches_whose_answers_stay_in_order(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_routes, "_ROWS_PER_TRANSACTION", 7)
        rows = [row(f"b-{number}") if number % 5 else b"{" for number in range(1, 101)]

        results = await imported(shop, *rows)

        assert [one["row"] for one in results] == list(range(1, 101))
        assert [one["result"] == "placed" for one in results] == [number % 5 > 0 for number in range(1, 101)]
        assert await shop.count("SELECT count(DISTINCT xmin::text) FROM orders") == 15

    async def test_finds_the_row_that_cannot_be_stored(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        run = shop.backend.price_check.check

        async def check(orders: Any, **others: Any) -> Any:
            if any(one.facts.reference == "b-7" for one in orders):
                raise asyncpg.DataError("cannot be stored")
            return await run(orders, **others)

        monkeypatch.setattr(shop.backend.price_check, "check", check)

        results = await imported(shop, *(row(f"b-{number}") for number in range(10)))

        assert [one["row"] for one in results if one["result"] == "rejected"] == [8]
        assert results[7]["code"] == "row-not-stored"
        assert await count(shop) == 9

    async def test_says_that_the_file_may_be_sent_again_when_the_database_goes(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_routes, "_ROWS_PER_TRANSACTION", 2)
        rows = [row(f"b-{number}") for number in range(1, 9)]
        run = shop.backend.price_check.check

        async def check(orders: Any, **others: Any) -> Any:
            if any(one.facts.reference == "b-5" for one in orders):
                raise ConnectionResetError
            return await run(orders, **others)

        with monkeypatch.context() as patched:
            patched.setattr(shop.backend.price_check, "check", check)
            interrupted = await send(shop, rows)

        assert interrupted.status_code == 503
        assert interrupted.json()["code"] == "import-interrupted"
        assert "rows before 5 are imported" in interrupted.json()["detail"]
        assert interrupted.json()["retryable"] is True

        results = await imported(shop, *rows)
        assert [one["result"] for one in results[:4]] == ["duplicate"] * 4
        assert await count(shop) == 8

    async def test_answers_a_large_file_from_disk(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(import_routes, "_ANSWER_IN_MEMORY_BYTES_MAX", 100)

        results = await imported(shop, *[row("b-1")] * 40)

        assert [one["result"] for one in results] == ["placed", *["duplicate"] * 39]

    async def test_needs_the_scope_and_the_media_type(self, shop: Shop) -> None:
        assert (await send(shop, [row("b-1")], Authorization="Bearer nobody")).status_code == 401
        assert (await send(shop, [row("b-1")], **{"Content-Type": "application/json"})).status_code == 415
        assert (await send(shop, [row("b-1")], **key("storefront"))).status_code == 200
        assert await count(shop) == 1
