import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from pydantic import SecretStr

from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from services.inventory.bootstrap import SERVICE, build_app, use_cases_of
from services.inventory.handlers.availability import Availability
from services.inventory.settings import InventorySettings
from services.inventory.storage.tables import metadata
from tests.integration.inventory.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

# As a superuser's replica: the ledger's own trigger would not let its rows go.
EMPTY = ";".join(
    ["SET LOCAL session_replication_role = replica", *(f"DELETE FROM {table}" for table in metadata.tables)]  # noqa: S608
)

KEYS = FixedKeys(
    {
        "warehouse": Principal("warehouse", frozenset({"stock:write", "stock:read", "reservations:write"})),
        "storefront": Principal("storefront", frozenset({"availability:read"})),
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
async def client(shop: Shop, database: FreshDatabase) -> AsyncIterator[httpx.AsyncClient]:
    settings = InventorySettings(database_url=SecretStr(database.url))
    use_cases = use_cases_of(settings, shop.adapters, Availability())
    app = build_app(settings, use_cases, Health(), authenticator=KEYS)
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": "Bearer warehouse"}
    async with (
        use_cases.intake.coalescer,
        use_cases.holds.coalescer,
        httpx.AsyncClient(transport=transport, base_url="http://inventory", headers=headers) as client,
    ):
        yield client


async def empty(database: FreshDatabase) -> None:
    async with database.transaction() as transaction:
        await (await transaction.driver()).execute(EMPTY)
