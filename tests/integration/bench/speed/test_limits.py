"""The limits do the work that they stand for: a limit that leaves out rows is none."""

from collections.abc import AsyncIterator

import pytest

from bench.speed.approved_orders import wanted_orders
from bench.speed.limits.hot_sku import reserve_one_by_one
from bench.speed.limits.reservations import reserve_in_batches
from bench.speed.limits.stock_events import apply_stock_events
from bench.speed.stock_world import UNITS_PER_LEVEL, as_movements, stock_up, warehouse_reports
from services.inventory.bootstrap import SERVICE
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

SKUS = 20


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with fresh_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
        await stock_up(database.url, sku_count=SKUS)
        yield database


async def value(database: FreshDatabase, query: str) -> int:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return int(await driver.fetchval(query))


async def test_stock_events_move_levels_as_their_ledger_says(database: FreshDatabase) -> None:
    moved = sum(delta for _, _, _, delta, *_ in as_movements(list(warehouse_reports(90, sku_count=SKUS, seed=3))))

    timed = await apply_stock_events(database.url, operations=90, sku_count=SKUS, seed=3, batch=40, headers=b"h")

    assert timed.operations == 90
    # The key of the ledger takes each event in once: there is no inbox beside it.
    assert await value(database, "SELECT count(*) FROM stock_movements") == SKUS * 4 + 90
    assert await value(database, "SELECT sum(on_hand) FROM stock_levels") == SKUS * 4 * UNITS_PER_LEVEL + moved
    assert await value(database, "SELECT sum(delta_on_hand) FROM stock_movements") == (
        SKUS * 4 * UNITS_PER_LEVEL + moved
    )
    # One announcement of each SKU that a batch moved, three batches.
    versions = await value(database, "SELECT sum(version - 1) FROM stock_items")
    assert 0 < versions <= 3 * SKUS
    assert await value(database, "SELECT count(*) FROM outbox_events") == versions
    assert (
        await value(
            database,
            "SELECT count(*) FROM outbox_events"
            " WHERE jsonb_array_length(convert_from(value, 'UTF8')::jsonb -> 'levels') = 4",
        )
        == versions
    )


async def test_reservations_hold_all_lines_or_none(database: FreshDatabase) -> None:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        # One unit of each: most orders of three lines do not fit, some do.
        await driver.execute("UPDATE stock_levels SET on_hand = 1")

    await reserve_in_batches(database.url, operations=60, sku_count=SKUS, lines=3, seed=1, batch=25, headers=b"h")

    assert await value(database, "SELECT count(*) FROM reservations") == 60
    assert await value(database, "SELECT count(*) FROM outbox_events") == 60
    held = await value(database, "SELECT count(*) FROM reservations WHERE status = 'held'")
    assert 0 < held < 60
    assert await value(database, "SELECT count(*) FROM reservation_lines") == 3 * held
    units = await value(database, "SELECT sum(quantity) FROM reservation_lines")
    assert await value(database, "SELECT sum(reserved) FROM stock_levels") == units


async def test_reservations_of_enough_stock_are_all_granted(database: FreshDatabase) -> None:
    wanted = list(wanted_orders(60, sku_count=SKUS, lines=3, seed=1))

    await reserve_in_batches(database.url, operations=60, sku_count=SKUS, lines=3, seed=1, batch=25, headers=b"h")

    assert await value(database, "SELECT count(*) FROM reservations WHERE status = 'held'") == 60
    assert await value(database, "SELECT sum(reserved) FROM stock_levels") == sum(
        quantity for order in wanted for _, quantity in order.lines
    )


@pytest.mark.parametrize("is_one_statement", [False, True], ids=["five round trips", "one statement"])
async def test_one_commit_each_takes_the_units_of_the_hot_sku(
    database: FreshDatabase, *, is_one_statement: bool
) -> None:
    timed = await reserve_one_by_one(database.url, operations=40, clients=8, seed=2, is_one_statement=is_one_statement)

    assert len(timed.latencies) == 40
    assert await value(database, "SELECT count(*) FROM reservations") == 40
    assert await value(database, "SELECT count(*) FROM stock_levels WHERE reserved > 0") == 1
