from datetime import date, timedelta
from uuid import uuid4

from libs.common.clock import FixedClock
from libs.common.events.inventory import StockLevelChanged
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    MIRROR,
    NOON,
    approved,
    counted,
    dispatched,
    envelope,
    minutes,
    picked,
    received,
    written_off,
)


def day(number: int) -> date:
    return NOON.date() + timedelta(days=number)


async def track(shop: Shop, sku: str = ARMCHAIR, *, shelf_life_days_min: int = 0) -> None:
    policy = StockPolicy(tracks_lots=True, shelf_life_days_min=shelf_life_days_min)
    async with shop.database.transaction() as transaction:
        await put_stock_policy(sku, policy, tools=shop.adapters.tools_of(transaction))


async def pass_days(shop: Shop, days: int) -> int:
    """Let days go by, and block what expires; return in how many transactions."""
    shop.clock = FixedClock(NOON + timedelta(days=days))
    for steps in range(100):
        async with shop.database.transaction() as transaction:
            if await block_expired_lots(shop.adapters.tools_of(transaction)) is None:
                return steps
    raise AssertionError("there is no end to it")


async def lots(shop: Shop, sku: str = ARMCHAIR) -> dict[str, tuple[int, bool]]:
    rows = await shop.rows("SELECT lot, units, is_blocked FROM stock_lots WHERE sku = $1 ORDER BY lot", sku)
    return {row["lot"]: (row["units"], row["is_blocked"]) for row in rows}


async def blocked(shop: Shop, sku: str = ARMCHAIR) -> int:
    [row] = await shop.rows("SELECT sum(blocked) AS units FROM stock_levels WHERE sku = $1", sku)
    return int(row["units"])


class TestLots:
    async def test_follow_the_ledger(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(5, lot="B", expires_on=day(30)))

        await shop.reports(picked(6, when=minutes(1)), counted(3, when=minutes(2)))

        assert await lots(shop) == {"B": (3, False)}

    async def test_are_the_same_in_whatever_order_reports_come(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(picked(2, when=minutes(10)))
        await shop.reports(counted(8, when=minutes(20)))
        await shop.reports(received(5, lot="B", expires_on=day(30), when=minutes(1)))

        await shop.reports(received(5, lot="A", expires_on=day(3), when=minutes(2)))

        assert await lots(shop) == {"A": (3, False), "B": (5, False)}

    async def test_are_required_of_what_arrives(self, shop: Shop) -> None:
        await track(shop)
        bad, good = envelope(received(5)), envelope(received(5, lot="A", expires_on=day(3)))

        await shop.reports(bad, good)

        assert shop.refusals == {bad.id: "lot: Units of this SKU arrive with their lot and the day it expires."}
        assert await shop.level(ARMCHAIR) == (5, 0)

    async def test_are_not_kept_of_skus_that_do_not_track_them(self, shop: Shop) -> None:
        await shop.reports(received(5, lot="A", expires_on=day(-3)))

        assert await lots(shop) == {}
        assert await blocked(shop) == 0

    async def test_of_before_are_known_once_a_sku_tracks_them(self, shop: Shop) -> None:
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(2))

        await track(shop)

        assert await lots(shop) == {"": (2, False), "A": (5, False)}

    async def test_leave_with_the_parcel_they_were_packed_into(self, shop: Shop) -> None:
        order_id = uuid4()
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(5, lot="B", expires_on=day(30)))
        await shop.orders(approved((ARMCHAIR, 2), order_id=order_id))
        await shop.reports(picked(2, when=minutes(1), order_id=order_id, lot="B"))

        await shop.orders(dispatched(order_id, (ARMCHAIR, 2), when=minutes(2)))

        assert await lots(shop) == {"A": (5, False), "B": (3, False)}


class TestExpiry:
    async def test_blocks_units_that_are_not_promised_any_more(self, shop: Shop) -> None:
        await track(shop, shelf_life_days_min=2)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(4, lot="B", expires_on=day(30)))

        assert await pass_days(shop, 1) == 0
        assert await pass_days(shop, 2) == 1

        assert await lots(shop) == {"A": (5, True), "B": (4, False)}
        [level] = (await shop.announced(StockLevelChanged))[-1].levels
        assert (level.on_hand, level.withheld) == (9, 5)
        order = approved((ARMCHAIR, 5))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

    async def test_moves_what_holds_expired_units_to_good_ones(self, shop: Shop) -> None:
        held_here, elsewhere = uuid4(), uuid4()
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)))
        await shop.orders(envelope(approved((ARMCHAIR, 5), order_id=held_here), at=minutes(1)))
        await shop.reports(received(5, at="MAN", lot="B", expires_on=day(30)))

        await pass_days(shop, 4)

        reservation = await shop.reservation(held_here)
        assert reservation is not None
        assert [(line.warehouse, line.quantity) for line in reservation.lines if line.quantity] == [("MAN", 5)]
        await shop.orders(envelope(approved((ARMCHAIR, 1), order_id=elsewhere), at=minutes(2)))
        assert await shop.status(elsewhere) == "waiting"

    async def test_is_over_with_a_write_off(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(4, lot="B", expires_on=day(30)))
        await pass_days(shop, 4)

        await shop.reports(written_off(5, when=shop.clock.now()))

        assert await lots(shop) == {"B": (4, False)}
        assert ("write-off", -5) in await shop.ledger(ARMCHAIR)
        assert (await shop.level(ARMCHAIR), await blocked(shop)) == ((4, 0), 0)

    async def test_of_what_arrives_expired_blocks_it_at_once(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await track(shop)
        await shop.orders(order)

        await shop.reports(received(5, lot="A", expires_on=day(-1)))

        assert await shop.status(order.order_id) == "waiting"

    async def test_follows_the_policy(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await track(shop, shelf_life_days_min=10)
        await shop.reports(received(5, lot="A", expires_on=day(9)))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await track(shop, shelf_life_days_min=9)

        assert await shop.status(order.order_id) == "held"

    async def test_leaves_other_skus_alone(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, MIRROR), received(5, lot="A", expires_on=day(3)))

        await pass_days(shop, 10)

        assert await blocked(shop, MIRROR) == 0
