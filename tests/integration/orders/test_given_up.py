"""What is paid back for a parcel that was given up is not paid back, or exchanged, again when its goods turn up."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.events.inventory import StockReserved
from libs.common.events.logistics import ShipmentDelivered, ShipmentFailed
from libs.common.events.shapes import Allocation
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, shipment_id
from tests.integration.orders.test_money import PARCELS_MINOR, act
from tests.integration.orders.test_returns import arrive, found, inspect
from tests.integration.orders.test_shortage import MISSING_MINOR, divided, restock, send

MIRRORS_MINOR = PARCELS_MINOR["lyon"]


async def shipped(shop: Shop) -> UUID:
    """Return an order that is paid and on its way."""
    order_id = await shop.place()
    await shop.ship(order_id)
    await shop.pay()
    return order_id


async def lose(shop: Shop, order_id: UUID) -> str:
    """Lose the parcel with the mirrors, and return its id."""
    parcel = shipment_id(order_id, "lyon")
    await shop.tell(ShipmentFailed(shipment_id=parcel, order_id=order_id, reason="lost", failed_at=NOW))
    return str(parcel)


async def with_a_lost_parcel(shop: Shop, **more: Any) -> UUID:
    """Return an order of which three mirrors were lost, paid back, and delivered all the same."""
    order_id = await shipped(shop)
    parcel = await lose(shop, order_id)
    assert (await act(shop, order_id, "refund-parcel", shipment_id=parcel, **more)).status_code == 200
    await shop.pay()
    await shop.arrive(order_id)
    return order_id


async def announce(shop: Shop, order_id: UUID, sku: str, units: int, **more: Any) -> dict[str, Any]:
    body = {"reason": "too-late", "lines": [{"sku": sku, "quantity": units}], **more}
    response = await shop.post(f"/orders/{order_id}/returns", body)
    assert response.status_code == 201, response.text
    opened: dict[str, Any] = response.json()
    return opened


async def refunded(shop: Shop, order_id: UUID) -> int:
    await shop.pay()
    return int((await shop.order(order_id))["payment"]["refunded_minor"])


async def stage_of(shop: Shop, opened: dict[str, Any]) -> str:
    return str((await shop.get(f"/returns/{opened['id']}")).json()["status"])


class TestReturn:
    async def test_of_what_was_paid_back_is_worth_nothing_and_is_closed(self, shop: Shop) -> None:
        order_id = await with_a_lost_parcel(shop)

        opened = await announce(shop, order_id, "OMINOUS-MIRROR", 3)
        lines = [{"sku": "OMINOUS-MIRROR", "quantity": 3, "restock_quantity": 3}]
        await shop.post(f"/returns/{opened['id']}/receipt", {"warehouse": "lyon", "lines": lines})

        assert opened["refund_minor"] == 0
        assert await refunded(shop, order_id) == MIRRORS_MINOR
        assert await stage_of(shop, opened) == "closed"

    async def test_of_other_goods_is_worth_their_price(self, shop: Shop) -> None:
        order_id = await with_a_lost_parcel(shop)

        opened = await announce(shop, order_id, "CRUNCHY-ARMCHAIR", 2)
        await arrive(shop, opened["id"])
        await inspect(shop, opened["id"], found(2))

        assert await refunded(shop, order_id) == MIRRORS_MINOR + 1_900

    @pytest.mark.parametrize("units", [(3,), (1, 2), (1, 1, 1)])
    async def test_is_worth_what_was_not_paid_back_with_the_parcel(self, shop: Shop, units: tuple[int, ...]) -> None:
        order_id = await with_a_lost_parcel(shop, refund_minor=600)

        for some in units:
            opened = await announce(shop, order_id, "OMINOUS-MIRROR", some)
            lines = [{"sku": "OMINOUS-MIRROR", "quantity": some, "restock_quantity": 0}]
            await shop.post(f"/returns/{opened['id']}/receipt", {"warehouse": "lyon", "lines": lines})

        assert await refunded(shop, order_id) == MIRRORS_MINOR

    async def test_that_was_announced_before_is_worth_its_price(self, shop: Shop) -> None:
        order_id = await shipped(shop)
        opened = await announce(shop, order_id, "OMINOUS-MIRROR", 1)
        parcel = await lose(shop, order_id)
        given_up = await act(shop, order_id, "refund-parcel", shipment_id=parcel)

        lines = [{"sku": "OMINOUS-MIRROR", "quantity": 1, "restock_quantity": 1}]
        await shop.post(f"/returns/{opened['id']}/receipt", {"warehouse": "lyon", "lines": lines})

        assert given_up.json()["refund_minor"] == MIRRORS_MINOR - 500
        assert await refunded(shop, order_id) == MIRRORS_MINOR

    async def test_of_an_order_that_was_paid_back_whole_meanwhile_is_closed_without_money(self, shop: Shop) -> None:
        order_id = await shipped(shop)
        opened = await announce(shop, order_id, "CRUNCHY-ARMCHAIR", 2)
        await act(shop, order_id, "force-compensate")
        await arrive(shop, opened["id"])

        inspected = await inspect(shop, opened["id"], found(2))

        assert (inspected.status_code, inspected.json()["refund_minor"]) == (200, 0)
        assert await refunded(shop, order_id) == TOTAL_MINOR
        assert await stage_of(shop, opened) == "closed"


class TestExchange:
    async def test_is_not_had_for_what_was_paid_back(self, shop: Shop) -> None:
        order_id = await with_a_lost_parcel(shop)
        wanted = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 1_500}]
        body = {
            "reason": "too-late",
            "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 3}],
            "exchange_for": wanted,
        }

        refused = await shop.post(f"/orders/{order_id}/returns", body)

        assert (refused.status_code, refused.json()["code"]) == (422, "exchange-costs-more")

    async def test_is_not_made_for_what_an_operator_paid_back_meanwhile(self, shop: Shop) -> None:
        order_id = await shipped(shop)
        wanted = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 1_900}]
        opened = await announce(shop, order_id, "CRUNCHY-ARMCHAIR", 2, exchange_for=wanted)
        parcel = await lose(shop, order_id)
        all_of_it = await act(shop, order_id, "refund-parcel", shipment_id=parcel, refund_minor=TOTAL_MINOR)
        await arrive(shop, opened["id"])

        inspected = await inspect(shop, opened["id"], found(2))

        assert (all_of_it.status_code, inspected.status_code) == (200, 200)
        assert "exchange_order_id" not in inspected.json()
        assert await refunded(shop, order_id) == TOTAL_MINOR
        assert await stage_of(shop, opened) == "closed"

    async def test_leaves_that_much_less_to_pay_back(self, shop: Shop) -> None:
        order_id = await shipped(shop)
        wanted = [{"sku": "PALE-LAMP", "quantity": 1, "unit_price_minor": 1_900}]
        opened = await announce(shop, order_id, "CRUNCHY-ARMCHAIR", 2, exchange_for=wanted)
        await arrive(shop, opened["id"])
        await inspect(shop, opened["id"], found(2))
        parcel = await lose(shop, order_id)

        too_much, the_rest = [
            await act(shop, order_id, "refund-parcel", shipment_id=parcel, refund_minor=minor)
            for minor in (TOTAL_MINOR - 1_900 + 1, TOTAL_MINOR - 1_900)
        ]

        assert (too_much.status_code, the_rest.status_code) == (409, 200)
        assert await refunded(shop, order_id) == TOTAL_MINOR - 1_900


class TestRemainder:
    async def test_lost_is_paid_back_by_the_order_that_paid_for_it(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)
        await restock(shop, remainder)
        await send(shop, remainder, arrives=False)
        await shop.pay()
        parcel = str(shipment_id(remainder, "leeds"))

        too_much = await act(shop, remainder, "refund-parcel", shipment_id=parcel, refund_minor=TOTAL_MINOR + 1)
        given_up = await act(shop, remainder, "refund-parcel", shipment_id=parcel)
        again = await act(shop, remainder, "refund-parcel", shipment_id=parcel)

        assert (too_much.status_code, too_much.json()["code"]) == (409, "action-not-possible")
        assert (given_up.status_code, given_up.json()["refund_minor"]) == (200, MISSING_MINOR)
        assert again.status_code == 409
        assert await refunded(shop, order_id) == MISSING_MINOR
        assert [await shop.status(one) for one in (order_id, remainder)] == ["settled", "settled"]
        assert sum((await shop.get(f"/orders/{order_id}/ledger")).json()["balances"].values()) == 0

        # It turns up, and comes back: to the order that paid for it, and for nothing.
        elsewhere = await shop.post(
            f"/orders/{remainder}/returns",
            {"reason": "too-late", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]},
        )
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "returned-to-origin")
        assert (await announce(shop, order_id, "OMINOUS-MIRROR", 1))["refund_minor"] == 500
        assert (await announce(shop, order_id, "OMINOUS-MIRROR", 2))["refund_minor"] == 0

    async def test_is_paid_back_by_what_is_in_each_of_its_parcels(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await send(shop, order_id)
        places = ("leeds", "lyon")
        one_each = [Allocation(warehouse=place, sku="OMINOUS-MIRROR", quantity=1) for place in places]
        await shop.tell(StockReserved(order_id=remainder, allocations=one_each, decision_id=uuid4()))
        await shop.dispatch(remainder, *places)
        await shop.pay()

        given_up = await act(shop, remainder, "refund-parcel", shipment_id=str(shipment_id(remainder, "lyon")))
        ids = {"shipment_id": shipment_id(remainder, "leeds"), "order_id": remainder}
        await shop.tell(ShipmentDelivered(**ids, delivered_at=NOW))

        assert given_up.json()["refund_minor"] == 500
        assert await refunded(shop, order_id) == 500
        assert [await shop.status(one) for one in (order_id, remainder)] == ["settled", "settled"]

    async def test_of_an_order_that_was_called_off_is_paid_back_once(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)
        await restock(shop, remainder)
        await send(shop, remainder, arrives=False)
        await shop.pay()
        await act(shop, order_id, "force-compensate")
        await act(shop, remainder, "refund-parcel", shipment_id=str(shipment_id(remainder, "leeds")))

        assert await refunded(shop, order_id) == MISSING_MINOR
        payment = (await shop.order(order_id))["payment"]
        assert payment["captured_minor"] == MISSING_MINOR
        assert payment["voided_minor"] == TOTAL_MINOR - MISSING_MINOR
