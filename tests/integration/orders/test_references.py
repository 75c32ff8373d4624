"""An order that a channel numbers is one order, whichever way it comes and however often."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from libs.common.ids import new_id
from tests.integration.orders.shop import Shop, an_order
from tests.integration.orders.test_imports import imported
from tests.integration.orders.test_prices import STRICT, list_chair
from tests.support.postgres import FreshDatabase


def numbered(reference: str = "b-1", **changes: Any) -> dict[str, Any]:
    return an_order(channel="bazaar", reference=reference, **changes)


async def post(shop: Shop, body: dict[str, Any]) -> httpx.Response:
    """Place an order with a key that was never used."""
    return await shop.post("/orders", body, idempotency_key=str(new_id()))


async def send(shop: Shop, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    return await imported(shop, *(json.dumps(body).encode() for body in bodies))


async def orders(shop: Shop) -> int:
    return await shop.count("SELECT count(*) FROM orders")


class TestReference:
    async def test_is_of_one_order_that_comes_by_request_and_then_by_file(self, shop: Shop) -> None:
        placed = await post(shop, numbered())
        [again, other] = await send(shop, numbered(), numbered(customer_id="somebody else"))

        assert placed.status_code == 201
        assert (again["result"], again["order_id"]) == ("duplicate", placed.json()["id"])
        assert (other["result"], other["code"], other["field"]) == ("rejected", "reference-reused", "reference")
        assert placed.json()["id"] in other["reason"]
        assert await orders(shop) == 1

    async def test_is_of_one_order_that_comes_by_file_and_then_by_request(self, shop: Shop) -> None:
        [placed] = await send(shop, numbered())
        shuffled = dict(reversed(numbered().items()))

        again = await post(shop, shuffled)
        other = await post(shop, numbered(customer_id="somebody else"))

        assert (again.status_code, again.json()["id"]) == (200, placed["order_id"])
        assert again.headers["Location"] == f"/v1/orders/{placed['order_id']}"
        assert again.json() == await shop.order(placed["order_id"])
        assert (other.status_code, other.json()["code"]) == (409, "reference-reused")
        assert placed["order_id"] in other.json()["detail"]
        assert other.json()["errors"][0]["pointer"] == "/reference"
        assert await orders(shop) == 1

    async def test_sent_again_under_its_key_is_answered_as_before(self, shop: Shop) -> None:
        first = await shop.post("/orders", numbered(), idempotency_key="k")
        again = await shop.post("/orders", numbered(), idempotency_key="k")
        met = await shop.post("/orders", numbered(), idempotency_key="m")
        met_again = await shop.post("/orders", numbered(), idempotency_key="m")

        assert [one.status_code for one in (first, again, met, met_again)] == [201, 201, 200, 200]
        assert len({one.json()["id"] for one in (first, again, met, met_again)}) == 1
        assert met_again.headers["Idempotent-Replayed"] == "true"

    async def test_is_of_one_order_if_it_comes_by_both_ways_at_once_through_any_process(
        self, database: FreshDatabase
    ) -> None:
        async with Shop.open(database) as shop, Shop.open(database) as other:
            bodies = [numbered(f"b-{number}") for number in range(12)]

            answers, *files = await asyncio.gather(
                asyncio.gather(*(post(one, body) for body in bodies for one in (shop, other, shop))),
                send(shop, *bodies),
                send(other, *reversed(bodies)),
            )

            assert await orders(shop) == len(bodies)
            assert {one.status_code for one in answers} <= {200, 201}
            created = sum(one.status_code == 201 for one in answers)
            placed = sum(row["result"] == "placed" for rows in files for row in rows)
            assert created + placed == len(bodies)
            named = {(row["reference"], row["order_id"]) for rows in files for row in rows}
            assert {(one.json()["reference"], one.json()["id"]) for one in answers} == named
            assert len(named) == len(bodies)

    async def test_of_different_orders_at_once_is_that_of_one_of_them(self, shop: Shop) -> None:
        bodies = [numbered(customer_id=f"customer-{number}") for number in range(6)]

        answers = await asyncio.gather(*(post(shop, body) for body in bodies))

        assert sorted(one.status_code for one in answers) == [201] + [409] * 5
        [placed] = [one.json()["id"] for one in answers if one.status_code == 201]
        assert all(placed in one.json()["detail"] for one in answers if one.status_code == 409)
        assert await orders(shop) == 1

    async def test_is_free_again_if_its_order_was_refused(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policies={"bazaar": STRICT}) as shop:
            await list_chair(shop)
            wrong, right = (
                numbered(lines=[{"sku": "CHAIR", "quantity": 1, "unit_price_minor": price_minor}])
                for price_minor in (1, 1_000)
            )

            answers = await asyncio.gather(*(post(shop, body) for body in (wrong, wrong, right, wrong)))

            assert [one.status_code for one in answers[:3]] == [422, 422, 201]
            # Whoever comes behind meets the order that is there.
            assert answers[3].status_code == 409
            assert (await send(shop, right))[0]["result"] == "duplicate"

    async def test_is_its_channels_own(self, shop: Shop) -> None:
        answers = [await post(shop, {**numbered(), "channel": channel}) for channel in ("bazaar", "fair")]

        assert [one.status_code for one in answers] == [201, 201]

    async def test_costs_an_order_without_one_no_row(self, shop: Shop) -> None:
        await shop.place()
        await shop.place()

        assert await orders(shop) == 2
        assert await shop.count("SELECT count(*) FROM imported_orders") == 0

    @pytest.mark.parametrize("way", ["request", "file"])
    async def test_of_an_order_from_before_contents_were_kept_is_taken(self, shop: Shop, way: str) -> None:
        first = (await post(shop, numbered())).json()["id"]
        await shop.fetch("UPDATE imported_orders SET content_hash = ''::bytea RETURNING 1")

        if way == "request":
            refused = (await post(shop, numbered())).json()
            assert (refused["code"], first in refused["detail"]) == ("reference-reused", True)
        else:
            [row] = await send(shop, numbered())
            assert (row["code"], first in row["reason"]) == ("reference-reused", True)
        assert await orders(shop) == 1
