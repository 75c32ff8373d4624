from uuid import uuid4

from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    MIRROR,
    adjusted,
    approved,
    cancelled,
    dispatched,
    envelope,
    minutes,
    received,
)


class TestUnreserve:
    async def test_takes_from_the_newest_order_what_is_not_there_any_more(self, shop: Shop) -> None:
        old, new = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2), (MIRROR, 1))
        await shop.reports(received(4), received(1, MIRROR))
        await shop.orders(envelope(old, at=minutes(1)), envelope(new, at=minutes(2)))

        await shop.reports(adjusted(-1))

        assert await shop.status(old.order_id) == "held"
        assert await shop.status(new.order_id) == "waiting"
        assert await shop.level(ARMCHAIR) == (3, 2)
        assert await shop.level(MIRROR) == (1, 0)
        assert await shop.fates(new.order_id) == ["stock.reserved", "stock.backordered"]

    async def test_spares_the_older_order_though_it_is_at_hand(self, shop: Shop) -> None:
        old, new = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(4))
        await shop.orders(envelope(old, at=minutes(1)), envelope(new, at=minutes(2)))

        await shop.orders(old, dispatched(uuid4(), (ARMCHAIR, 1)))

        assert await shop.status(old.order_id) == "held"
        assert await shop.status(new.order_id) == "waiting"

    async def test_does_not_count_on_what_is_being_let_go_anyway(self, shop: Shop) -> None:
        old, new = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(4))
        await shop.orders(envelope(old, at=minutes(1)), envelope(new, at=minutes(2)))

        await shop.orders(cancelled(new.order_id), dispatched(uuid4(), (ARMCHAIR, 3)))

        assert await shop.status(old.order_id) == "waiting"
        assert await shop.level(ARMCHAIR) == (1, 0)

    async def test_serves_the_order_from_elsewhere_if_it_can(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(2), received(2, at="GLA"))
        await shop.orders(order)

        await shop.reports(adjusted(-1))

        assert await shop.level(ARMCHAIR) == (1, 0)
        assert await shop.level(ARMCHAIR, "GLA") == (2, 2)
        assert await shop.fates(order.order_id) == ["stock.reserved", "stock.backordered", "stock.reserved"]

    async def test_gives_what_it_lets_go_to_the_orders_behind(self, shop: Shop) -> None:
        large, small = approved((ARMCHAIR, 3)), approved((ARMCHAIR, 2))
        await shop.reports(received(3))
        await shop.orders(envelope(large, at=minutes(1)), envelope(small, at=minutes(2)))

        await shop.reports(adjusted(-1))

        assert await shop.status(large.order_id) == "waiting"
        assert await shop.status(small.order_id) == "held"
