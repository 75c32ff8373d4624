from collections.abc import AsyncIterator

import pytest

from services.orders.bootstrap import SERVICE
from tests.integration.orders.shop import Shop
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
