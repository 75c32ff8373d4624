import asyncio
from collections import Counter

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from libs.common.events.base import Envelope
from libs.common.events.inventory import StockReserved
from services.inventory.handlers.stock_events import apply_stock_events
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    adjusted,
    approved,
    cancelled,
    counted,
    envelope,
    minutes,
    received,
)


class TestLastUnit:
    async def test_is_held_by_one_of_two_orders_that_race_for_it(self, shop: Shop) -> None:
        one, other = approved(on_shortage="refuse"), approved(on_shortage="refuse")
        await shop.reports(received(1))

        await asyncio.gather(shop.orders(one), shop.orders(other))

        assert await shop.level(ARMCHAIR) == (1, 1)
        statuses = {await shop.status(one.order_id), await shop.status(other.order_id)}
        assert statuses == {"held", "rejected"}

    async def test_is_held_by_one_of_very_many(self, shop: Shop) -> None:
        orders = [approved(on_shortage="refuse") for _ in range(200)]
        await shop.reports(received(1))

        await asyncio.gather(*(shop.orders(*orders[start : start + 10]) for start in range(0, 200, 10)))

        assert await shop.level(ARMCHAIR) == (1, 1)
        assert len(await shop.announced(StockReserved)) == 1
        rows = await shop.rows("SELECT status FROM reservations")
        assert Counter(row["status"] for row in rows) == {"rejected": 199, "held": 1}

    async def test_is_not_forgotten_when_it_arrives_while_an_order_begins_to_wait(self, shop: Shop) -> None:
        for _ in range(20):
            order = approved()
            await asyncio.gather(shop.orders(order), shop.reports(received(1)))
            assert await shop.status(order.order_id) == "held"


class TestSameEventByBothWays:
    async def test_has_one_effect(self, shop: Shop) -> None:
        arrival = envelope(received(10))

        # Two groups of consumers have two inboxes; only the ledger knows that this is one event.
        await asyncio.gather(*(_report_without_inbox(shop, arrival) for _ in range(4)))

        assert await shop.level(ARMCHAIR) == (10, 0)


class TestReleaseAndReserve:
    async def test_at_once_leave_nothing_held(self, shop: Shop) -> None:
        await shop.reports(received(100))
        for _ in range(10):
            order = approved((ARMCHAIR, 2))
            outcomes = await asyncio.gather(
                shop.orders(order), shop.orders(cancelled(order.order_id)), return_exceptions=True
            )
            # Whoever lost the race for the row starts again, as the consumer does.
            for event, outcome in zip((order, cancelled(order.order_id)), outcomes, strict=True):
                if isinstance(outcome, Exception):
                    await shop.orders(event)

            assert await shop.status(order.order_id) == "released"
            assert await shop.level(ARMCHAIR) == (100, 0)


class TestCrossedLocks:
    async def test_of_orders_arrivals_and_counts_never_wait_in_a_circle(self, shop: Shop) -> None:
        skus = (ARMCHAIR, MIRROR, LAMP)
        await shop.reports(*(received(20, sku, at=at) for sku in skus for at in ("LON", "MAN")))

        async def customers(number: int) -> None:
            for step in range(8):
                first, second = skus[(number + step) % 3], skus[(number + step + 1) % 3]
                order = approved((first, 2), (second, 3))
                await shop.orders(order)
                if step % 2:
                    await shop.orders(cancelled(order.order_id))

        async def warehouse(number: int) -> None:
            for step in range(8):
                sku = skus[(number + step) % 3]
                await shop.reports(received(3, sku), adjusted(-4, skus[(number + step + 2) % 3]))
                await shop.reports(counted(6, sku, at="MAN", when=minutes(number * 10 + step)))

        await asyncio.gather(*(customers(number) for number in range(4)), *(warehouse(number) for number in range(3)))
        await shop.continue_queues()

        assert await shop.drift() == (0, 0)


class TestConstraints:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param("reserved = on_hand + 1", id="oversold"),
            pytest.param("reserved = -1", id="held less than nothing"),
            pytest.param("on_hand = -1, reserved = 0", id="less than nothing there"),
            pytest.param("shortfall = 1", id="missing and there at once"),
        ],
    )
    async def test_make_wrong_levels_impossible(self, shop: Shop, change: str) -> None:
        await shop.reports(received(1))

        with pytest.raises(asyncpg.CheckViolationError):
            await shop.rows(f"UPDATE stock_levels SET {change}")  # noqa: S608 - the parameters above

    @pytest.mark.parametrize(
        "statement", ["UPDATE stock_movements SET delta_on_hand = 0", "DELETE FROM stock_movements"]
    )
    async def test_make_the_ledger_append_only(self, shop: Shop, statement: str) -> None:
        await shop.reports(received(1))

        with pytest.raises((asyncpg.RestrictViolationError, DBAPIError), match="append-only"):
            await shop.rows(statement)


async def _report_without_inbox(shop: Shop, arrival: Envelope) -> None:
    async with shop.database.transaction() as transaction:
        await apply_stock_events([arrival], tools=shop.adapters.tools_of(transaction), age_years_max=10)
