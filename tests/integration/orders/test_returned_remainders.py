"""What left as the remainder of an order that was called off comes back for what was paid for it."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from libs.common.db.migrations import downgrade, upgrade
from libs.common.events.inventory import StockPartlyReserved, StockRejected
from libs.common.events.logistics import ShipmentCancelled, ShipmentFailed
from services.orders.bootstrap import SERVICE
from services.orders.domain.remainders import remainder_id
from tests.integration.orders.shop import NOW, ORDER, TOTAL_MINOR, Shop, shipment_id
from tests.integration.orders.test_money import act
from tests.integration.orders.test_returns import arrive, exchange, found, inspect, send_lamp
from tests.integration.orders.test_shortage import HELD, MISSING, MISSING_MINOR, divided, restock, send
from tests.support.postgres import FreshDatabase

MIGRATIONS = SERVICE.migrations
MIRRORS = [{"sku": "OMINOUS-MIRROR", "quantity": 2}]


async def call_off(shop: Shop, order_id: UUID) -> None:
    await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
    parcel = shipment_id(order_id, "leeds")
    stopped = ShipmentCancelled(shipment_id=parcel, order_id=order_id, reason="called-off")
    await shop.tell(stopped)
    assert await shop.status(order_id) == "cancelled"


async def of_which_only_the_rest_left(shop: Shop) -> UUID:
    """Return an order that was called off after what had been missing of it left."""
    order_id, remainder = await divided(shop)
    await shop.plan(order_id, "leeds")
    await restock(shop, remainder)
    await send(shop, remainder)
    await call_off(shop, order_id)
    return order_id


async def announce(shop: Shop, order_id: UUID, lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    response = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-heavy", "lines": lines, **more})
    assert response.status_code == 201, response.text
    opened: dict[str, Any] = response.json()
    return opened


async def receive(shop: Shop, opened: dict[str, Any], units: int) -> None:
    line = {"sku": "OMINOUS-MIRROR", "quantity": units, "restock_quantity": units}
    response = await shop.post(f"/returns/{opened['id']}/receipt", {"warehouse": "leeds", "lines": [line]})
    assert response.status_code == 200, response.text


async def money(shop: Shop, order_id: UUID) -> tuple[int, int, int]:
    await shop.pay()
    payment = (await shop.order(order_id))["payment"]
    assert sum((await shop.get(f"/orders/{order_id}/ledger")).json()["balances"].values()) == 0
    return payment["captured_minor"], payment["refunded_minor"], payment["voided_minor"]


class TestReturn:
    async def test_gives_back_what_was_paid_for_it_once(self, shop: Shop) -> None:
        order_id = await of_which_only_the_rest_left(shop)
        await shop.pay()

        opened = await announce(shop, order_id, MIRRORS)
        again = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-heavy", "lines": MIRRORS})
        await receive(shop, opened, 2)

        assert opened["refund_minor"] == MISSING_MINOR
        assert (again.status_code, again.json()["code"]) == (409, "return-exceeds-order")
        assert await money(shop, order_id) == (MISSING_MINOR, MISSING_MINOR, TOTAL_MINOR - MISSING_MINOR)
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "closed"

    async def test_is_of_nothing_that_never_left(self, shop: Shop) -> None:
        order_id = await of_which_only_the_rest_left(shop)

        chair = [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 1}]
        refused = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-heavy", "lines": chair})

        assert (refused.status_code, refused.json()["code"]) == (409, "return-exceeds-order")

    async def test_needs_a_rest_that_has_left(self, shop: Shop) -> None:
        order_id, _ = await divided(shop)
        await shop.plan(order_id, "leeds")
        await call_off(shop, order_id)

        refused = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-heavy", "lines": MIRRORS})

        assert (refused.status_code, refused.json()["code"]) == (409, "order-not-shipped")

    @pytest.mark.parametrize("capture_at", ["each-dispatch", "first-dispatch"])
    async def test_received_before_the_capture_leaves_nothing_with_the_shop(
        self, database: FreshDatabase, capture_at: str
    ) -> None:
        async with Shop.open(database, capture_at=capture_at) as shop:
            order_id = await of_which_only_the_rest_left(shop)
            await receive(shop, await announce(shop, order_id, MIRRORS), 2)

            captured, refunded, voided = await money(shop, order_id)

            assert captured == refunded
            assert captured + voided == TOTAL_MINOR

    @pytest.mark.parametrize("capture_at", ["each-dispatch", "first-dispatch", "last-dispatch"])
    @pytest.mark.parametrize("is_upgraded", [False, True])
    async def test_leaves_nothing_with_the_shop_though_the_order_itself_is_captured_later(
        self,
        database: FreshDatabase,
        capture_at: str,
        is_upgraded: bool,  # noqa: FBT001
    ) -> None:
        async with Shop.open(database, capture_at=capture_at) as shop:
            order_id, remainder = await divided(shop)
            await shop.plan(order_id, "leeds")
            await send(shop, order_id)
            await restock(shop, remainder)
            await send(shop, remainder)
            await act(shop, order_id, "force-compensate")
            await receive(shop, await announce(shop, order_id, MIRRORS), 2)
            if is_upgraded:
                # By a version that did not keep what came back.
                assert MIGRATIONS is not None
                await downgrade(database, directory=MIGRATIONS, revision="0030")
                await upgrade(database, directory=MIGRATIONS, revision="head")

            assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR, 0)

    @pytest.mark.parametrize("turns", list(permutations(["order", "exchange", "return"])))
    async def test_is_of_the_rest_alone_when_goods_sent_for_others_came_back_and_both_orders_ended(
        self, shop: Shop, turns: Sequence[str]
    ) -> None:
        order_id, remainder = await divided(shop)
        await shop.plan(order_id, "leeds")
        await send(shop, order_id, arrives=False)
        await restock(shop, remainder)
        await send(shop, remainder)
        await shop.pay()
        opened = await exchange(shop, order_id, price_minor=500)
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])
        await send_lamp(shop, other)
        sent_back = await announce(shop, other, [{"sku": "PALE-LAMP", "quantity": 1}])
        await arrive(shop, sent_back["id"], 1, sku="PALE-LAMP")

        for turn in turns:
            if turn == "return":
                inspected = await inspect(shop, sent_back["id"], found(1, sku="PALE-LAMP", refund_percent=60))
                assert inspected.status_code == 200
            else:
                await act(shop, order_id if turn == "order" else other, "force-compensate")
            await shop.pay()

        assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR - MISSING_MINOR, 0)
        await receive(shop, await announce(shop, order_id, MIRRORS), 2)
        assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR, 0)

    @pytest.mark.parametrize("has_exchange_ended", [False, True])
    async def test_is_of_the_rest_alone_when_own_goods_were_exchanged_before_the_end(
        self,
        shop: Shop,
        has_exchange_ended: bool,  # noqa: FBT001
    ) -> None:
        order_id, remainder = await divided(shop)
        await shop.plan(order_id, "leeds")
        await send(shop, order_id, arrives=False)
        await restock(shop, remainder)
        await send(shop, remainder)
        await shop.pay()
        opened = await exchange(shop, order_id, price_minor=500)
        await arrive(shop, opened["id"])
        other = (await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"]
        await act(shop, order_id, "force-compensate")
        assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR - MISSING_MINOR, 0)

        if has_exchange_ended:
            await shop.post(f"/orders/{other}/cancellation", {"reason": "changed-mind"})
            assert await shop.status(UUID(other)) == "cancelled"
            assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR - MISSING_MINOR, 0)

        await receive(shop, await announce(shop, order_id, MIRRORS), 2)
        assert await money(shop, order_id) == (TOTAL_MINOR, TOTAL_MINOR, 0)

    async def test_is_worth_what_can_be_charged_for_it(self, shop: Shop) -> None:
        mirrors = {"sku": "OMINOUS-MIRROR", "quantity": 3, "unit_price_minor": 501}
        order_id, remainder = await divided(shop, currency="KWD", lines=[ORDER["lines"][0], mirrors])
        await shop.plan(order_id, "leeds")
        await restock(shop, remainder)
        await call_off(shop, order_id)
        # It left before logistics heard that it was called off too.
        await send(shop, remainder)

        opened = await announce(shop, order_id, MIRRORS)
        await receive(shop, opened, 2)

        # Of 1.002 dinars cards move 1.000: thousandths end in 0.
        assert (await money(shop, order_id))[:2] == (1_000, 1_000)
        assert (await shop.get(f"/returns/{opened['id']}")).json()["status"] == "closed"

    async def test_unit_by_unit_adds_up_to_what_was_paid_to_the_penny(self, shop: Shop) -> None:
        order_id = await shop.place(
            on_shortage="split", discounts=[{"code": "ODD", "amount_minor": 2}], total_minor=TOTAL_MINOR - 2
        )
        await shop.tell(StockPartlyReserved(order_id=order_id, allocations=HELD, shortages=[], missing=MISSING))
        await shop.pay()
        remainder = remainder_id(order_id)
        await shop.plan(order_id, "leeds")
        await restock(shop, remainder)
        await send(shop, remainder)
        await call_off(shop, order_id)

        for _ in range(2):
            opened = await announce(shop, order_id, [{"sku": "OMINOUS-MIRROR", "quantity": 1}])
            await receive(shop, opened, 1)

        captured, refunded, voided = await money(shop, order_id)
        assert captured == refunded > 0
        assert captured + voided == TOTAL_MINOR - 2

    async def test_and_the_refund_of_its_parcel_never_exceed_the_price(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await shop.plan(order_id, "leeds")
        await restock(shop, remainder)
        await send(shop, remainder, arrives=False)
        parcel = shipment_id(remainder, "leeds")
        await shop.tell(ShipmentFailed(shipment_id=parcel, order_id=remainder, reason="lost", failed_at=NOW))
        await call_off(shop, order_id)
        await receive(shop, await announce(shop, order_id, [{"sku": "OMINOUS-MIRROR", "quantity": 1}]), 1)

        too_much = await act(
            shop, remainder, "refund-parcel", shipment_id=str(parcel), refund_minor=MISSING_MINOR // 2 + 1
        )
        given_up = await act(shop, remainder, "refund-parcel", shipment_id=str(parcel))

        assert (too_much.status_code, too_much.json()["code"]) == (409, "action-not-possible")
        assert given_up.json()["refund_minor"] == MISSING_MINOR // 2
        assert await money(shop, order_id) == (MISSING_MINOR, MISSING_MINOR, TOTAL_MINOR - MISSING_MINOR)


class TestExchange:
    async def test_of_it_that_is_refused_is_money_again(self, shop: Shop) -> None:
        order_id = await of_which_only_the_rest_left(shop)
        await shop.pay()
        lamp = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 700}]
        opened = await announce(shop, order_id, MIRRORS, exchange_for=lamp)
        await arrive(shop, opened["id"], sku="OMINOUS-MIRROR")
        inspected = (await inspect(shop, opened["id"], found(2, sku="OMINOUS-MIRROR"))).json()
        assert await money(shop, order_id) == (MISSING_MINOR, MISSING_MINOR - 700, TOTAL_MINOR - MISSING_MINOR)

        other = UUID(inspected["exchange_order_id"])
        await shop.tell(StockRejected(order_id=other, reason="insufficient-stock", shortages=[]))

        assert await money(shop, order_id) == (MISSING_MINOR, MISSING_MINOR, TOTAL_MINOR - MISSING_MINOR)


class TestWindow:
    async def test_is_counted_from_the_arrival_of_the_rest(self, database: FreshDatabase) -> None:
        async with Shop.open(database, return_window_days=14) as shop:
            order_id, remainder = await divided(shop)
            await send(shop, order_id)
            await restock(shop, remainder)
            await send(shop, remainder, arrives=False)
            shop.clock.advance(timedelta(days=30))

            under_way = await shop.post(f"/orders/{order_id}/returns", {"reason": "too-heavy", "lines": MIRRORS})

            assert under_way.status_code == 201
