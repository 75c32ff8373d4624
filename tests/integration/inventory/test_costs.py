import random
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsReceived, TransferDispatched, TransferReceived, WarehouseReport
from services.inventory.domain.costs import IN_TRANSIT
from services.inventory.domain.stock_events import report_of
from tests.integration.inventory.accounts import Accounts
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
    picked,
    returned,
)
from tests.unit.inventory.cost_model import CostModel

# Far enough back that what happens within days is no mistake.
START = NOON - timedelta(days=10)
TODAY = START.date()


@pytest.fixture
def accounts(shop: Shop) -> Accounts:
    return Accounts(shop)


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def bought(units: int, cost: int | None, sku: str = ARMCHAIR, *, hours: float = 0, at: str = "LON") -> GoodsReceived:
    return GoodsReceived(
        sku=sku,
        warehouse=at,
        occurred_at=after(hours),
        quantity=units,
        unit_cost_minor=cost,
        currency=None if cost is None else "GBP",
    )


class TestCosts:
    async def test_follow_the_ledger(self, shop: Shop, accounts: Accounts) -> None:
        await shop.reports(bought(10, 100), bought(30, 200, hours=1), picked(4, when=after(2)))
        await accounts.catch_up()

        assert await accounts.value(day=TODAY) == 6300

    async def test_of_an_order_leave_with_its_shipment_and_come_back_with_its_return(
        self, shop: Shop, accounts: Accounts
    ) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.reports(bought(10, 100))
        await shop.orders(order)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 3), when=after(1)))
        await shop.orders(returned(order.order_id, (ARMCHAIR, 1), when=after(2)))
        await accounts.catch_up()

        [row] = await shop.rows("SELECT value_minor, sold_minor, returned_minor FROM stock_cost_values")
        assert tuple(row) == (800, 300, 100)

    async def test_change_from_the_day_of_a_late_receipt_on(self, shop: Shop, accounts: Accounts) -> None:
        tomorrow = TODAY + timedelta(days=1)
        await shop.reports(bought(10, 100), picked(5, when=after(30)))
        await accounts.catch_up()
        assert await accounts.value(day=tomorrow) == 500

        await shop.reports(bought(10, 300, hours=2))
        await accounts.catch_up()

        assert await accounts.value(day=TODAY) == 4000
        assert await accounts.value(day=tomorrow) == 3000

    async def test_are_kept_in_steps_of_any_size(self, shop: Shop, accounts: Accounts) -> None:
        for day in range(5):
            await shop.reports(
                *(bought(10, 100 + day, sku, hours=24 * day) for sku in (ARMCHAIR, LAMP, MIRROR)),
                *(picked(3, sku, when=after(24 * day + 5)) for sku in (ARMCHAIR, LAMP, MIRROR)),
            )
        await accounts.catch_up()
        at_once = await accounts.kept()
        await shop.rows("TRUNCATE stock_cost_days, stock_cost_values, stock_cost_states")
        await shop.rows("UPDATE ledger_followers SET movement_id = 0 WHERE name = 'costs'")

        await replace(accounts, movements_max=1).catch_up()

        assert len(at_once) == 30
        assert await accounts.kept() == at_once

    async def test_cover_what_is_on_hand(self, shop: Shop, accounts: Accounts) -> None:
        await shop.reports(*_trading())
        await accounts.catch_up()

        units = await shop.rows(
            "SELECT DISTINCT ON (sku, warehouse) sku, warehouse, units FROM stock_cost_days WHERE warehouse <> ''"
            " ORDER BY sku, warehouse, day DESC"
        )
        levels = await shop.rows("SELECT sku, warehouse, on_hand FROM stock_levels ORDER BY sku, warehouse")
        assert [tuple(row) for row in units] == [tuple(row) for row in levels]

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_are_what_the_model_says_of_known_and_unknown_ones(
        self, shop: Shop, accounts: Accounts, seed: int
    ) -> None:
        draws = random.Random(seed)  # noqa: S311 - no secret
        told, model = _trading_of_unknown_costs(draws)
        draws.shuffle(told)
        for start in range(0, len(told), 17):
            await shop.reports(*told[start : start + 17])
            await accounts.catch_up()

        kept = await shop.rows(_LATEST)
        assert {row["warehouse"] for row in kept} == {"LON", "GLA", IN_TRANSIT}
        assert any(row["uncosted_units"] % 1 for row in kept)
        for row in kept:
            shelf = model.shelves[row["warehouse"]]
            there = model.in_transit if row["warehouse"] == IN_TRANSIT else shelf.there
            assert row["units"] == there.units
            assert float(row["uncosted_units"]) == pytest.approx(float(there.unknown), abs=1e-9)
            assert float(row["value_minor"]) == pytest.approx(float(there.value["GBP"]), abs=1e-3)
            assert float(row["sold_minor"]) == pytest.approx(float(shelf.sold["GBP"]), abs=1e-3)
            assert float(row["adjusted_minor"]) == pytest.approx(float(shelf.adjusted["GBP"]), abs=1e-3)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_of_the_same_events_are_the_same_in_any_order(
        self, shop: Shop, accounts: Accounts, database: FreshDatabase, seed: int
    ) -> None:
        events = _trading()
        await shop.reports(*events)
        await accounts.catch_up()
        in_order = await accounts.kept()
        await empty(database)
        other = await Shop.open(database)
        afresh = Accounts(other)

        shuffled = events * 2
        random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
        for start in range(0, len(shuffled), 17):
            await other.reports(*shuffled[start : start + 17])
            if start % 3 == 0:
                await afresh.catch_up()
        await afresh.catch_up()

        assert in_order
        assert await afresh.kept() == in_order


_LATEST = """
SELECT DISTINCT ON (warehouse) warehouse, units, uncosted_units, value_minor, sold_minor, adjusted_minor
FROM stock_cost_days JOIN stock_cost_values USING (sku, warehouse, day) ORDER BY warehouse, day DESC
"""


def _trading_of_unknown_costs(draws: random.Random) -> tuple[list[Envelope], CostModel]:
    """Return what two warehouses report of a SKU, an hour apart, and what the model makes of it."""
    model, truck, found = CostModel(), uuid4(), list[Envelope]()
    for hours in range(100):
        at, units, when = draws.choice(["LON", "GLA"]), draws.randint(1, 9), after(hours)
        shelf = model.shelves[at]
        event: WarehouseReport
        # Nobody says a cost before there are plenty without one.
        match draws.randint(0, 6) if hours > 10 else 0:
            case 0 | 1:
                cost = draws.choice([None, 100, 251]) if hours > 10 else None
                event = bought(units * 3, cost, hours=hours, at=at)
                shelf.buy(units * 3, cost, "GBP")
            case 2 | 3:
                event = picked(units, at=at, when=when)
                shelf.sell(units)
            case 4:
                delta = draws.choice([-1, 2])
                event = adjusted(delta, at=at, when=when)
                shelf.adjust(delta)
            case 5:
                event = counted(units * 2, at=at, when=when)
                shelf.count(units * 2)
            case _ if at == "LON":
                event = TransferDispatched(
                    sku=ARMCHAIR, warehouse=at, occurred_at=when, quantity=units, transfer_id=truck, destination="GLA"
                )
                model.dispatch(truck, at, units)
            case _:
                event = TransferReceived(
                    sku=ARMCHAIR, warehouse=at, occurred_at=when, quantity=units, transfer_id=truck
                )
                model.arrive(truck, at, units)
        found.append(envelope(event))
    return found, model


def _trading() -> list[Envelope]:
    draws = random.Random(42)  # noqa: S311 - no secret
    truck = uuid4()
    found: list[Envelope] = []
    for number in range(120):
        when = after(number)
        sku = draws.choice([ARMCHAIR, LAMP])
        at = draws.choice(["LON", "GLA"])
        units = draws.randint(1, 9)
        event: WarehouseReport
        match draws.randint(0, 6):
            case 0 | 1:
                event = bought(units * 3, draws.choice([None, 100, 250]), sku, hours=number, at=at)
            case 2 | 3:
                event = picked(units, sku, at=at, when=when)
            case 4:
                event = adjusted(-1, sku, at=at, when=when)
            case 5:
                event = counted(units, sku, at=at, when=when)
            case _:
                event = TransferDispatched(
                    sku=sku, warehouse="LON", occurred_at=when, quantity=units, transfer_id=truck, destination="GLA"
                )
                arrival = TransferReceived(
                    sku=sku, warehouse="GLA", occurred_at=when + timedelta(hours=7), quantity=units, transfer_id=truck
                )
                found.append(envelope(arrival))
        found.append(envelope(event))
    return sorted(found, key=lambda one: report_of(one).occurred_at)
