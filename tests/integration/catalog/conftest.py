import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from services.catalog.bootstrap import SERVICE
from tests.integration.catalog.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

EVERY_TABLE = "products, categories, outbox_events, relay_leases, idempotency_keys, inbox_events, decisions"


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
        await (await transaction.driver()).execute(f"TRUNCATE {EVERY_TABLE}")
    yield database
    await database.dispose()


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    async with Shop.open(database) as shop:
        yield shop


@pytest.fixture
def http(shop: Shop) -> httpx.AsyncClient:
    return shop.http
