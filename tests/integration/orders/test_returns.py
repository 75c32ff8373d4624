"""Goods come back at most once, and their price with them."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from libs.common.events.inventory import StockRejected, StockReserved
from libs.common.events.logistics import ShipmentDispatched
from libs.common.events.orders import RefundIssued, ReturnClosed, ReturnInspected, ReturnReceived, ReturnRequested
from libs.common.events.shapes import Allocation, SkuQuantity
from services.orders.storage.returns import measure_returns
from tests.integration.orders.shop import NOW, Shop
from tests.integration.orders.test_money import act
from tests.support.postgres import FreshDatabase

ARMCHAIRS = [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 2}]


async def open_return(shop: Shop, order_id: UUID, lines: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    response = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-crunchy", "lines": lines or ARMCHAIRS})
    assert response.status_code == 201, response.text
    opened: dict[str, Any] = response.json()
    return opened


async def receive(shop: Shop, return_id: str, *, quantity: int = 2, restock_quantity: int = 1) -> httpx.Response:
    line = {"sku": "CRUNCHY-ARMCHAIR", "quantity": quantity, "restock_quantity": restock_quantity}
    return await shop.post(f"/returns/{return_id}/receipt", {"warehouse": "leeds", "lines": [line]})


async def waiting(shop: Shop) -> dict[str, tuple[int, float]]:
    async with shop.database.transaction() as transaction:
        measured = await measure_returns(transaction, now=shop.clock.now())
    return {str(status): figures for status, figures in measured.items()}


class TestReturn:
    async def test_is_worth_the_price_of_the_latest_lines(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)

        opened = await open_return(shop, order_id)

        # One armchair of line 3 at 900, the other of line 1 at 1,000.
        assert (opened["status"], opened["refund_minor"]) == ("requested", 1_900)
        assert [(line["line"], line["quantity"]) for line in opened["lines"]] == [(3, 1), (1, 1)]
        assert [line["returned_quantity"] for line in (await shop.order(order_id))["lines"]] == [1, 0, 1]

    async def test_is_refunded_and_closed_once_received(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)

        received = await receive(shop, opened["id"])
        await shop.pay()

        assert (received.status_code, received.json()["status"]) == (200, "received")
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "closed"
        order = await shop.order(order_id)
        assert (order["status"], order["payment"]["refunded_minor"]) == ("settled", 1_900)
        assert await shop.count("SELECT refunded_minor FROM sandbox.sandbox_charges") == 1_900

    async def test_shows_how_long_it_has_waited_in_its_stage_until_it_is_closed(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        shop.clock.advance(timedelta(minutes=5))

        assert await waiting(shop) == {"requested": (1, 300.0), "received": (0, 0.0), "inspected": (0, 0.0)}
        await receive(shop, opened["id"])
        shop.clock.advance(timedelta(minutes=1))
        assert await waiting(shop) == {"requested": (0, 0.0), "received": (1, 60.0), "inspected": (0, 0.0)}
        await shop.pay()
        assert await waiting(shop) == {"requested": (0, 0.0), "received": (0, 0.0), "inspected": (0, 0.0)}

    async def test_is_told_in_numbered_events(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        await receive(shop, opened["id"])
        await shop.pay()

        return_id = UUID(opened["id"])
        units = [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=2)]
        events = [one for one in await shop.published() if one.event.topic.name == "orders.return.v1"]
        assert [one.aggregate_version for one in events] == [1, 2, 3]
        requested, received, closed = (one.event for one in events)
        assert requested == ReturnRequested(return_id=return_id, order_id=order_id, reason="too-crunchy", lines=units)
        assert isinstance(received, ReturnReceived)
        assert received.lines == units
        assert received.restocked == [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=1)]
        assert closed == ReturnClosed(return_id=return_id, order_id=order_id, refunded_minor=1_900, currency="GBP")
        [refund] = [one.event for one in await shop.published() if isinstance(one.event, RefundIssued)]
        assert (refund.amount_minor, refund.return_id) == (1_900, return_id)

    async def test_received_before_the_capture_is_refunded_after_it(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.ship(order_id)
        opened = await open_return(shop, order_id)
        await receive(shop, opened["id"])
        assert await shop.count("SELECT count(*) FROM payment_commands WHERE status = 'waiting'") == 1

        await shop.pay()

        payment = (await shop.order(order_id))["payment"]
        assert (payment["captured_minor"], payment["refunded_minor"]) == (4_400, 1_900)
        assert (await shop.published_types())[-3:] == ["payment.captured", "refund.issued", "return.closed"]

    async def test_of_which_less_came_is_refunded_for_what_came(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)

        received = await receive(shop, opened["id"], quantity=1)
        await shop.pay()

        assert received.json()["refund_minor"] == 900
        order = await shop.order(order_id)
        assert order["payment"]["refunded_minor"] == 900
        assert [line["returned_quantity"] for line in order["lines"]] == [0, 0, 1]

    async def test_of_which_nothing_came_is_closed_without_a_refund(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)

        received = await receive(shop, opened["id"], quantity=0, restock_quantity=0)

        assert (received.json()["status"], received.json()["refund_minor"]) == ("closed", 0)
        assert await shop.pay() == 0

    async def test_can_be_received_once(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)

        answers = await asyncio.gather(*(receive(shop, opened["id"]) for _ in range(5)))
        await shop.pay()

        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900

    async def test_cannot_be_received_with_more_than_was_announced(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)

        response = await receive(shop, opened["id"], quantity=3)

        assert (response.status_code, response.json()["code"]) == (422, "receipt-exceeds-return")

    async def test_needs_a_shipped_order(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)

        response = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-crunchy", "lines": ARMCHAIRS})

        assert (response.status_code, response.json()["code"]) == (409, "order-not-shipped")

    async def test_never_exceeds_the_order_however_many_ask_at_once(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        body = {"reason": "too-crunchy", "lines": [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 1}]}

        answers = await asyncio.gather(*(shop.post(f"/orders/{order_id}/returns", body) for _ in range(8)))

        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
        opened = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        await asyncio.gather(*(receive(shop, one, quantity=1) for one in opened))
        await shop.pay()
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 2 * 1_000 + 900

    @pytest.mark.parametrize(
        ("lines", "status", "code"),
        [
            ([{"sku": "CRUNCHY-ARMCHAIR", "quantity": 4}], 409, "return-exceeds-order"),
            ([{"sku": "PALE-LAMP", "quantity": 1}], 422, "sku-not-in-order"),
            ([*ARMCHAIRS, *ARMCHAIRS], 422, "invalid-request"),
            ([{"sku": "CRUNCHY-ARMCHAIR", "quantity": 0}], 422, "invalid-request"),
        ],
    )
    async def test_is_refused_with_the_reason(
        self, shop: Shop, lines: list[dict[str, Any]], status: int, code: str
    ) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)

        response = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-crunchy", "lines": lines})

        assert (response.status_code, response.json()["code"]) == (status, code)

    async def test_is_announced_once_for_each_key(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        body = {"reason": "too-crunchy", "lines": [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 1}]}

        answers = [await shop.post(f"/orders/{order_id}/returns", body, idempotency_key="return-1") for _ in range(2)]

        assert answers[0].text == answers[1].text
        assert await shop.count("SELECT count(*) FROM returns") == 1

    async def test_cannot_be_stored_beyond_the_order(self, shop: Shop) -> None:
        await shop.place()

        with pytest.raises(asyncpg.CheckViolationError, match="order_lines_returned_check"):
            await shop.fetch("UPDATE order_lines SET returned_quantity = quantity + 1")


async def arrive(shop: Shop, return_id: str, quantity: int = 2, *, sku: str = "CRUNCHY-ARMCHAIR") -> httpx.Response:
    lines = [{"sku": sku, "quantity": quantity}]
    return await shop.post(f"/returns/{return_id}/arrival", {"warehouse": "leeds", "lines": lines})


def found(quantity: int = 1, disposition: str = "restock", **changes: Any) -> dict[str, Any]:
    line = {"sku": "CRUNCHY-ARMCHAIR", "quantity": quantity, "grade": "opened", "disposition": disposition}
    return {**line, **changes}


async def inspect(shop: Shop, return_id: str, *lines: dict[str, Any], **headers: str) -> httpx.Response:
    return await shop.post(f"/returns/{return_id}/inspection", {"lines": list(lines)}, **headers)


class TestInspection:
    async def test_decides_what_is_sold_again_and_what_is_given_back(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        arrived = await arrive(shop, opened["id"])
        await shop.pay()
        assert (arrived.json()["status"], (await shop.order(order_id))["payment"]["refunded_minor"]) == ("received", 0)

        inspected = await inspect(shop, opened["id"], found(), found(1, "write-off", refund_percent=50))
        await shop.pay()

        # Line 3 at 900 in full, line 1 at 1,000 by half.
        assert (inspected.status_code, inspected.json()["refund_minor"]) == (200, 1_400)
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_400
        closed = (await shop.get(f"/returns/{opened['id']}")).json()
        assert (closed["status"], closed["inspected_by"]) == ("closed", "operator")
        events = [one.event for one in await shop.published() if one.event.topic.name == "orders.return.v1"]
        assert [event.type.partition(".")[2] for event in events] == ["requested", "received", "inspected", "closed"]
        one = [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=1)]
        assert isinstance(events[1], ReturnReceived)
        assert isinstance(events[2], ReturnInspected)
        assert (events[1].restocked, events[2].restocked, events[2].written_off) == ([], one, one)
        [listed] = (await shop.get(f"/orders/{order_id}/returns")).json()["items"]
        assert listed["id"] == opened["id"]

    @pytest.mark.parametrize(
        ("lines", "status", "code"),
        [
            ([found(1)], 422, "inspection-incomplete"),
            ([found(3)], 422, "inspection-incomplete"),
            ([found(2, sku="PALE-LAMP")], 422, "inspection-incomplete"),
            ([found(2, refund_percent=101)], 422, "invalid-request"),
            ([found(2, grade="shiny")], 422, "invalid-request"),
        ],
    )
    async def test_is_of_all_that_arrived_and_nothing_else(
        self, shop: Shop, lines: list[dict[str, Any]], status: int, code: str
    ) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        await arrive(shop, opened["id"])

        answer = await inspect(shop, opened["id"], *lines)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "received"

    async def test_happens_once_after_the_arrival_however_many_try(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        early = await inspect(shop, opened["id"], found(2))
        await arrive(shop, opened["id"])

        answers = await asyncio.gather(*(inspect(shop, opened["id"], found(2)) for _ in range(5)))
        await shop.pay()

        assert (early.status_code, early.json()["code"]) == (409, "return-not-to-be-inspected")
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900

    async def test_of_a_parcel_that_was_counted_and_inspected_at_once_is_refused(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        await receive(shop, opened["id"])

        assert (await inspect(shop, opened["id"], found(2))).json()["code"] == "return-not-to-be-inspected"


class TestExchange:
    async def test_sends_other_goods_and_gives_back_what_they_cost_less(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=1_500)
        await arrive(shop, opened["id"])

        inspected = await inspect(shop, opened["id"], found(2))
        await shop.pay()

        other = UUID(inspected.json()["exchange_order_id"])
        exchanged = await shop.order(other)
        assert (exchanged["channel"], exchanged["status"], exchanged["total_minor"]) == ("exchange", "approved", 0)
        assert exchanged["origin_id"] == str(order_id)
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900 - 1_500
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "closed"

    async def test_that_never_leaves_is_money_again(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=1_900)
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])

        await shop.tell(StockRejected(order_id=other, reason="unknown-sku", shortages=[]))
        await shop.pay()

        assert await shop.status(other) == "refused"
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900

    async def test_is_money_if_less_came_back_than_it_costs(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=1_900)
        await arrive(shop, opened["id"])

        inspected = await inspect(shop, opened["id"], found(2, refund_percent=50))
        await shop.pay()

        assert "exchange_order_id" not in inspected.json()
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 950

    async def test_for_what_costs_more_leaves_once_the_difference_is_held(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=2_500, token="tok_ok")
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])

        lamp = [Allocation(warehouse="leeds", sku="PALE-LAMP", quantity=1)]
        await shop.tell(StockReserved(order_id=other, allocations=lamp, decision_id=uuid4()))

        assert opened["exchange_due_minor"] == 600
        assert await shop.status(other) == "reserved"
        await shop.pay()
        exchanged = await shop.order(other)
        assert (exchanged["status"], exchanged["total_minor"]) == ("confirmed", 600)
        assert exchanged["payment"]["authorised_minor"] == 600
        assert [one["charged_minor"] for one in exchanged["lines"]] == [600]
        ids = {"shipment_id": uuid4(), "order_id": other}
        await shop.tell(
            ShipmentDispatched(**ids, warehouse="leeds", lines=[], dispatched_at=NOW, tracking_number="GULL-3")
        )
        await shop.pay()
        assert (await shop.order(other))["payment"]["captured_minor"] == 600
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 0

    async def test_is_money_if_nobody_pays_the_difference(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=2_500, token="tok_declined")
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])

        lamp = [Allocation(warehouse="leeds", sku="PALE-LAMP", quantity=1)]
        await shop.tell(StockReserved(order_id=other, allocations=lamp, decision_id=uuid4()))
        await shop.pay()

        assert await shop.status(other) == "refused"
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900
        assert "order.confirmed" not in [
            one.event.type for one in await shop.published() if one.event.subject == str(other)
        ]

    async def test_costs_no_more_than_was_agreed(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=2_500, token="tok_ok")
        await arrive(shop, opened["id"])

        inspected = await inspect(shop, opened["id"], found(2, refund_percent=90))
        await shop.pay()

        assert "exchange_order_id" not in inspected.json()
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_710

    async def test_for_what_costs_more_needs_something_to_pay_with(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        lines = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 1_901}]

        answer = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "too-crunchy", "lines": ARMCHAIRS, "exchange_for": lines}
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "exchange-costs-more")


class TestGoodsSentInExchange:
    async def _sent(self, shop: Shop, *, price_minor: int, token: str | None = None) -> tuple[UUID, UUID]:
        """Return an order, and the one of the lamp that was sent for two of its armchairs."""
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=price_minor, token=token)
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])
        await send_lamp(shop, other)
        return order_id, other

    @pytest.mark.parametrize(
        ("price_minor", "token", "own_minor"), [(1_500, None, 0), (1_900, None, 0), (2_500, "tok_ok", 600)]
    )
    async def test_are_worth_what_was_given_for_them(
        self, shop: Shop, price_minor: int, token: str | None, own_minor: int
    ) -> None:
        order_id, other = await self._sent(shop, price_minor=price_minor, token=token)
        lamp = [{"sku": "PALE-LAMP", "quantity": 1}]

        opened = await open_return(shop, other, lamp)
        await arrive(shop, opened["id"], sku="PALE-LAMP", quantity=1)
        inspected = await inspect(shop, opened["id"], found(1, sku="PALE-LAMP"))
        await shop.pay()

        assert (opened["refund_minor"], inspected.json()["refund_minor"]) == (price_minor, price_minor)
        # The armchairs were worth 1,900: what of that was not for the lamp went back before.
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900
        assert (await shop.order(other))["payment"]["refunded_minor"] == own_minor
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "closed"
        closed = [one.event for one in await shop.published() if isinstance(one.event, ReturnClosed)]
        assert [one.refunded_minor for one in closed][1:] == [own_minor or price_minor]

    async def test_leave_the_rest_of_the_order_to_be_returned(self, shop: Shop) -> None:
        order_id, other = await self._sent(shop, price_minor=1_900)
        goods = [(other, "PALE-LAMP", 1), (order_id, "CRUNCHY-ARMCHAIR", 1), (order_id, "OMINOUS-MIRROR", 3)]
        for bought_with, sku, units in goods:
            opened = await open_return(shop, bought_with, [{"sku": sku, "quantity": units}])
            await arrive(shop, opened["id"], sku=sku, quantity=units)
            await inspect(shop, opened["id"], found(units, sku=sku))
        await shop.pay()

        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 4_400

    @pytest.mark.parametrize("ended_after", ["sent", "announced", "arrived", "inspected", "refunded"])
    @pytest.mark.parametrize(
        ("price_minor", "token", "percent"), [(1_500, None, 100), (1_500, None, 50), (2_500, "tok_ok", 50)]
    )
    async def test_are_paid_back_once_when_their_order_is_ended_under_way(
        self, shop: Shop, price_minor: int, token: str | None, percent: int, ended_after: str
    ) -> None:
        order_id, other = await self._sent(shop, price_minor=price_minor, token=token)
        return_id = ""
        for stage in ("sent", "announced", "arrived", "inspected", "refunded"):
            match stage:
                case "announced" if ended_after != "sent":
                    return_id = (await open_return(shop, other, [{"sku": "PALE-LAMP", "quantity": 1}]))["id"]
                case "arrived" if return_id:
                    assert (await arrive(shop, return_id, sku="PALE-LAMP", quantity=1)).status_code == 200
                case "inspected" if return_id:
                    line = found(1, sku="PALE-LAMP", refund_percent=percent)
                    assert (await inspect(shop, return_id, line)).status_code == 200
                case "refunded":
                    await shop.pay()
                case _:
                    pass
            if stage == ended_after:
                assert (await act(shop, other, "force-compensate")).status_code == 200
        await shop.pay()

        assert await shop.status(other) == "cancelled"
        # The armchairs were worth 1,900, whatever was given for them.
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_900
        assert (await shop.order(other))["payment"]["refunded_minor"] == max(0, price_minor - 1_900)
        if return_id:
            assert (await shop.get(f"/returns/{return_id}")).json()["status"] == "closed"

    async def test_are_not_exchanged_again(self, shop: Shop) -> None:
        _, other = await self._sent(shop, price_minor=1_900)
        wanted = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 1_900}]
        lamp = [{"sku": "PALE-LAMP", "quantity": 1}]

        again = await shop.post(
            f"/orders/{other}/returns", {"reason": "too-pale", "lines": lamp, "exchange_for": wanted}
        )

        assert (again.status_code, again.json()["code"]) == (409, "exchange-not-exchangeable")


class TestLabel:
    async def test_is_noted_until_the_goods_are_there(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await open_return(shop, order_id)
        body = {"carrier": "gull", "reference": "GULL-R-1"}

        labelled = await shop.post(f"/returns/{opened['id']}/label", body)
        await arrive(shop, opened["id"])
        late = await shop.post(f"/returns/{opened['id']}/label", body)

        assert (labelled.status_code, labelled.json()["label_reference"]) == (200, "GULL-R-1")
        assert (late.status_code, late.json()["code"]) == (409, "return-already-sent")
        assert "return.labelled" in await shop.published_types()


class TestWindow:
    async def test_closes_some_days_after_the_goods_arrived(self, database: FreshDatabase) -> None:
        async with Shop.open(database, return_window_days=14) as shop:
            order_id = await shop.place()
            await shop.settle(order_id)
            body = {"reason": "too-crunchy", "lines": [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 1}]}
            # It arrives two days after it was placed.
            shop.clock.advance(timedelta(days=16))
            in_time = await shop.post(f"/orders/{order_id}/returns", {**body, "reason_code": "does-not-fit"})
            shop.clock.advance(timedelta(seconds=1))
            late = await shop.post(f"/orders/{order_id}/returns", body)

            assert (in_time.status_code, in_time.json()["reason_code"]) == (201, "does-not-fit")
            assert (late.status_code, late.json()["code"]) == (409, "return-window-closed")


async def exchange(shop: Shop, order_id: UUID, *, price_minor: int, token: str | None = None) -> dict[str, Any]:
    lines = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": price_minor}]
    response = await shop.post(
        f"/orders/{order_id}/returns",
        {"reason": "too-crunchy", "lines": ARMCHAIRS, "exchange_for": lines, "payment_token": token},
    )
    assert response.status_code == 201, response.text
    opened: dict[str, Any] = response.json()
    return opened


async def send_lamp(shop: Shop, order_id: UUID) -> None:
    """Let a lamp that was wanted instead leave, and be paid for as far as it costs more."""
    lamp = [Allocation(warehouse="leeds", sku="PALE-LAMP", quantity=1)]
    await shop.tell(StockReserved(order_id=order_id, allocations=lamp, decision_id=uuid4()))
    await shop.pay()
    ids = {"shipment_id": uuid4(), "order_id": order_id}
    await shop.tell(ShipmentDispatched(**ids, warehouse="leeds", lines=[], dispatched_at=NOW, tracking_number="GULL-5"))
    await shop.pay()
