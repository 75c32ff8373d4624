"""What leaves a warehouse, as the ledger has it."""

from datetime import datetime, timedelta

import pytest

from services.inventory.domain.demand import DemandByPair, StockPair
from services.inventory.storage.demand import demand_of
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, adjusted, approved, dispatched, picked, received


def days(number: float) -> datetime:
    return NOON + timedelta(days=number)


async def demand(shop: Shop, *, periods: int = 4) -> DemandByPair:
    async with shop.database.transaction() as transaction:
        return await demand_of(transaction, [ARMCHAIR, MIRROR], until=NOON, period_days=7, periods=periods)


class TestDemand:
    async def test_is_what_was_shipped_or_picked_by_period_oldest_first(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(99, when=days(-60)), picked(5, when=days(-40)), picked(7, when=days(-27)))
        await shop.orders(order)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2), when=days(-1)))
        # Packed for an order, and lost: no demand either of them.
        await shop.reports(picked(2, order_id=order.order_id, when=days(-2)), adjusted(-9, when=days(-3)))

        found = await demand(shop)

        assert found == {StockPair(ARMCHAIR, "LON"): found[StockPair(ARMCHAIR, "LON")]}
        assert found[StockPair(ARMCHAIR, "LON")].units == (7, 0, 0, 2)
        assert found[StockPair(ARMCHAIR, "LON")].per_day == pytest.approx(9 / 28)

    async def test_of_a_short_history_is_spread_over_what_there_is_of_it(self, shop: Shop) -> None:
        await shop.reports(received(99, when=days(-14)), picked(14, when=days(-3)))

        assert (await demand(shop))[StockPair(ARMCHAIR, "LON")].per_day == pytest.approx(1.0)

    async def test_of_a_few_hours_is_spread_over_a_week(self, shop: Shop) -> None:
        await shop.reports(received(99, when=days(-0.1)), picked(14, when=days(-0.05)))

        assert (await demand(shop))[StockPair(ARMCHAIR, "LON")].per_day == pytest.approx(2.0)

    async def test_of_pairs_is_kept_apart_and_nothing_is_nothing(self, shop: Shop) -> None:
        await shop.reports(
            received(9, when=days(-9)), picked(2, at="MAN", when=days(-9)), received(9, MIRROR, when=days(-9))
        )

        assert set(await demand(shop)) == {StockPair(ARMCHAIR, "MAN")}
