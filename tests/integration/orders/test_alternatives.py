"""What orders that are short could have instead: kept as it was told, and passed on."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.events.base import Event
from libs.common.events.inventory import StockBackordered, StockPartlyReserved, StockRejected
from libs.common.events.orders import OrderBackordered, OrderRefused, OrderReserved
from libs.common.events.shapes import Allocation, AlternativeSku, Shortage, SkuQuantity
from services.orders.domain.webhooks import payload_of
from tests.integration.orders.shop import Shop
from tests.support.kafka import envelope_of

MIRROR = AlternativeSku(
    sku="SMUG-MIRROR",
    price_minor=450,
    currency="GBP",
    available=7,
    score=0.91,
    reason="same category, 10 % cheaper; 7 free",
)
SHORT = Shortage(sku="OMINOUS-MIRROR", requested=3, available=1, alternatives=[MIRROR])
HELD = [Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=3)]
MISSING = [SkuQuantity(sku="OMINOUS-MIRROR", quantity=2)]


def rejected(order_id: UUID) -> Event:
    return StockRejected(order_id=order_id, reason="insufficient-stock", shortages=[SHORT])


def backordered(order_id: UUID) -> Event:
    return StockBackordered(order_id=order_id, shortages=[SHORT])


def in_part(order_id: UUID) -> Event:
    return StockPartlyReserved(order_id=order_id, allocations=HELD, shortages=[SHORT], missing=MISSING)


async def shown(shop: Shop, order_id: UUID) -> Any:
    return (await shop.order(order_id)).get("shortages")


class TestAlternatives:
    @pytest.mark.parametrize(
        ("tell", "status", "kind"),
        [
            (rejected, "refused", OrderRefused),
            (backordered, "backordered", OrderBackordered),
            (in_part, "reserved", OrderReserved),
        ],
        ids=["refused", "waiting", "in part"],
    )
    async def test_are_told_wherever_the_order_is_read(
        self, shop: Shop, tell: Any, status: str, kind: type[Event]
    ) -> None:
        order_id = await shop.place(on_shortage="split")

        await shop.tell(tell(order_id))

        [told] = [one for one in await shop.published() if isinstance(one.event, kind)]
        expected = msgspec.to_builtins([SHORT])
        assert msgspec.to_builtins(told.event)["shortages"] == expected
        assert msgspec.json.decode(payload_of(told))["data"]["shortages"] == expected
        del expected[0]["expected_at"]
        order = await shop.order(order_id)
        assert (order["status"], order["shortages"]) == (status, expected)
        last = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"][-1]
        assert (last["stage"], last["shortages"]) == (status, expected)

    async def test_are_not_shown_of_an_order_that_has_all_of_it(self, shop: Shop) -> None:
        waiting, parted = await shop.place(), await shop.place(on_shortage="split")
        await shop.tell(backordered(waiting), in_part(parted))

        await shop.reserve(waiting)
        await shop.reserve(parted)

        assert await shown(shop, waiting) is None
        assert await shown(shop, parted) is None
        told = [one for one in (await shop.get(f"/orders/{waiting}/timeline")).json()["items"] if "shortages" in one]
        assert [one["stage"] for one in told] == ["backordered"]

    async def test_are_those_that_were_told_last(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.tell(backordered(order_id))
        await shop.reserve(order_id)

        gone = StockBackordered(order_id=order_id, shortages=[Shortage(sku="A", requested=2, available=1)])
        await shop.deliver([envelope_of(gone, aggregate_version=9)])

        assert await shown(shop, order_id) == [{"sku": "A", "requested": 2, "available": 1, "alternatives": []}]

    async def test_cost_an_order_that_is_served_no_row(self, shop: Shop) -> None:
        order_id = await shop.place()

        await shop.reserve(order_id)

        assert await shop.count("SELECT count(*) FROM order_shortages WHERE order_id = $1", order_id) == 0
