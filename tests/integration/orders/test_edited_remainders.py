"""Of orders that were divided, what has not left is edited; what was missing of them goes its own way."""

from uuid import UUID, uuid4

import pytest

from libs.common.events.inventory import StockBackordered
from libs.common.events.logistics import ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentFailed
from libs.common.events.orders import OrderEditRequested
from libs.common.events.shapes import Allocation, SkuQuantity
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, shipment_id
from tests.integration.orders.test_edits import ELSEWHERE, change, edit, edits_of, money_of, recalled, stock
from tests.integration.orders.test_money import act
from tests.integration.orders.test_returns import arrive, exchange, found, inspect
from tests.integration.orders.test_shortage import MISSING_MINOR, backordered, divided, restock, send

# Of three chairs and one mirror, while two mirrors more are waited for.
ONE_CHAIR_LESS = {"reason": "one chair less", "lines": [{"line": 1, "quantity": 1}]}
FEWER_HELD = [
    Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=2),
    Allocation(warehouse="leeds", sku="OMINOUS-MIRROR", quantity=1),
]


async def planned(shop: Shop) -> tuple[UUID, UUID]:
    order_id, remainder = await divided(shop)
    await shop.tell(backordered(remainder))
    await shop.plan(order_id, "leeds")
    return order_id, remainder


async def edit_one_chair(shop: Shop, order_id: UUID) -> None:
    edit_id = await recalled(shop, order_id, ONE_CHAIR_LESS)
    await shop.tell(ShipmentCancelled(shipment_id=shipment_id(order_id, "leeds"), order_id=order_id, reason="edited"))
    await change(shop, order_id, edit_id, *FEWER_HELD)


async def ship_anew(shop: Shop, order_id: UUID) -> None:
    ids = {"shipment_id": uuid4(), "order_id": order_id}
    await shop.tell(
        ShipmentDispatched(**ids, warehouse="leeds", lines=[], dispatched_at=NOW, tracking_number="GULL-2"),
        ShipmentDelivered(**ids, delivered_at=NOW),
    )
    await shop.pay()


class TestOwnUnits:
    async def test_are_edited_once_inventory_knows_which_they_are(self, shop: Shop) -> None:
        order_id, remainder = await divided(shop)

        early = await edit(shop, order_id, ONE_CHAIR_LESS)
        await shop.tell(backordered(remainder))
        late = await edit(shop, order_id, ONE_CHAIR_LESS)

        assert (early.status_code, early.json()["code"]) == (409, "remainder-pending")
        assert late.status_code == 202

    async def test_are_edited_while_the_rest_is_waited_for(self, shop: Shop) -> None:
        order_id, remainder = await planned(shop)

        await edit_one_chair(shop, order_id)

        [asked] = [one.event for one in await shop.published() if isinstance(one.event, OrderEditRequested)]
        assert asked.lines == [
            SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=2),
            SkuQuantity(sku="OMINOUS-MIRROR", quantity=1),
        ]
        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"]) == ("confirmed", TOTAL_MINOR - 1_000)
        assert (await shop.order(remainder))["lines"][0]["quantity"] == 2
        await ship_anew(shop, order_id)
        assert (await money_of(shop, order_id))["captured"] == TOTAL_MINOR - 1_000 - MISSING_MINOR
        await restock(shop, remainder)
        await send(shop, remainder)
        await shop.pay()
        assert await money_of(shop, order_id) == {"captured": TOTAL_MINOR - 1_000, "refunded": 0, "held": 0}
        assert [await shop.status(one) for one in (order_id, remainder)] == ["settled", "settled"]

    @pytest.mark.parametrize("is_called_off_first", [True, False])
    async def test_are_paid_for_without_what_never_comes(self, shop: Shop, is_called_off_first: bool) -> None:  # noqa: FBT001
        order_id, remainder = await planned(shop)
        if is_called_off_first:
            await shop.post(f"/orders/{remainder}/cancellation", {"reason": "changed-mind"})
        await edit_one_chair(shop, order_id)
        if not is_called_off_first:
            await shop.post(f"/orders/{remainder}/cancellation", {"reason": "changed-mind"})

        await ship_anew(shop, order_id)

        paid_minor = TOTAL_MINOR - 1_000 - MISSING_MINOR
        assert await money_of(shop, order_id) == {"captured": paid_minor, "refunded": 0, "held": 0}
        assert await shop.status(order_id) == "settled"

    async def test_go_with_the_rest_when_the_order_is_called_off_in_the_middle_of_an_edit(self, shop: Shop) -> None:
        order_id, remainder = await planned(shop)
        await recalled(shop, order_id, ONE_CHAIR_LESS)
        await shop.tell(
            ShipmentCancelled(shipment_id=shipment_id(order_id, "leeds"), order_id=order_id, reason="edited")
        )

        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        await shop.pay()

        assert [await shop.status(one) for one in (order_id, remainder)] == ["cancelled", "cancelled"]
        assert await edits_of(shop, order_id) == [("refused", "order-ended")]
        assert await money_of(shop, order_id) == {"captured": 0, "refunded": 0, "held": 0}


class TestUnitsOfTheRemainder:
    async def test_stay_on_their_line_which_is_named(self, shop: Shop) -> None:
        order_id, remainder = await planned(shop)

        response = await edit(shop, order_id, {"reason": "one mirror", "lines": [{"line": 2, "quantity": 1}]})

        assert (response.status_code, response.json()["code"]) == (409, "units-in-remainder")
        assert "line 2" in response.json()["detail"]
        assert str(remainder) in response.json()["detail"]

    async def test_are_not_all_that_is_left(self, shop: Shop) -> None:
        order_id, _ = await planned(shop)
        lines = [{"line": 1, "quantity": 0}, {"line": 2, "quantity": 2}, {"line": 3, "quantity": 0}]

        response = await edit(shop, order_id, {"reason": "the rest", "lines": lines})

        assert (response.status_code, response.json()["code"]) == (409, "nothing-besides-remainder")

    async def test_are_edited_neither_there_nor_here_once_they_have_left(self, shop: Shop) -> None:
        order_id, remainder = await planned(shop)
        there = await edit(shop, remainder, {"reason": "one", "lines": [{"line": 1, "quantity": 1}]})
        await restock(shop, remainder)
        await send(shop, remainder, arrives=False)

        here = await edit(shop, order_id, ONE_CHAIR_LESS)

        assert {one.json()["code"] for one in (there, here)} == {"order-not-editable"}
        assert f"comes of order {order_id}" in there.json()["detail"]
        assert "a parcel has left" in here.json()["detail"]

    async def test_stay_with_it_when_the_rest_of_the_order_is_lost_in_the_middle_of_an_edit(self, shop: Shop) -> None:
        order_id, _ = await planned(shop)
        await recalled(shop, order_id, ONE_CHAIR_LESS)
        await shop.deliver([stock(StockBackordered(order_id=order_id, shortages=[]), 5)])

        await shop.tell(
            ShipmentCancelled(shipment_id=shipment_id(order_id, "leeds"), order_id=order_id, reason="edited")
        )

        assert await shop.status(order_id) == "backordered"
        assert await edits_of(shop, order_id) == [("refused", "stock-moved")]


class TestLinesOfGoodsThatComeOfAnotherOrder:
    """A return, or a lost parcel, has settled what they are: an edit is refused before anything is asked of anybody."""

    async def test_are_not_edited_in_an_exchange(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await exchange(shop, order_id, price_minor=1_500)
        await arrive(shop, opened["id"])
        other = UUID((await inspect(shop, opened["id"], found(2))).json()["exchange_order_id"])

        await self._is_refused(shop, order_id, other)

    async def test_are_not_edited_in_a_replacement(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.ship(order_id)
        parcel = shipment_id(order_id, "lyon")
        await shop.tell(ShipmentFailed(shipment_id=parcel, order_id=order_id, reason="lost", failed_at=NOW))
        sent_again = await act(shop, order_id, "reship", shipment_id=str(parcel))

        await self._is_refused(shop, order_id, UUID(sent_again.json()["replacement_order_id"]))

    async def _is_refused(self, shop: Shop, order_id: UUID, other: UUID) -> None:
        before = await shop.order(other)
        refused = await edit(shop, other, {"reason": "two", "lines": [{"line": 1, "quantity": 9}]})

        assert (refused.status_code, refused.json()["code"]) == (409, "order-not-editable")
        assert f"comes of order {order_id}; call it off and place another" in refused.json()["detail"]
        assert await shop.order(other) == before
        moved = await edit(shop, other, {"reason": "moved", "ship_to": ELSEWHERE})
        assert moved.status_code == 200


class TestReturns:
    async def test_are_of_units_that_have_left(self, shop: Shop) -> None:
        order_id, remainder = await planned(shop)
        await ship_anew(shop, order_id)
        three = {"reason": "all", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 3}]}

        of_what_is_waited_for = await shop.post(f"/orders/{order_id}/returns", three)
        await shop.post(f"/orders/{remainder}/cancellation", {"reason": "changed-mind"})
        of_what_never_came = await shop.post(f"/orders/{order_id}/returns", three)
        of_what_came = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "one", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]}
        )

        for refused in (of_what_is_waited_for, of_what_never_came):
            assert (refused.status_code, refused.json()["code"]) == (409, "return-exceeds-order")
        assert of_what_came.status_code == 201
