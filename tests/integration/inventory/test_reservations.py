from uuid import UUID

import pytest

from libs.common.decisions.storage import decisions_about
from libs.common.events.inventory import (
    StockBackordered,
    StockCommitted,
    StockRejected,
    StockReleased,
    StockReserved,
)
from libs.common.events.orders import OrderApproved, ReturnInspected
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from libs.common.events.topics import INVENTORY_RESERVATION
from services.inventory.handlers.desk import WAITING_ORDERS_MAX
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    adjusted,
    approved,
    cancelled,
    dispatched,
    envelope,
    minutes,
    received,
    refused,
    returned,
)


class TestReserve:
    async def test_holds_the_units_where_they_are(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))

        await shop.orders(order)

        assert await shop.level(ARMCHAIR) == (5, 2)
        [reserved] = await shop.announced(StockReserved)
        assert reserved.order_id == order.order_id
        assert reserved.allocations == [Allocation(warehouse="LON", sku=ARMCHAIR, quantity=2)]

    async def test_takes_a_line_from_two_warehouses_if_neither_has_it_whole(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, at="MAN"))

        await shop.orders(approved((ARMCHAIR, 3)))

        assert await shop.level(ARMCHAIR) == (2, 2)
        assert await shop.level(ARMCHAIR, "MAN") == (1, 1)

    async def test_adds_up_lines_of_the_same_sku(self, shop: Shop) -> None:
        await shop.reports(received(5))

        await shop.orders(approved((ARMCHAIR, 2), (ARMCHAIR, 2)))

        assert await shop.level(ARMCHAIR) == (5, 4)

    async def test_serves_a_batch_in_the_order_of_approval_and_passes_over_what_does_not_fit(self, shop: Shop) -> None:
        too_large, first, second = approved((ARMCHAIR, 9)), approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(3))

        await shop.orders(
            envelope(second, at=minutes(3)), envelope(too_large, at=minutes(1)), envelope(first, at=minutes(2))
        )

        assert await shop.status(too_large.order_id) == "waiting"
        assert await shop.status(first.order_id) == "held"
        assert await shop.status(second.order_id) == "waiting"

    async def test_holds_once_when_the_request_comes_twice(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        [request] = await shop.orders(order)

        await shop.orders(request)
        await shop.orders(envelope(order))

        assert await shop.level(ARMCHAIR) == (5, 2)
        assert await shop.fates(order.order_id) == ["stock.reserved"]

    async def test_explains_the_choice(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5), received(5, at="GLA"))

        await shop.orders(order)

        async with shop.database.transaction() as transaction:
            [made] = await decisions_about(transaction, subject=f"order:{order.order_id}", limit=2)
        [reserved] = await shop.announced(StockReserved)
        assert (made.id, made.decision, made.rule) == (reserved.decision_id, "allocate-stock", "single-source-first/1")
        assert "nearest" in made.reason
        assert {one.option for one in made.alternatives} == {"LON", "GLA"}

    async def test_sets_aside_an_order_without_lines(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 0))

        with pytest.raises(Exception, match="impossible quantity"):
            await shop.orders(order)


class TestShortage:
    async def test_makes_the_order_wait_holding_nothing(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), (MIRROR, 1))
        await shop.reports(received(2), received(5, MIRROR))

        await shop.orders(order)

        assert await shop.level(ARMCHAIR) == (2, 0)
        assert await shop.level(MIRROR) == (5, 0)
        [event] = await shop.announced(StockBackordered)
        assert event.shortages == [Shortage(sku=ARMCHAIR, requested=3, available=2)]

    async def test_refuses_an_order_that_does_not_want_to_wait(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="refuse")
        await shop.reports(received(2))

        await shop.orders(order)
        await shop.reports(received(50))

        assert await shop.status(order.order_id) == "rejected"
        [event] = await shop.announced(StockRejected)
        assert event.reason == "insufficient-stock"

    async def test_says_so_when_a_sku_was_never_seen(self, shop: Shop) -> None:
        await shop.orders(approved(("NO-SUCH-THING", 1), on_shortage="refuse"))

        [event] = await shop.announced(StockRejected)
        assert event.reason == "unknown-sku"
        assert event.shortages == [Shortage(sku="NO-SUCH-THING", requested=1, available=0)]

    async def test_waits_when_the_units_are_in_too_many_places_for_an_order_in_one_parcel(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, at="MAN"))

        await shop.orders(approved((ARMCHAIR, 3), is_split_allowed=False))

        [event] = await shop.announced(StockBackordered)
        assert event.shortages == [Shortage(sku=ARMCHAIR, requested=3, available=2)]


class TestBackorders:
    async def test_are_served_by_the_arrival_of_goods_first_come_first_served(self, shop: Shop) -> None:
        first, second = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.orders(envelope(second, at=minutes(2)), envelope(first, at=minutes(1)))

        await shop.reports(received(3))

        assert await shop.fates(first.order_id) == ["stock.backordered", "stock.reserved"]
        assert await shop.fates(second.order_id) == ["stock.backordered"]
        assert await shop.level(ARMCHAIR) == (3, 2)

    async def test_are_served_by_a_release(self, shop: Shop) -> None:
        holder, waiter = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(2))
        await shop.orders(envelope(holder, at=minutes(1)), envelope(waiter, at=minutes(2)))

        await shop.orders(cancelled(holder.order_id))

        assert await shop.status(waiter.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (2, 2)

    async def test_are_served_by_a_return(self, shop: Shop) -> None:
        order, waiter = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(2))
        await shop.orders(envelope(order, at=minutes(1)), envelope(waiter, at=minutes(2)))
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))

        await shop.orders(returned(order.order_id, (ARMCHAIR, 2)))

        assert await shop.status(waiter.order_id) == "held"
        assert await shop.ledger(ARMCHAIR) == [("receipt", 2), ("ship", -2), ("return", 2)]

    async def test_are_served_by_what_an_inspection_lets_be_sold_again(self, shop: Shop) -> None:
        order, waiter = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 1))
        await shop.reports(received(2))
        await shop.orders(envelope(order, at=minutes(1)), envelope(waiter, at=minutes(2)))
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))
        one = [SkuQuantity(sku=ARMCHAIR, quantity=1)]
        inspected = ReturnInspected(
            return_id=UUID(int=900),
            order_id=order.order_id,
            warehouse="LON",
            inspected_at=minutes(20),
            restocked=one,
            written_off=one,
            refund_minor=1_300,
            currency="GBP",
        )

        arrived = envelope(inspected, at=minutes(20))
        await shop.orders(arrived)
        await shop.orders(arrived)

        assert await shop.status(waiter.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (1, 1)
        assert (await shop.ledger(ARMCHAIR))[2:] == [("return", 1), ("return", 1), ("write-off", -1)]

    async def test_wait_until_the_last_of_their_skus_has_come(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1), (MIRROR, 1), (LAMP, 1))
        await shop.orders(order)

        await shop.reports(received(1, MIRROR))
        await shop.reports(received(1, ARMCHAIR))
        assert await shop.status(order.order_id) == "waiting"
        await shop.reports(received(1, LAMP))

        assert await shop.status(order.order_id) == "held"

    async def test_go_before_an_order_that_comes_with_the_goods(self, shop: Shop) -> None:
        waiter, newcomer, holder = approved((ARMCHAIR, 1)), approved((ARMCHAIR, 1)), approved((ARMCHAIR, 1))
        await shop.reports(received(1))
        await shop.orders(envelope(holder, at=minutes(1)), envelope(waiter, at=minutes(2)))

        await shop.orders(envelope(newcomer, at=minutes(3)), cancelled(holder.order_id))

        assert await shop.status(waiter.order_id) == "held"
        assert await shop.status(newcomer.order_id) == "waiting"

    async def test_of_a_queue_too_long_for_one_transaction_are_all_served(self, shop: Shop) -> None:
        orders = [approved((ARMCHAIR, 1), (MIRROR, 1)) for _ in range(450)]
        for part in range(0, 450, 150):
            await shop.orders(*orders[part : part + 150])
        await shop.reports(received(450, MIRROR))

        await shop.reports(received(450))
        steps = await shop.continue_queues()

        assert steps > 1
        assert await shop.level(ARMCHAIR) == (450, 450)
        assert await shop.rows("SELECT 1 FROM backorder_lines") == []
        assert await shop.rows("SELECT 1 FROM backorder_revisits") == []


class TestQueueTooLongForOneTransaction:
    async def test_is_not_overtaken_while_its_rest_has_yet_to_be_served(self, shop: Shop) -> None:
        orders = await _long_queue(shop)
        impatient, newcomer = approved(on_shortage="refuse"), approved()
        await shop.reports(received(len(orders)))

        await shop.orders(envelope(impatient, at=minutes(9)), envelope(newcomer, at=minutes(10)))
        await shop.continue_queues()

        assert {await shop.status(one.order_id) for one in orders} == {"held"}
        assert await shop.status(impatient.order_id) == "rejected"
        assert await shop.status(newcomer.order_id) == "waiting"

    async def test_is_not_overtaken_by_whoever_comes_in_the_transaction_that_frees_units(self, shop: Shop) -> None:
        orders = await _long_queue(shop)
        holder, newcomer = approved((ARMCHAIR, len(orders)), (LAMP, 1)), approved()
        await shop.orders(envelope(holder, at=minutes(-1)))
        await shop.reports(received(1, LAMP), received(len(orders)))
        assert await shop.status(holder.order_id) == "held"

        await shop.orders(cancelled(holder.order_id), envelope(newcomer, at=minutes(9)))
        await shop.continue_queues()

        assert {await shop.status(one.order_id) for one in orders} == {"held"}
        assert await shop.status(newcomer.order_id) == "waiting"

    async def test_leaves_what_it_does_not_want_to_newcomers_at_once(self, shop: Shop) -> None:
        orders = await _long_queue(shop)
        newcomer = approved((ARMCHAIR, 2), on_shortage="refuse")
        await shop.reports(received(len(orders) + 2))

        await shop.orders(envelope(newcomer, at=minutes(9)))
        await shop.continue_queues()

        assert await shop.status(newcomer.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (len(orders) + 2, len(orders) + 2)

    async def test_does_not_stop_whoever_stands_before_its_rest(self, shop: Shop) -> None:
        orders = await _long_queue(shop)
        earlier = approved()
        await shop.reports(received(len(orders)))

        await shop.orders(envelope(earlier, at=minutes(-1)))

        assert await shop.status(earlier.order_id) == "held"


class TestRelease:
    async def test_lets_go_of_everything_held(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        await shop.orders(order)

        await shop.orders(refused(order.order_id))

        assert await shop.level(ARMCHAIR) == (5, 0)
        [event] = await shop.announced(StockReleased)
        assert event.allocations == [Allocation(warehouse="LON", sku=ARMCHAIR, quantity=2)]

    async def test_before_the_reservation_makes_it_a_no_op(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))

        await shop.orders(cancelled(order.order_id))
        await shop.orders(order)

        assert await shop.level(ARMCHAIR) == (5, 0)
        assert await shop.status(order.order_id) == "released"
        assert await shop.fates(order.order_id) == []

    async def test_in_the_same_batch_leaves_nothing_held(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))

        await shop.orders(order, cancelled(order.order_id))

        assert await shop.level(ARMCHAIR) == (5, 0)
        assert await shop.status(order.order_id) == "released"

    async def test_takes_a_waiting_order_out_of_the_queue(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.orders(order)

        await shop.orders(cancelled(order.order_id))
        await shop.reports(received(5))

        assert await shop.level(ARMCHAIR) == (5, 0)
        assert await shop.fates(order.order_id) == ["stock.backordered", "stock.released"]

    async def test_has_one_effect_when_it_comes_twice(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        await shop.orders(order)

        await shop.orders(cancelled(order.order_id), cancelled(order.order_id))

        assert await shop.level(ARMCHAIR) == (5, 0)
        assert await shop.fates(order.order_id) == ["stock.reserved", "stock.released"]


class TestCommit:
    async def test_takes_the_units_off_hand_and_off_hold(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        await shop.orders(order)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))

        assert await shop.level(ARMCHAIR) == (3, 0)
        assert await shop.status(order.order_id) == "committed"
        assert await shop.ledger(ARMCHAIR) == [("receipt", 5), ("ship", -2)]
        [event] = await shop.announced(StockCommitted)
        assert event.lines == [SkuQuantity(sku=ARMCHAIR, quantity=2)]

    async def test_is_complete_only_with_the_last_parcel(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(received(2), received(1, at="MAN"))
        await shop.orders(order)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2), at="LON"))
        assert await shop.status(order.order_id) == "held"
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 1), at="MAN"))

        assert await shop.status(order.order_id) == "committed"
        assert await shop.level(ARMCHAIR, "MAN") == (0, 0)

    async def test_books_what_left_though_it_was_not_held_there(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(2), received(2, at="MAN"))
        await shop.orders(order)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2), at="MAN"))

        assert await shop.level(ARMCHAIR, "LON") == (2, 0)
        assert await shop.level(ARMCHAIR, "MAN") == (0, 0)
        assert await shop.status(order.order_id) == "committed"

    async def test_books_a_shipment_of_an_order_that_was_called_off(self, shop: Shop) -> None:
        order, other = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 1))
        await shop.reports(received(2))
        await shop.orders(order)
        await shop.orders(cancelled(order.order_id), other)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))

        assert await shop.level(ARMCHAIR) == (0, 0)
        assert await shop.status(other.order_id) == "waiting"

    async def test_of_a_part_serves_a_waiting_order_with_the_rest(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 5))
        await shop.reports(received(2), received(2, at="MAN"))
        await shop.orders(order)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2), at="LON"))
        assert await shop.status(order.order_id) == "waiting"
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 1), at="LON"))

        assert await shop.level(ARMCHAIR, "MAN") == (2, 2)


class TestWhatIsSaidAgain:
    async def test_of_a_parcel_and_what_came_back_of_it_is_booked_once(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(received(5))
        [request] = await shop.orders(order)
        sent, back = (
            envelope(dispatched(order.order_id, (ARMCHAIR, 2))),
            envelope(returned(order.order_id, (ARMCHAIR, 1))),
        )

        await shop.orders(sent, sent, request)
        await shop.orders(back, sent, back)
        await shop.orders(request, sent, back)

        assert await shop.ledger(ARMCHAIR) == [("receipt", 5), ("ship", -2), ("return", 1)]
        assert await shop.level(ARMCHAIR) == (4, 1)
        assert await shop.fates(order.order_id) == ["stock.reserved", "stock.committed"]

    async def test_of_an_order_called_off_leaves_it_so(self, shop: Shop) -> None:
        order, never_asked = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        [request] = await shop.orders(order)
        ends = [envelope(cancelled(one.order_id)) for one in (order, never_asked)]
        await shop.orders(*ends)

        await shop.orders(*ends, request, envelope(never_asked))

        assert await shop.level(ARMCHAIR) == (5, 0)
        assert await shop.fates(order.order_id) == ["stock.reserved", "stock.released"]
        assert await shop.fates(never_asked.order_id) == []


class TestVersions:
    async def test_count_every_event_of_an_order_without_gaps(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.orders(order)
        await shop.reports(received(2))
        await shop.reports(adjusted(-1))
        await shop.reports(received(1))
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))

        events = await shop.published(INVENTORY_RESERVATION)

        assert [one.event.type for one in events] == [
            "stock.backordered",
            "stock.reserved",
            "stock.backordered",
            "stock.reserved",
            "stock.committed",
        ]
        assert [one.aggregate_version for one in events] == [1, 2, 3, 4, 5]

    async def test_name_the_event_that_led_to_them(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        [request] = await shop.orders(order)
        [arrival] = await shop.reports(received(2))

        backordered, reserved = await shop.published(INVENTORY_RESERVATION)

        assert backordered.causation_id == str(request.id)
        assert reserved.causation_id == str(arrival.id)


async def _long_queue(shop: Shop) -> list[OrderApproved]:
    """Let more orders wait for an armchair each than one transaction serves."""
    orders = [approved() for _ in range(WAITING_ORDERS_MAX + 20)]
    await shop.orders(*orders)
    return orders
