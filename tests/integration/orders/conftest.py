import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from services.orders.bootstrap import SERVICE
from tests.integration.orders.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

# In an order that foreign keys allow. For a handful of rows this is much faster than TRUNCATE.
EVERY_TABLE = (
    "erasure_answers",
    "erasures",
    "customer_contacts",
    "notifications",
    "reminders",
    "cohort_marks",
    "cohort_summaries",
    "customer_months",
    "calibration_summaries",
    "late_summaries",
    "stage_summaries",
    "reason_summaries",
    "order_summaries",
    "journey_marks",
    "order_journeys",
    "order_parcels",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
    "return_lines",
    "returns",
    "payment_commands",
    "payment_notices",
    "payments",
    "order_reviews",
    "review_addresses",
    "review_blocks",
    "order_timers",
    "order_timeline",
    "order_shortages",
    "order_shipments",
    "order_allocations",
    "order_origins",
    "order_addresses",
    "order_lines",
    "order_findings",
    "order_charges",
    "promotion_changes",
    "promotion_uses",
    "promotions",
    "product_prices",
    "imported_orders",
    "orders",
    "outbox_events",
    "relay_leases",
    "inbox_events",
    "decisions",
    "idempotency_keys",
    "sandbox.sandbox_charges",
    "sandbox.sandbox_operations",
)


@pytest.fixture(scope="session")
def database_url(infrastructure: Infrastructure) -> Iterator[str]:
    """One database for all of these tests: emptying it is much faster than making another."""
    with asyncio.Runner() as runner:
        opened = fresh_database(infrastructure, SERVICE.name, SERVICE.migrations)
        database = runner.run(opened.__aenter__())
        runner.run(database.dispose())
        yield database.url
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[FreshDatabase]:
    database = FreshDatabase(database_url)
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        # Rows that can only be added can still be thrown away together.
        await driver.execute("TRUNCATE ledger_transfers, order_actions, order_edits")
        await driver.execute(";".join(f"DELETE FROM {table}" for table in EVERY_TABLE))  # noqa: S608 - see above
    yield database
    await database.dispose()


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    async with Shop.open(database) as shop:
        yield shop
