"""Orders that are short of something: refused, waiting, or going ahead without it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.events.inventory import StockBackordered, StockPartlyReserved, StockReserved
from libs.common.events.logistics import ShipmentDelivered
from libs.common.events.orders import OrderApproved, OrderBackordered, OrderDivided, OrderReserved, OrderWaitExpired
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from libs.common.ids import new_id
from services.orders.domain.remainders import remainder_id
from tests.integration.orders.shop import NOW, TOMORROW, TOTAL_MINOR, Shop, shipment_id
from tests.support.postgres import FreshDatabase

HELD = [
    Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=3),
    Allocation(warehouse="leeds", sku="OMINOUS-MIRROR", quantity=1),
]
MISSING = [SkuQuantity(sku="OMINOUS-MIRROR", quantity=2)]
MISSING_MINOR = 2 * 500


def backordered(order_id: UUID, *, expected: bool = True) -> StockBackordered:
    short = Shortage(sku="OMINOUS-MIRROR", requested=3, available=1, expected_at=TOMORROW if expected else None)
    return StockBackordered(order_id=order_id, shortages=[short])


async def divided(shop: Shop, **changes: Any) -> tuple[UUID, UUID]:
    """Return an order that went ahead, and what became of what was missing of it."""
    order_id = await shop.place(on_shortage="split", **changes)
    await shop.tell(StockPartlyReserved(order_id=order_id, allocations=HELD, shortages=[], missing=MISSING))
    await shop.pay()
    assert await shop.status(order_id) == "confirmed"
    return order_id, remainder_id(order_id)


async def send(shop: Shop, order_id: UUID, *, arrives: bool = True) -> None:
    parcel = shipment_id(order_id, "leeds")
    await shop.dispatch(order_id, "leeds")
    if arrives:
        await shop.tell(ShipmentDelivered(shipment_id=parcel, order_id=order_id, delivered_at=TOMORROW))


async def restock(shop: Shop, remainder: UUID) -> None:
    allocations = [Allocation(warehouse="leeds", sku="OMINOUS-MIRROR", quantity=2)]
    await shop.tell(StockReserved(order_id=remainder, allocations=allocations, decision_id=new_id()))


async def paid(shop: Shop, order_id: UUID) -> tuple[int, int]:
    payment = (await shop.order(order_id))["payment"]
    return payment["captured_minor"], payment["refunded_minor"]


class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "asked_for", "shown"),
        [
            ("cancel", "refuse", "cancel"),
            ("refuse", "refuse", "cancel"),
            ("split", "partial", "split"),
            ("partial", "partial", "split"),
            ("wait", "backorder", "wait"),
            ("backorder", "backorder", "backorder"),
        ],
    )
    async def test_is_what_inventory_is_asked_for(self, shop: Shop, wanted: str, asked_for: str, shown: str) -> None:
        order_id = await shop.place(on_shortage=wanted)

        [approved] = [one.event for one in await shop.published() if isinstance(one.event, OrderApproved)]
        assert approved.on_shortage == asked_for
        assert (await shop.order(order_id))["on_shortage"] == shown

    async def test_is_the_channels_unless_the_order_has_its_own(self, database: FreshDatabase) -> None:
        policy = {"on_shortage": "cancel", "on_shortage_by_channel": {"till": "split"}}
        async with Shop.open(database, **policy) as shop:
            orders = [
                await shop.place(),
                await shop.place(channel="till"),
                await shop.place(channel="till", on_shortage="wait"),
            ]
            assert [(await shop.order(one))["on_shortage"] for one in orders] == ["cancel", "split", "wait"]

    @pytest.mark.parametrize("changes", [{"on_shortage": "hope"}, {"channel": "remainder"}, {"channel": "exchange"}])
    async def test_is_one_that_there_is(self, shop: Shop, changes: dict[str, Any]) -> None:
        response = await shop.post("/orders", {**_body(), **changes})

        assert (response.status_code, response.json()["code"]) == (422, "invalid-request")


class TestReserved:
    async def test_is_an_event_and_a_line_of_the_timeline(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.reserve(order_id)

        [reserved] = [one.event for one in await shop.published() if isinstance(one.event, OrderReserved)]
        assert reserved == OrderReserved(order_id=order_id, warehouses=["leeds", "lyon"])
        stages = [entry["stage"] for entry in (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]]
        assert stages == ["received", "approved", "reserved"]


class TestWait:
    async def test_shows_when_the_goods_should_be_there(self, shop: Shop) -> None:
        order_id = await shop.place()

        await shop.tell(backordered(order_id))

        assert (await shop.order(order_id))["expected_at"] == "2026-03-03T09:00:00Z"
        [event] = [one.event for one in await shop.published() if isinstance(one.event, OrderBackordered)]
        assert event.expected_at == TOMORROW
        [entry] = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"][-1:]
        assert (entry["stage"], entry["detail"]) == ("backordered", "expected at 2026-03-03T09:00:00+00:00")

    async def test_is_late_once_that_has_passed(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.tell(backordered(order_id))

        before = (await shop.get(f"/orders/{order_id}/delay")).json()
        shop.clock.advance(timedelta(days=1, seconds=1))
        after = (await shop.get(f"/orders/{order_id}/delay")).json()

        assert (before["delay_status"], before["expected_at"]) == ("unconfirmed", "2026-03-03T09:00:00Z")
        assert after["delay_status"] == "late"

    async def test_promises_nothing_that_nobody_has_announced(self, shop: Shop) -> None:
        order_id = await shop.place()

        await shop.tell(backordered(order_id, expected=False))

        assert "expected_at" not in await shop.order(order_id)

    async def test_ends_in_days_not_weeks(self, shop: Shop) -> None:
        order_id = await shop.place(on_shortage="wait")
        await shop.tell(backordered(order_id))
        shop.clock.advance(timedelta(days=7))

        assert await shop.deadlines.work() == 1

        order = await shop.order(order_id)
        assert (order["status"], order["status_reason"]) == ("cancelled", "backorder-expired")

    async def test_is_over_as_soon_as_the_goods_are_there(self, shop: Shop) -> None:
        order_id = await shop.place(on_shortage="wait")
        await shop.tell(backordered(order_id))

        await shop.reserve(order_id)

        assert await shop.status(order_id) == "reserved"
        assert "expected_at" not in await shop.order(order_id)

    async def test_ends_with_a_question_where_the_shop_asks(self, database: FreshDatabase) -> None:
        async with Shop.open(database, wait_answer_hours=48) as shop:
            silent, patient = [await shop.place(on_shortage="wait") for _ in range(2)]
            await shop.tell(backordered(silent), backordered(patient))
            shop.clock.advance(timedelta(days=7))
            assert await shop.deadlines.work() == 2
            assert [await shop.status(one) for one in (silent, patient)] == ["backordered"] * 2
            asked = [one.event for one in await shop.published() if isinstance(one.event, OrderWaitExpired)]
            assert {event.answer_by for event in asked} == {NOW + timedelta(days=9)}

            answer = await shop.post(f"/orders/{patient}/waiting", {})
            shop.clock.advance(timedelta(days=2))
            await shop.deadlines.work()

            assert answer.status_code == 200
            assert [await shop.status(one) for one in (silent, patient)] == ["cancelled", "backordered"]

    async def test_is_only_for_who_waits(self, shop: Shop) -> None:
        order_id = await shop.place()

        answer = await shop.post(f"/orders/{order_id}/waiting", {})

        assert (answer.status_code, answer.json()["code"]) == (409, "order-not-waiting")


class TestSplit:
    async def test_sends_what_there_is_and_charges_for_that(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)

        await send(shop, order_id)
        await shop.pay()

        order = await shop.order(order_id)
        assert order["status"] == "delivered"
        assert await paid(shop, order_id) == (TOTAL_MINOR - MISSING_MINOR, 0)
        assert order["linked_orders"] == [{"order_id": str(remainder), "channel": "remainder"}]
        other = await shop.order(remainder)
        assert (other["status"], other["total_minor"], other["origin_id"]) == ("approved", 0, str(order_id))
        assert [(line["sku"], line["quantity"]) for line in other["lines"]] == [("OMINOUS-MIRROR", 2)]

    async def test_asks_for_the_rest_as_a_reservation_of_its_own(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)

        events = [one.event for one in await shop.published()]
        [event] = [event for event in events if isinstance(event, OrderDivided)]
        assert (event.remainder_id, event.lines, event.value_minor) == (remainder, MISSING, MISSING_MINOR)
        approved = [event for event in events if isinstance(event, OrderApproved)][-1]
        assert (approved.order_id, approved.remainder_of, approved.keeps) == (remainder, order_id, HELD)
        assert (approved.lines, approved.on_shortage) == (MISSING, "backorder")
        row = await shop.fetch("SELECT address->>'name' AS name FROM order_addresses WHERE order_id = $1", remainder)
        assert row[0]["name"] == "Ann Shopper"

    async def test_charges_for_the_rest_when_that_leaves(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)

        await restock(shop, remainder)
        assert await shop.status(remainder) == "confirmed"
        await send(shop, remainder)
        await shop.pay()

        assert await paid(shop, order_id) == (TOTAL_MINOR, 0)
        assert [await shop.status(one) for one in (order_id, remainder)] == ["settled", "settled"]
        captures = await shop.fetch("SELECT amount_minor FROM payment_commands WHERE kind = 'capture' ORDER BY 1")
        assert [row["amount_minor"] for row in captures] == [MISSING_MINOR, TOTAL_MINOR - MISSING_MINOR]

    async def test_lets_go_of_the_price_of_what_never_comes(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)
        await shop.pay()
        await shop.tell(backordered(remainder))
        shop.clock.advance(timedelta(days=31))

        await shop.deadlines.work()
        await shop.pay()

        assert [await shop.status(one) for one in (order_id, remainder)] == ["settled", "cancelled"]
        assert await paid(shop, order_id) == (TOTAL_MINOR - MISSING_MINOR, 0)
        assert await shop.count("SELECT voided_minor FROM payments WHERE order_id = $1", order_id) == MISSING_MINOR
        assert sum((await shop.get(f"/orders/{order_id}/ledger")).json()["balances"].values()) == 0

    async def test_can_do_without_the_rest(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)
        await shop.pay()

        response = await shop.post(f"/orders/{remainder}/cancellation", {"reason": "bought elsewhere"})
        await shop.pay()

        assert response.status_code == 200
        assert await shop.status(order_id) == "settled"

    async def test_takes_back_no_goods_that_have_not_left(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)
        body = {"reason": "too-heavy", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 3}]}

        early = await shop.post(f"/orders/{order_id}/returns", body)
        await restock(shop, remainder)
        await send(shop, remainder)
        late = await shop.post(f"/orders/{order_id}/returns", body)

        assert (early.status_code, early.json()["code"]) == (409, "return-exceeds-order")
        assert late.status_code == 201

    async def test_is_called_off_as_a_whole(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)

        response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        assert response.status_code == 202
        assert [await shop.status(one) for one in (order_id, remainder)] == ["cancelling", "cancelled"]

    async def test_is_no_split_if_the_rest_comes_before_the_money(self, shop: Shop) -> None:
        order_id = await shop.place(on_shortage="split")
        partly = StockPartlyReserved(order_id=order_id, allocations=HELD, shortages=[], missing=MISSING)
        await shop.tell(partly)

        await shop.reserve(order_id)
        await shop.pay()

        assert await shop.status(order_id) == "confirmed"
        assert await shop.count("SELECT count(*) FROM orders") == 1

    async def test_is_made_once_however_often_it_is_heard_of(self, shop: Shop) -> None:
        order_id, _ = await divided(shop)

        await shop.tell(StockPartlyReserved(order_id=order_id, allocations=HELD, shortages=[], missing=MISSING))

        assert await shop.status(order_id) == "confirmed"
        assert await shop.count("SELECT count(*) FROM orders") == 2


def _body() -> dict[str, Any]:
    return {
        "customer_id": "customer-7",
        "currency": "GBP",
        "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1, "unit_price_minor": 500}],
        "ship_to": {"country": "GB"},
        "payment": {"token": "tok_ok"},
    }
