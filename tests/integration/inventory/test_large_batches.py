"""Batches so large that their rows are written while the next ones are decided: whole, or not at all."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import asyncpg
import pytest

from libs.common.events.base import Event
from libs.common.events.inventory import StockBackordered, StockRejected, StockReserved
from libs.common.events.orders import OrderApproved
from services.inventory.handlers.ports import ReservationRaced
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    adjusted,
    approved,
    cancelled,
    envelope,
    minutes,
    received,
)

# More than decisions are recorded at a time, and more rows of everything than are written at once.
ORDERS = 1_200
_SKUS = tuple(f"PRINT-{number:03}" for number in range(250))

_BREAKING = """
CREATE FUNCTION break_writing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken on purpose'; END $$
"""
_BREAK = """
CREATE TRIGGER break_writing AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION break_writing()
"""
_REPAIR = "DROP FUNCTION break_writing CASCADE"


class TestLargeBatch:
    async def test_leaves_what_its_orders_would_leave_one_after_the_other(self, shop: Shop) -> None:
        # Of the armchairs there are enough for some, of mirrors for all, of lamps for none.
        await shop.reports(received(700), received(300, at="MAN"), received(5_000, MIRROR))
        orders = [_order(number) for number in range(ORDERS)]

        await shop.orders(*(envelope(order, at=minutes(number)) for number, order in enumerate(orders)))

        fates = {row["order_id"]: row["status"] for row in await shop.rows("SELECT order_id, status FROM reservations")}
        assert Counter(fates.values()) == {
            "held": len(await shop.announced(StockReserved)),
            "rejected": len(await shop.announced(StockRejected)),
            "waiting": len(await shop.announced(StockBackordered)),
        }
        assert len(fates) == ORDERS
        # Every answer is explained once.
        [decisions] = await shop.rows("SELECT count(*) AS all, count(DISTINCT subject) AS orders FROM decisions")
        assert (decisions["all"], decisions["orders"]) == (ORDERS, ORDERS)
        assert [fates[order.order_id] for order in orders[::10]] == ["rejected"] * (ORDERS // 10)
        # First come, first served: who wants armchairs gets them until there are none.
        served = [fates[order.order_id] == "held" for order in orders if order.lines[0].sku == ARMCHAIR]
        assert served == sorted(served, reverse=True)
        assert 0 < sum(served) < len(served)
        assert await shop.drift() == (0, 0)

    @pytest.mark.parametrize(
        "table", ["stock_levels", "stock_items", "reservations", "reservation_lines", "decisions", "outbox_events"]
    )
    async def test_leaves_nothing_if_any_of_it_cannot_be_written(self, shop: Shop, table: str) -> None:
        await shop.reports(*(received(9, sku) for sku in _SKUS))
        before, published = await shop.levels(), len(await shop.published())
        orders = [approved((_SKUS[number % len(_SKUS)], 1)) for number in range(600)]
        await shop.rows(_BREAKING)
        await shop.rows(_BREAK.format(table=table))

        with pytest.raises(asyncpg.RaiseError, match="broken on purpose"):
            await shop.orders(*orders)
        await shop.rows(_REPAIR)

        assert await shop.levels() == before
        assert len(await shop.published()) == published
        assert await shop.rows("SELECT FROM reservations UNION ALL SELECT FROM decisions") == []
        # What comes again has its whole effect.
        await shop.orders(*orders)
        assert len(await shop.announced(StockReserved)) == 600
        assert await shop.drift() == (0, 0)

    async def test_meets_others_who_move_the_same_levels(self, shop: Shop) -> None:
        await shop.reports(received(1_000), received(1_000, MIRROR), received(1_000, at="MAN"))
        orders = [_order(number) for number in range(ORDERS)]

        async def warehouse() -> None:
            for _ in range(5):
                await shop.reports(adjusted(-90), adjusted(-60, MIRROR))
                await shop.reports(received(40, LAMP))

        await asyncio.gather(*(shop.orders(*orders[start::3]) for start in range(3)), warehouse())
        await shop.continue_queues()

        assert await shop.drift() == (0, 0)
        levels = await shop.levels()
        assert all(reserved <= on_hand for on_hand, reserved, *_ in levels.values())
        [held] = await shop.rows("SELECT sum(quantity)::bigint AS units FROM reservation_lines")
        assert held["units"] == sum(reserved for _, reserved, *_ in levels.values())

    async def test_is_undone_if_others_call_its_orders_off_meanwhile(self, shop: Shop) -> None:
        await shop.reports(received(5_000))
        orders = [approved() for _ in range(600)]
        calls = [cancelled(order.order_id) for order in orders]
        batches: tuple[Sequence[Event], ...] = (orders, calls)

        # They meet in the rows of the reservations alone: who calls off what was never asked for locks no SKU.
        outcomes = await asyncio.gather(*(shop.orders(*batch) for batch in batches), return_exceptions=True)
        for batch, outcome in zip(batches, outcomes, strict=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, ReservationRaced)
            if isinstance(outcome, ReservationRaced):
                # As the consumer does.
                await shop.orders(*batch)

        rows = await shop.rows("SELECT DISTINCT status FROM reservations")
        assert [row["status"] for row in rows] == ["released"]
        assert await shop.level(ARMCHAIR) == (5_000, 0)
        assert await shop.drift() == (0, 0)

    async def test_comes_twice_and_has_one_effect(self, shop: Shop) -> None:
        await shop.reports(received(5_000))
        batch = [envelope(approved()) for _ in range(600)]

        for _ in range(2):
            await shop.orders(*batch)

        assert await shop.level(ARMCHAIR) == (5_000, 600)
        assert len(await shop.announced(StockReserved)) == 600


def _order(number: int) -> OrderApproved:
    lines: Sequence[tuple[str, int]] = ((ARMCHAIR, 2), (MIRROR, 1)) if number % 3 else ((MIRROR, 1),)
    if number % 10 == 0:
        return approved((LAMP, 1), *lines, on_shortage="refuse")
    return approved(*lines)
