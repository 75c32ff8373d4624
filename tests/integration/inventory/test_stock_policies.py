from uuid import uuid4

import httpx
import pytest

from libs.common.events.inventory import StockChanged, StockChangeRefused, StockLevelChanged, StockRejected
from libs.common.events.orders import OrderEditRequested
from libs.common.events.shapes import Shortage, SkuQuantity
from services.inventory.domain.stock_policy import StockPolicy, UnknownWarehouse
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, approved, cancelled, envelope, minutes, received


class TestSafetyStock:
    async def test_is_never_promised(self, shop: Shop) -> None:
        await shop.reports(received(5))
        await _put(shop, StockPolicy(safety_stock_units=2))
        small, large = approved((ARMCHAIR, 3)), approved((ARMCHAIR, 1))

        await shop.orders(envelope(small, at=minutes(1)), envelope(large, at=minutes(2)))

        assert await shop.level(ARMCHAIR) == (5, 3)
        assert await shop.status(large.order_id) == "waiting"

    async def test_is_kept_back_in_each_warehouse_or_as_one_says_for_itself(self, shop: Shop) -> None:
        await shop.reports(received(5), received(5, at="MAN"), received(5, at="GLA"))
        await _put(shop, StockPolicy(safety_stock_units=4, safety_stock_by_warehouse={"MAN": 0}))

        await shop.orders(approved((ARMCHAIR, 7)))

        assert {code: (await shop.level(ARMCHAIR, code))[1] for code in ("LON", "MAN", "GLA")} == {
            "LON": 1,
            "MAN": 5,
            "GLA": 1,
        }

    async def test_holds_for_a_warehouse_that_gets_its_first_units_later(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(safety_stock_units=4))
        order = approved((ARMCHAIR, 1))
        await shop.orders(order)

        await shop.reports(received(4))
        assert await shop.status(order.order_id) == "waiting"
        await shop.reports(received(1))

        assert await shop.status(order.order_id) == "held"

    async def test_when_lowered_serves_whoever_waits(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(received(3))
        await _put(shop, StockPolicy(safety_stock_units=1))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await _put(shop, StockPolicy())

        assert await shop.status(order.order_id) == "held"

    async def test_takes_nothing_from_those_who_have_a_promise(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(received(3))
        await shop.orders(order)

        await _put(shop, StockPolicy(safety_stock_units=9))

        assert await shop.status(order.order_id) == "held"

    async def test_is_published_as_withheld(self, shop: Shop) -> None:
        await shop.reports(received(3))

        await _put(shop, StockPolicy(safety_stock_units=9))
        await _put(shop, StockPolicy(safety_stock_units=9))

        assert [one.levels[0].withheld for one in await shop.announced(StockLevelChanged)] == [0, 3]

    async def test_of_a_warehouse_that_nobody_registered_is_refused(self, shop: Shop) -> None:
        with pytest.raises(UnknownWarehouse):
            await _put(shop, StockPolicy(safety_stock_by_warehouse={"MOON": 1}))


class TestBackorderLimit:
    async def test_refuses_whoever_would_make_the_queue_too_long(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(backorder_units_max=5))
        first, second, third = (approved((ARMCHAIR, 3)), approved((ARMCHAIR, 3)), approved((ARMCHAIR, 2)))

        await shop.orders(
            *(envelope(one, at=minutes(place)) for place, one in enumerate((first, second, third))),
        )
        await shop.orders(approved((ARMCHAIR, 1)))

        assert [await shop.status(one.order_id) for one in (first, second, third)] == ["waiting", "rejected", "waiting"]
        assert [one.reason for one in await shop.announced(StockRejected)] == ["backorder-limit"] * 2

    async def test_holds_for_what_waiting_orders_want_more(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(backorder_units_max=5))
        first, second = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 1))
        await shop.orders(first, second)
        edits = [
            OrderEditRequested(
                order_id=one.order_id, edit_id=uuid4(), lines=[SkuQuantity(sku=ARMCHAIR, quantity=quantity)]
            )
            for one, quantity in ((first, 4), (second, 2))
        ]

        await shop.orders(*edits)

        assert [one.order_id for one in await shop.announced(StockChanged)] == [first.order_id]
        [refused] = await shop.announced(StockChangeRefused)
        assert (refused.order_id, refused.reason) == (second.order_id, "over-limit")
        assert refused.shortages == [Shortage(sku=ARMCHAIR, requested=1, available=0)]

    async def test_of_nothing_lets_nobody_wait(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(backorder_units_max=0))
        order = approved((ARMCHAIR, 1), (MIRROR, 1))

        await shop.orders(order)

        assert await shop.status(order.order_id) == "rejected"

    async def test_has_room_again_when_somebody_leaves_the_queue(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(backorder_units_max=3))
        first, second = approved((ARMCHAIR, 3)), approved((ARMCHAIR, 3))
        await shop.orders(first)

        await shop.orders(cancelled(first.order_id), second)

        assert await shop.status(second.order_id) == "waiting"

    async def test_does_not_concern_what_is_there(self, shop: Shop) -> None:
        await _put(shop, StockPolicy(backorder_units_max=0))
        await shop.reports(received(1))
        order, waiting = approved((ARMCHAIR, 1)), approved((ARMCHAIR, 1), (MIRROR, 1))
        await _put(shop, StockPolicy(backorder_units_max=0))

        await shop.orders(envelope(order, at=minutes(1)), envelope(waiting, at=minutes(2)))

        assert await shop.status(order.order_id) == "held"
        assert await shop.status(waiting.order_id) == "rejected"


class TestApi:
    async def test_sets_and_shows_a_policy(self, client: httpx.AsyncClient) -> None:
        policy = {
            "safety_stock_units": 2,
            "safety_stock_by_warehouse": {"LON": 3},
            "backorder_units_max": 7,
            "tracks_lots": True,
            "shelf_life_days_min": 5,
        }

        assert (await client.get(f"/v1/stock/{ARMCHAIR}/policy")).status_code == 404
        put = await client.put(f"/v1/stock/{ARMCHAIR}/policy", json=policy)
        shown = await client.get(f"/v1/stock/{ARMCHAIR}/policy")

        assert (put.status_code, put.json(), shown.json()) == (200, policy, policy)

    async def test_shows_what_is_available_without_it(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(5))
        await client.put(f"/v1/stock/{ARMCHAIR}/policy", json={"safety_stock_by_warehouse": {"LON": 2}})

        [level] = (await client.get(f"/v1/stock/{ARMCHAIR}")).json()["levels"]

        assert (level["available"], level["withheld"]) == (3, 2)

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"safety_stock_units": -1}, "/safety_stock_units"),
            ({"safety_stock_units": 10**30}, "/safety_stock_units"),
            ({"safety_stock_units": "2"}, "/safety_stock_units"),
            ({"safety_stock_units": 1.5}, "/safety_stock_units"),
            ({"backorder_units_max": -1}, "/backorder_units_max"),
            ({"safety_stock_by_warehouse": {"LON": -1}}, "/safety_stock_by_warehouse/LON"),
            ({"safety_stock_by_warehouse": {"MOON": 1}}, "/safety_stock_by_warehouse/MOON"),
            ({"safety_stok": 1}, "/safety_stok"),
        ],
    )
    async def test_says_what_is_wrong(self, client: httpx.AsyncClient, body: dict[str, object], pointer: str) -> None:
        answer = await client.put(f"/v1/stock/{ARMCHAIR}/policy", json=body)

        assert answer.status_code == 422
        assert pointer in {error.get("pointer") or error.get("field") for error in answer.json()["errors"]}

    @pytest.mark.parametrize("sku", ["A%00B", "A%0AB", "x" * 200])
    async def test_survives_impossible_skus(self, client: httpx.AsyncClient, sku: str) -> None:
        assert (await client.put(f"/v1/stock/{sku}/policy", json={})).status_code == 422
        assert 400 <= (await client.get(f"/v1/stock/{sku}/policy")).status_code < 500


async def _put(shop: Shop, policy: StockPolicy) -> None:
    async with shop.database.transaction() as transaction:
        await put_stock_policy(ARMCHAIR, policy, tools=shop.adapters.tools_of(transaction))
