from dataclasses import replace

from libs.common.events.inventory import StockReserved
from libs.common.events.topics import INVENTORY_FACILITY
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, GLASGOW, approved, received


class TestPutWarehouse:
    async def test_announces_what_is_new_or_different_and_nothing_else(self, shop: Shop) -> None:
        leeds = replace(GLASGOW, code="LEEDS")

        await shop.register(leeds)
        await shop.register(leeds)
        await shop.register(replace(leeds, name="Leeds North"))

        events = [one for one in await shop.published(INVENTORY_FACILITY) if one.event.subject == "LEEDS"]
        assert [(one.event.type, one.aggregate_version) for one in events] == [
            ("warehouse.registered", 1),
            ("warehouse.changed", 2),
        ]


class TestInactiveWarehouse:
    async def test_promises_nothing_more_and_keeps_what_it_holds(self, shop: Shop) -> None:
        held, late = approved((ARMCHAIR, 1)), approved((ARMCHAIR, 1))
        await shop.reports(received(5, at="GLA"))
        await shop.orders(held)

        await shop.register(replace(GLASGOW, is_active=False))
        await shop.orders(late)

        assert await shop.level(ARMCHAIR, "GLA") == (5, 1)
        assert await shop.status(late.order_id) == "waiting"

    async def test_serves_who_waits_once_it_is_active_again(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await shop.register(replace(GLASGOW, is_active=False))
        await shop.reports(received(5, at="GLA"))
        await shop.orders(order)

        await shop.register(GLASGOW)
        await shop.continue_queues()

        assert await shop.status(order.order_id) == "held"
        assert len(await shop.announced(StockReserved)) == 1
