from collections.abc import AsyncIterator

import httpx
import pytest

from services.catalog.bootstrap import SERVICE
from tests.integration.catalog.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, emptied_database


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
        yield database


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    async with Shop.open(database) as shop:
        yield shop


@pytest.fixture
def http(shop: Shop) -> httpx.AsyncClient:
    return shop.http
