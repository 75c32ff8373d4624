"""An order that waits for goods may wait for others instead, as long as nothing is held for it."""

from uuid import UUID, uuid4

from libs.common.events.inventory import StockBackordered, StockChanged, StockChangeRefused, StockReserved
from libs.common.events.orders import OrderEditRequested
from libs.common.events.shapes import Shortage, SkuQuantity
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    approved,
    cancelled,
    dispatched,
    envelope,
    minutes,
    received,
)


def edit(order_id: UUID, *lines: tuple[str, int], edit_id: UUID | None = None) -> OrderEditRequested:
    units = [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in lines]
    return OrderEditRequested(order_id=order_id, edit_id=edit_id or uuid4(), lines=units)


def edit_held(order_id: UUID, *lines: tuple[str, int]) -> OrderEditRequested:
    units = [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in lines]
    return OrderEditRequested(order_id=order_id, edit_id=uuid4(), lines=units, is_held=True)


async def waits_for(shop: Shop, order_id: UUID) -> dict[str, int]:
    rows = await shop.rows("SELECT sku, quantity FROM backorder_lines WHERE order_id = $1", order_id)
    return {row["sku"]: row["quantity"] for row in rows}


class TestWaiting:
    async def test_order_is_served_at_once_if_what_it_wants_now_is_there(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 9), (LAMP, 1))
        await shop.reports(received(3), received(1, LAMP))
        await shop.orders(order)
        asked = edit(order.order_id, (ARMCHAIR, 2), (LAMP, 1))

        await shop.orders(asked)

        assert [one.edit_id for one in await shop.announced(StockChanged)] == [asked.edit_id]
        [reserved] = await shop.announced(StockReserved)
        assert {one.sku: one.quantity for one in reserved.allocations} == {ARMCHAIR: 2, LAMP: 1}
        assert await waits_for(shop, order.order_id) == {}
        assert await shop.level(ARMCHAIR) == (3, 2)

    async def test_order_goes_on_waiting_for_what_it_wants_now(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 9))
        await shop.orders(order)

        await shop.orders(edit(order.order_id, (ARMCHAIR, 4), (LAMP, 2)))

        assert await waits_for(shop, order.order_id) == {ARMCHAIR: 4, LAMP: 2}
        assert len(await shop.announced(StockBackordered)) == 1
        await shop.reports(received(4), received(2, LAMP))
        [reserved] = await shop.announced(StockReserved)
        assert {one.sku: one.quantity for one in reserved.allocations} == {ARMCHAIR: 4, LAMP: 2}

    async def test_order_that_wants_less_lets_those_behind_it_through(self, shop: Shop) -> None:
        first, second = approved((ARMCHAIR, 9)), approved((ARMCHAIR, 3), (LAMP, 1))
        await shop.reports(received(3))
        await shop.orders(first, second)

        await shop.orders(edit(first.order_id, (LAMP, 1)))
        await shop.reports(received(1, LAMP))

        assert await shop.level(LAMP) == (1, 1)
        assert len(await shop.announced(StockReserved)) == 1

    async def test_order_keeps_its_place_unless_it_wants_more(self, shop: Shop) -> None:
        less, more, between = approved((ARMCHAIR, 5)), approved((ARMCHAIR, 2)), approved((ARMCHAIR, 3))
        await shop.orders(*(envelope(one, at=minutes(place)) for place, one in enumerate((less, more, between))))

        await shop.orders(
            envelope(edit(less.order_id, (ARMCHAIR, 3)), at=minutes(10)),
            envelope(edit(more.order_id, (ARMCHAIR, 4)), at=minutes(11)),
        )
        await shop.reports(received(3))
        await shop.reports(received(3))

        assert [one.order_id for one in await shop.announced(StockReserved)] == [less.order_id, between.order_id]


class TestTooLate:
    async def test_what_is_held_is_not_changed(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(3))
        await shop.orders(order)

        await shop.orders(edit(order.order_id, (ARMCHAIR, 1)))

        [refused] = await shop.announced(StockChangeRefused)
        assert refused.reason == "held"
        assert await shop.level(ARMCHAIR) == (3, 2)
        assert len(await shop.announced(StockReserved)) == 1

    async def test_what_was_called_off_is_not_brought_back(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.orders(order)
        await shop.orders(cancelled(order.order_id))

        await shop.orders(edit(order.order_id, (ARMCHAIR, 1)))

        assert [one.reason for one in await shop.announced(StockChangeRefused)] == ["released"]
        assert await waits_for(shop, order.order_id) == {}


class TestRepeated:
    async def test_an_edit_has_one_effect_and_does_not_undo_a_later_one(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 9))
        await shop.orders(order)
        first, second = edit(order.order_id, (ARMCHAIR, 5)), edit(order.order_id, (ARMCHAIR, 7))
        await shop.orders(first, first)
        await shop.orders(second)

        await shop.orders(first)
        await shop.orders(first, second)

        assert await waits_for(shop, order.order_id) == {ARMCHAIR: 7}
        assert [one.edit_id for one in await shop.announced(StockChanged)] == [first.edit_id, second.edit_id]


class TestHeld:
    async def test_order_lets_go_of_what_it_wants_no_longer(self, shop: Shop) -> None:
        first, behind = approved((ARMCHAIR, 3), (LAMP, 1)), approved((ARMCHAIR, 2))
        await shop.reports(received(3), received(1, LAMP))
        await shop.orders(first)
        await shop.orders(behind)

        await shop.orders(edit_held(first.order_id, (ARMCHAIR, 1)))

        [changed] = await shop.announced(StockChanged)
        assert [(one.sku, one.quantity) for one in changed.allocations] == [(ARMCHAIR, 1)]
        assert await shop.level(LAMP) == (1, 0)
        assert [one.order_id for one in await shop.announced(StockReserved)] == [first.order_id, behind.order_id]
        assert await shop.level(ARMCHAIR) == (3, 3)

    async def test_order_holds_what_it_wants_more_where_it_holds_the_rest(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5, at="GLA"), received(9, LAMP), received(1, LAMP, at="GLA"))
        await shop.orders(order)
        [reserved] = await shop.announced(StockReserved)

        await shop.orders(edit_held(order.order_id, (ARMCHAIR, 4), (LAMP, 1)))

        [changed] = await shop.announced(StockChanged)
        assert {one.sku: one.quantity for one in changed.allocations} == {ARMCHAIR: 4, LAMP: 1}
        assert {one.warehouse for one in changed.allocations} == {one.warehouse for one in reserved.allocations}

    async def test_order_stays_as_it_is_if_not_all_is_free(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2), (LAMP, 1))
        await shop.reports(received(3), received(1, LAMP))
        await shop.orders(order)

        await shop.orders(edit_held(order.order_id, (ARMCHAIR, 4)))

        [refused] = await shop.announced(StockChangeRefused)
        assert (refused.reason, refused.shortages) == (
            "insufficient-stock",
            [Shortage(sku=ARMCHAIR, requested=2, available=1)],
        )
        assert await shop.level(ARMCHAIR) == (3, 2)
        assert await shop.level(LAMP) == (1, 1)
        assert await waits_for(shop, order.order_id) == {}

    async def test_order_does_not_pass_those_who_wait(self, shop: Shop) -> None:
        order, waiting = approved((LAMP, 1)), approved((ARMCHAIR, 2))
        await shop.reports(received(1, LAMP))
        await shop.orders(order)
        await shop.orders(waiting)

        await shop.reports(received(2))
        await shop.orders(edit_held(order.order_id, (LAMP, 1), (ARMCHAIR, 1)))

        assert [one.reason for one in await shop.announced(StockChangeRefused)] == ["insufficient-stock"]
        assert await shop.level(ARMCHAIR) == (2, 2)

    async def test_order_of_which_something_has_left_is_not_changed(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2), (LAMP, 1))
        await shop.reports(received(3), received(1, LAMP))
        await shop.orders(order)
        await shop.orders(dispatched(order.order_id, (LAMP, 1)))

        await shop.orders(edit_held(order.order_id, (ARMCHAIR, 1), (LAMP, 1)))

        assert [one.reason for one in await shop.announced(StockChangeRefused)] == ["shipped"]

    async def test_an_edit_has_one_effect(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(received(9))
        await shop.orders(order)
        first, second = edit_held(order.order_id, (ARMCHAIR, 5)), edit_held(order.order_id, (ARMCHAIR, 4))
        await shop.orders(first, first)
        await shop.orders(second)

        await shop.orders(first)

        assert await shop.level(ARMCHAIR) == (9, 4)
        assert [one.edit_id for one in await shop.announced(StockChanged)] == [first.edit_id, second.edit_id]
