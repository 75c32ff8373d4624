"""The consumer's batches, cancellations and deadlines, on the real database."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from libs.common.events.inventory import StockBackordered, StockRejected, StockReserved
from libs.common.events.logistics import ShipmentCancelled
from libs.common.events.orders import OrderCancelled, OrderConfirmed, OrderShipped
from libs.common.events.shapes import Allocation, Shortage
from libs.common.ids import new_id
from services.orders.bootstrap.jobs import measure
from services.orders.metrics import orders_by_status, orders_stuck
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, an_order, shipment_id
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase


def reserved(order_id: UUID) -> StockReserved:
    return StockReserved(
        order_id=order_id,
        allocations=[Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=3)],
        decision_id=new_id(),
    )


async def published_about(shop: Shop, order_id: UUID) -> list[tuple[str, int | None]]:
    return [
        (envelope.event.type, envelope.aggregate_version)
        for envelope in await shop.published()
        if envelope.event.key == str(order_id) and envelope.event.topic.name == "orders.order.v1"
    ]


class TestBatch:
    async def test_moves_many_orders_at_once(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(20)]
        short = Shortage(sku="OMINOUS-MIRROR", requested=3, available=0)

        await shop.deliver(
            [
                *(envelope_of(reserved(order_id)) for order_id in orders[:10]),
                *(envelope_of(StockBackordered(order_id=order_id, shortages=[short])) for order_id in orders[10:]),
                *(envelope_of(reserved(order_id)) for order_id in orders[15:18]),
                *(
                    envelope_of(StockRejected(order_id=order_id, reason="insufficient-stock", shortages=[short]))
                    for order_id in orders[18:]
                ),
            ]
        )

        statuses = [await shop.status(order_id) for order_id in orders]
        assert statuses == ["reserved"] * 10 + ["backordered"] * 5 + ["reserved"] * 3 + ["refused"] * 2

    async def test_numbers_the_events_of_each_order_without_gaps(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(3)]
        for order_id in orders:
            await shop.settle(order_id)

        for order_id in orders:
            assert await published_about(shop, order_id) == [
                ("order.placed", 1),
                ("order.approved", 2),
                ("order.reserved", 3),
                ("order.confirmed", 4),
                ("order.shipped", 5),
                ("order.delivered", 6),
                ("order.settled", 7),
            ]
            assert (await shop.order(order_id))["version"] == 7
        payment_versions = [
            envelope.aggregate_version
            for envelope in await shop.published()
            if envelope.event.type.startswith("payment.") and envelope.event.key == str(orders[0])
        ]
        assert payment_versions == [1, 2, 3]

    async def test_does_nothing_for_what_it_has_heard_before(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        before = (await shop.order(order_id), await shop.published_types())

        await shop.reserve(order_id)
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        await shop.arrive(order_id)

        assert (await shop.order(order_id), await shop.published_types()) == before

    async def test_passes_over_orders_that_are_not_ours(self, shop: Shop) -> None:
        order_id = await shop.place()

        await shop.tell(reserved(uuid4()), reserved(order_id))

        assert await shop.status(order_id) == "reserved"

    async def test_is_serialised_with_others_about_the_same_orders(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(30)]
        events = [envelope_of(reserved(order_id)) for order_id in orders]

        await asyncio.gather(shop.deliver(events), shop.deliver(events[::-1]), shop.deliver(events[10:] + events[:10]))

        assert await shop.count("SELECT count(*) FROM payment_commands") == 30
        assert await shop.count("SELECT count(*) FROM order_timeline WHERE stage = 'reserved'") == 30

    async def test_links_events_to_what_caused_them_and_to_their_order(self, shop: Shop) -> None:
        response = await shop.post("/orders", an_order(), **{"X-Correlation-Id": "checkout-42"})
        order_id = UUID(response.json()["id"])
        cause = envelope_of(StockRejected(order_id=order_id, reason="unknown-sku", shortages=[]))

        await shop.deliver([cause])

        refused = (await shop.published())[-1]
        assert refused.causation_id == str(cause.id)
        [stage] = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"][-1:]
        assert (stage["cause"], stage["cause_id"], stage["detail"]) == ("stock.rejected", str(cause.id), "unknown-sku")

    async def test_confirms_with_the_allocations_it_was_told(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)

        [confirmed] = [one.event for one in await shop.published() if isinstance(one.event, OrderConfirmed)]
        assert confirmed.allocations == [
            Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=3),
            Allocation(warehouse="lyon", sku="OMINOUS-MIRROR", quantity=3),
        ]
        assert confirmed.total_minor == TOTAL_MINOR

    async def test_ships_when_every_warehouse_has(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)
        await shop.dispatch(order_id, "lyon")
        assert await shop.status(order_id) == "confirmed"

        await shop.dispatch(order_id, "leeds")

        order = await shop.order(order_id)
        assert order["status"] == "shipped"
        assert {parcel["status"] for parcel in order["shipments"]} == {"dispatched"}
        [shipped] = [one.event for one in await shop.published() if isinstance(one.event, OrderShipped)]
        assert shipped.shipped_at == NOW + timedelta(days=1)


class TestCancellation:
    async def test_is_immediate_before_confirmation_and_repeatable(self, shop: Shop) -> None:
        order_id = await shop.place()

        first = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        second = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        assert [first.status_code, second.status_code] == [200, 200]
        assert (await shop.published_types()).count("order.cancelled") == 1

    async def test_of_a_confirmed_order_is_decided_by_logistics(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)

        response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        assert (response.status_code, response.json()["status"]) == (202, "cancelling")
        await shop.tell(*(_stopped(order_id, place) for place in ("leeds", "lyon")))
        await shop.pay()

        assert await shop.status(order_id) == "cancelled"
        [cancelled] = [one.event for one in await shop.published() if isinstance(one.event, OrderCancelled)]
        assert cancelled.reason == "changed-mind"
        assert (await shop.published_types())[-1] == "payment.voided"

    async def test_fails_if_a_parcel_leaves_first(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        await shop.dispatch(order_id)
        await shop.pay()
        await shop.arrive(order_id)

        assert await shop.status(order_id) == "settled"
        again = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        assert (again.status_code, again.json()["code"]) == (409, "order-already-shipped")

    async def test_of_a_refused_order_is_refused(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.tell(StockRejected(order_id=order_id, reason="unknown-sku", shortages=[]))

        response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        assert (response.status_code, response.json()["code"]) == (409, "order-already-refused")

    async def test_and_confirmation_at_the_same_time_have_one_winner(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(10)]
        await shop.reserve(*orders)

        await asyncio.gather(
            shop.pay(),
            *(shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"}) for order_id in orders),
        )
        await shop.pay()

        for order_id in orders:
            assert await shop.status(order_id) in {"cancelled", "cancelling"}
        held = (
            "SELECT count(*) FROM orders JOIN payments ON order_id = id"
            " WHERE status = 'cancelled' AND authorised_minor <> voided_minor"
        )
        assert await shop.count(held) == 0


class TestDeadlines:
    async def test_end_an_order_whose_goods_never_come(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.tell(StockBackordered(order_id=order_id, shortages=[]))
        shop.clock.advance(timedelta(days=30))

        assert await shop.deadlines.work() == 1

        order = await shop.order(order_id)
        assert (order["status"], order["status_reason"]) == ("cancelled", "backorder-expired")
        assert "deadline_at" not in order
        assert await shop.count("SELECT count(*) FROM order_timers") == 0

    async def test_leave_an_order_alone_that_is_in_time(self, shop: Shop) -> None:
        await shop.place()
        shop.clock.advance(timedelta(seconds=119))

        assert await shop.deadlines.work() == 0

    async def test_count_an_order_as_stuck_until_it_moves(self, shop: Shop) -> None:
        order_id = await shop.place()
        shop.clock.advance(timedelta(minutes=2))
        await shop.deadlines.work()
        await measure(shop.database)
        assert _value_of(orders_stuck) == 1
        assert await shop.published_types() == ["order.placed", "order.approved"]

        await shop.reserve(order_id)
        await measure(shop.database)

        assert _value_of(orders_stuck) == 0
        assert _value_of(orders_by_status.labels("reserved")) == 1

    async def test_are_fired_once_by_replicas_that_race(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(20)]
        await shop.tell(*(StockBackordered(order_id=order_id, shortages=[]) for order_id in orders))
        shop.clock.advance(timedelta(days=31))

        await asyncio.gather(*(shop.deadlines.work() for _ in range(5)))
        await shop.deadlines.work()

        assert (await shop.published_types()).count("order.cancelled") == 20

    async def test_pass_over_an_order_that_somebody_else_works_on(self, shop: Shop, database: FreshDatabase) -> None:
        order_id = await shop.place()
        await shop.tell(StockBackordered(order_id=order_id, shortages=[]))
        shop.clock.advance(timedelta(days=31))

        async with database.transaction() as transaction:
            await (await transaction.driver()).execute("SELECT 1 FROM orders WHERE id = $1 FOR UPDATE", order_id)
            assert await shop.deadlines.work() == 0

        assert await shop.deadlines.work() == 1


def _stopped(order_id: UUID, place: str) -> ShipmentCancelled:
    return ShipmentCancelled(
        shipment_id=shipment_id(order_id, place), order_id=order_id, reason="cancellation-requested"
    )


def _value_of(gauge: object) -> float:
    value: float = gauge._value.get()  # type: ignore[attr-defined]  # noqa: SLF001 - the client has no public way
    return value
