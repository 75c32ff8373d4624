import random
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import (
    GoodsReceived,
    GoodsWrittenOff,
    StockLevelChanged,
    TransferDispatched,
    TransferReceived,
    WarehouseLevel,
)
from libs.common.events.topics import INVENTORY_STOCK
from services.inventory.domain.stock_events import report_of
from tests.integration.inventory.shop import Shop
from tests.support.postgres import FreshDatabase, empty
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    NOON,
    adjusted,
    approved,
    counted,
    dispatched,
    envelope,
    minutes,
    picked,
    received,
)


class TestReports:
    async def test_change_the_level_and_stand_in_the_ledger(self, shop: Shop) -> None:
        await shop.reports(received(10), picked(2), adjusted(-1))

        assert await shop.level(ARMCHAIR) == (7, 0)
        assert await shop.ledger(ARMCHAIR) == [("receipt", 10), ("pick", -2), ("adjust", -1)]

    async def test_have_one_effect_however_often_they_come(self, shop: Shop) -> None:
        arrival = envelope(received(10))

        await shop.reports(arrival, arrival)
        await _forget_inbox(shop)
        await shop.reports(arrival)

        assert await shop.level(ARMCHAIR) == (10, 0)

    async def test_publish_the_whole_state_of_each_sku_once_a_transaction(self, shop: Shop) -> None:
        await shop.reports(received(10), received(5, at="MAN"), picked(2), received(1, MIRROR))
        await shop.reports(picked(1))

        events = await shop.published(INVENTORY_STOCK)

        assert [(one.event.subject, one.aggregate_version) for one in events] == [
            (ARMCHAIR, 1),
            (MIRROR, 1),
            (ARMCHAIR, 2),
        ]
        assert events[2].event == StockLevelChanged(
            sku=ARMCHAIR,
            levels=[
                WarehouseLevel(warehouse="LON", on_hand=7, reserved=0),
                WarehouseLevel(warehouse="MAN", on_hand=5, reserved=0),
            ],
        )

    async def test_of_an_order_being_packed_leave_the_units_on_hand_until_they_ship(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 2))
        await shop.reports(received(5))
        await shop.orders(order)

        await shop.reports(picked(2, order_id=order.order_id))
        assert await shop.level(ARMCHAIR) == (5, 2)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2)))

        assert await shop.level(ARMCHAIR) == (3, 0)
        assert await shop.ledger(ARMCHAIR) == [("receipt", 5), ("pick", 0), ("ship", -2)]

    async def test_of_an_order_from_elsewhere_take_the_units(self, shop: Shop) -> None:
        await shop.reports(received(5), picked(2, order_id=uuid4()))

        assert await shop.level(ARMCHAIR) == (3, 0)

    @pytest.mark.parametrize(
        ("report", "field"),
        [
            pytest.param(received(0), "quantity", id="nothing arrived"),
            pytest.param(received(10**12), "quantity", id="more than there can be"),
            pytest.param(received(1, at="NOWHERE"), "warehouse", id="no such warehouse"),
            pytest.param(received(1, when=NOON - timedelta(days=3700)), "occurred_at", id="ten years ago"),
            pytest.param(received(1, when=NOON + timedelta(days=2)), "occurred_at", id="in the future"),
            pytest.param(adjusted(0), "delta", id="an adjustment of nothing"),
        ],
    )
    async def test_that_cannot_be_true_are_refused_by_name(self, shop: Shop, report: Event, field: str) -> None:
        impossible, _ = await shop.reports(report, received(5))

        assert shop.refusals[impossible.id].startswith(f"{field}: ")
        assert set(shop.refusals) == {impossible.id}
        assert await shop.level(ARMCHAIR) == (5, 0)


class TestShortfall:
    async def test_is_what_left_beyond_what_was_there(self, shop: Shop) -> None:
        await shop.reports(received(3))

        await shop.reports(picked(5))

        assert (await shop.levels())[ARMCHAIR, "LON"] == (0, 0, 0, 2)
        assert await shop.ledger(ARMCHAIR) == [("receipt", 3), ("pick", -5), ("shortfall", 2)]

    async def test_is_explained_by_the_arrival_that_comes_late(self, shop: Shop) -> None:
        await shop.reports(picked(5, when=minutes(10)))

        await shop.reports(received(8, when=minutes(0)))

        assert (await shop.levels())[ARMCHAIR, "LON"] == (3, 0, 0, 0)
        assert await shop.drift() == (0, 0)


class TestCounts:
    async def test_set_the_level_and_book_the_discrepancy(self, shop: Shop) -> None:
        await shop.reports(received(10))

        await shop.reports(counted(8, when=minutes(5)))

        assert await shop.level(ARMCHAIR) == (8, 0)
        assert await shop.ledger(ARMCHAIR) == [("receipt", 10), ("count", -2)]

    async def test_that_come_late_keep_what_happened_since(self, shop: Shop) -> None:
        await shop.reports(received(10, when=minutes(0)), picked(3, when=minutes(20)))

        await shop.reports(counted(9, when=minutes(10)))

        assert await shop.level(ARMCHAIR) == (6, 0)

    async def test_know_already_of_what_happened_before_them(self, shop: Shop) -> None:
        await shop.reports(counted(7, when=minutes(10)))

        await shop.reports(received(10, when=minutes(0)))

        assert await shop.level(ARMCHAIR) == (7, 0)
        assert await shop.drift() == (0, 0)

    async def test_are_overtaken_by_later_ones(self, shop: Shop) -> None:
        await shop.reports(counted(7, when=minutes(10)))

        await shop.reports(counted(99, when=minutes(5)))

        assert await shop.level(ARMCHAIR) == (7, 0)

    async def test_below_what_is_held_make_the_newest_order_wait(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 5))
        await shop.reports(received(5))
        await shop.orders(order)

        await shop.reports(counted(4, when=minutes(1)))

        assert await shop.level(ARMCHAIR) == (4, 0)
        assert await shop.status(order.order_id) == "waiting"


class TestTransfers:
    async def test_move_units_through_transit(self, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(received(10))

        await shop.reports(_sent(transfer_id, 4))
        assert (await shop.levels())[ARMCHAIR, "GLA"] == (0, 0, 4, 0)
        await shop.reports(_arrived(transfer_id, 3))

        assert (await shop.levels())[ARMCHAIR, "LON"] == (6, 0, 0, 0)
        assert (await shop.levels())[ARMCHAIR, "GLA"] == (3, 0, 1, 0)

    async def test_end_up_the_same_when_the_arrival_is_reported_first(self, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(received(10))

        await shop.reports(_arrived(transfer_id, 4))
        await shop.reports(_sent(transfer_id, 4))

        assert (await shop.levels())[ARMCHAIR, "LON"] == (6, 0, 0, 0)
        assert (await shop.levels())[ARMCHAIR, "GLA"] == (4, 0, 0, 0)


class TestAnyOrder:
    async def test_of_the_same_events_gives_the_same_levels(self, shop: Shop, database: FreshDatabase) -> None:
        chance = random.Random(20240601)  # noqa: S311 - a seed, not a secret
        events = [envelope(_some_report(chance), event_id=UUID(int=chance.getrandbits(128))) for _ in range(10_000)]
        events.sort(key=lambda one: report_of(one).occurred_at)
        await _report_in_batches(shop, events)
        in_order = await _bytes_of_levels(shop)

        # In any order, a third of them twice, and some only after others that happened three hours later.
        late = [one for one in events if report_of(one).occurred_at < minutes(420) and chance.random() < 0.05]
        held_back = {one.id for one in late}
        shuffled = [one for one in events if one.id not in held_back] + chance.sample(events, 3_300)
        chance.shuffle(shuffled)
        await empty(database)
        again = await Shop.open(database)
        await _report_in_batches(again, shuffled + late)

        assert await _bytes_of_levels(again) == in_order
        assert await again.drift() == (0, 0)


def _some_report(chance: random.Random) -> Event:
    sku = f"{chance.choice((ARMCHAIR, MIRROR, LAMP))}-{chance.randrange(10)}"
    warehouse = chance.choice(("LON", "MAN", "GLA"))
    when = minutes(chance.randrange(-600, 600))
    units = chance.randrange(1, 20)
    match chance.randrange(9):
        case 0 | 1 | 2:
            return received(units, sku, at=warehouse, when=when)
        case 3 | 4:
            return picked(units, sku, at=warehouse, when=when)
        case 5:
            return adjusted(chance.choice((-units, units)), sku, at=warehouse, when=when)
        case 6:
            return counted(units, sku, at=warehouse, when=when)
        case 7:
            return GoodsWrittenOff(sku=sku, warehouse=warehouse, occurred_at=when, quantity=units, reason="expired")
        case _:
            moved = _sent if chance.random() < 0.5 else _arrived
            return moved(UUID(int=chance.randrange(400)), units, sku=sku, when=when)


def _sent(transfer_id: UUID, quantity: int, sku: str = ARMCHAIR, when: datetime = NOON) -> TransferDispatched:
    return TransferDispatched(
        sku=sku, warehouse="LON", occurred_at=when, transfer_id=transfer_id, destination="GLA", quantity=quantity
    )


def _arrived(transfer_id: UUID, quantity: int, sku: str = ARMCHAIR, when: datetime = NOON) -> TransferReceived:
    return TransferReceived(sku=sku, warehouse="GLA", occurred_at=when, transfer_id=transfer_id, quantity=quantity)


async def _report_in_batches(shop: Shop, events: list[Envelope]) -> None:
    for start in range(0, len(events), 1_000):
        await shop.reports(*events[start : start + 1_000])


async def _bytes_of_levels(shop: Shop) -> str:
    rows = await shop.rows("SELECT stock_levels::text AS level FROM stock_levels ORDER BY sku, warehouse")
    return "\n".join(row["level"] for row in rows)


async def _forget_inbox(shop: Shop) -> None:
    await shop.rows("DELETE FROM inbox_events")


class TestUnitCost:
    async def test_stands_in_the_ledger_beside_its_receipt(self, shop: Shop) -> None:
        report = GoodsReceived(
            sku=ARMCHAIR, warehouse="LON", occurred_at=NOON, quantity=2, unit_cost_minor=499, currency="GBP"
        )

        await shop.reports(report)

        [row] = await shop.rows("SELECT unit_cost_minor, currency FROM stock_movements")
        assert tuple(row) == (499, "GBP")
