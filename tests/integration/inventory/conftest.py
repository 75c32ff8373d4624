import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from libs.common.http.auth import FixedKeys, Principal
from services.inventory.bootstrap import SERVICE
from services.inventory.storage.tables import metadata
from tests.integration.inventory.shop import Shop, open_api
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

# As a superuser's replica: the ledger's own trigger would not let its rows go.
EMPTY = ";".join(
    ["SET LOCAL session_replication_role = replica", *(f"DELETE FROM {table}" for table in metadata.tables)]  # noqa: S608
)

KEYS = FixedKeys(
    {
        "warehouse": Principal(
            "warehouse",
            frozenset({"stock:write", "stock:read", "stock:manage", "reservations:read", "reservations:write"}),
        ),
        "storefront": Principal("storefront", frozenset({"availability:read"})),
        "web": Principal("web", frozenset({"reservations:write"})),
        "till": Principal("till", frozenset({"reservations:write"})),
        "ops": Principal("ops", frozenset({"*"})),
    }
)


@pytest.fixture(scope="session")
def database_url(infrastructure: Infrastructure) -> Iterator[str]:
    """Create one database for all tests of inventory: making one takes longer than most of them."""
    with asyncio.Runner() as runner:
        context = fresh_database(infrastructure, SERVICE.name, SERVICE.migrations)
        yield runner.run(context.__aenter__()).url
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[FreshDatabase]:
    """Open the database, emptied."""
    database = FreshDatabase(database_url)
    await empty(database)
    yield database
    await database.dispose()


@pytest.fixture
async def shop(database: FreshDatabase) -> Shop:
    return await Shop.open(database)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(shop, KEYS, caller="warehouse") as client:
        yield client


async def empty(database: FreshDatabase) -> None:
    async with database.transaction() as transaction:
        await (await transaction.driver()).execute(EMPTY)
