import json
from typing import Any

from services.inventory.domain.strategies import AllocationPolicy, ShippingCost, Strategy
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, approved, picked, received


class TestStrategies:
    async def test_serve_where_stock_lasts_longest_by_what_left_each_warehouse(self, shop: Shop) -> None:
        shop.allocation = AllocationPolicy(strategy=Strategy.BALANCE_COVER)
        order = approved((ARMCHAIR, 1))
        await shop.reports(received(50), received(10, at="GLA"), picked(30), picked(1, at="GLA"))

        await shop.orders(order)

        [decision] = await _decisions(shop)
        assert (decision["chosen"], decision["rule"]) == ("GLA", "balance-cover/1")
        # A week at least is looked at: 20 left where 30 a week go, and 9 where one a week does.
        assert [(one["option"], one["details"]["cover_left"]) for one in decision["alternatives"]] == [
            ("GLA", 56.0),
            ("LON", 4.4),
        ]

    async def test_are_those_of_the_channel_also_for_orders_that_had_to_wait(self, shop: Shop) -> None:
        shop.allocation = AllocationPolicy(
            strategy_by_channel={"marketplace": Strategy.CHEAPEST}, costs={"GLA": ShippingCost(parcel_minor=900)}
        )
        order = approved((ARMCHAIR, 1), channel="marketplace")
        await shop.orders(order)

        await shop.reports(received(1, at="GLA"), received(1))

        decision = (await _decisions(shop))[-1]
        assert (decision["chosen"], decision["rule"]) == ("LON", "cheapest/1")
        assert [(one["option"], one["score"]) for one in decision["alternatives"]] == [("LON", 0.0), ("GLA", 900.0)]


async def _decisions(shop: Shop) -> list[dict[str, Any]]:
    rows = await shop.rows("SELECT record::text AS record FROM decisions ORDER BY id")
    return [json.loads(row["record"]) for row in rows]
