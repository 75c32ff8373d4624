from dataclasses import replace

from libs.common.events.inventory import StockRejected, WarehouseRegistered
from services.inventory.domain.warehouses import Warehouse, WarehouseKind
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, LONDON, approved, received

STORE = replace(
    LONDON,
    code="SOHO",
    name="Soho store",
    kind=WarehouseKind.STORE,
    ships_orders=False,
    is_collection_point=True,
)


async def units_held(shop: Shop, store: Warehouse = STORE) -> int:
    return (await shop.level(ARMCHAIR, store.code))[1]


class TestStore:
    async def test_that_does_not_ship_serves_no_order_that_is_sent(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await shop.register(STORE)
        await shop.reports(received(5, at="SOHO"))

        await shop.orders(order)

        assert await shop.status(order.order_id) == "waiting"
        assert await units_held(shop) == 0

    async def test_that_begins_to_ship_serves_who_waits(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await shop.register(STORE)
        await shop.reports(received(5, at="SOHO"))
        await shop.orders(order)

        await shop.register(replace(STORE, ships_orders=True))
        await shop.continue_queues()

        assert await shop.status(order.order_id) == "held"

    async def test_says_what_it_is(self, shop: Shop) -> None:
        await shop.register(STORE)

        event = (await shop.announced(WarehouseRegistered))[-1]
        assert (event.kind, event.ships_orders, event.is_collection_point) == ("store", False, True)


class TestCollection:
    async def test_is_served_by_the_store_alone(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2), collect_at="SOHO")
        await shop.register(STORE)
        await shop.reports(received(5), received(2, at="SOHO"))

        await shop.orders(order)

        assert await units_held(shop) == 2
        assert await shop.level(ARMCHAIR, "LON") == (5, 0)

    async def test_waits_for_goods_to_come_to_the_store(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2), collect_at="SOHO")
        await shop.register(STORE)
        await shop.reports(received(5), received(1, at="SOHO"))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await shop.reports(received(1, at="SOHO"))

        assert await units_held(shop) == 2

    async def test_is_refused_where_the_order_does_not_wait(self, shop: Shop) -> None:
        await shop.register(STORE)
        await shop.reports(received(5))

        await shop.orders(approved((ARMCHAIR, 1), collect_at="SOHO", on_shortage="refuse"))

        [event] = await shop.announced(StockRejected)
        assert (event.reason, event.shortages[0].available) == ("insufficient-stock", 0)

    async def test_waits_while_the_store_is_closed(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1), collect_at="SOHO")
        await shop.register(replace(STORE, is_active=False))
        await shop.reports(received(1, at="SOHO"))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await shop.register(STORE)
        await shop.continue_queues()

        assert await units_held(shop) == 1

    async def test_is_refused_where_nothing_can_be_collected(self, shop: Shop) -> None:
        await shop.reports(received(5))

        await shop.orders(approved((ARMCHAIR, 1), collect_at="LON"), approved((ARMCHAIR, 1), collect_at="NOWHERE"))

        reasons = [event.reason for event in await shop.announced(StockRejected)]
        assert reasons == ["unknown-collection-point"] * 2
        assert await shop.level(ARMCHAIR) == (5, 0)
