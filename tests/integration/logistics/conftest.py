from collections.abc import AsyncIterator

import pytest

from services.logistics.bootstrap import SERVICE
from tests.integration.logistics.world import World
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, emptied_database


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
        yield database


@pytest.fixture
def world(database: FreshDatabase) -> World:
    return World(database)
