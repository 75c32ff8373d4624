from collections.abc import AsyncIterator

import pytest

from services.recommender.bootstrap import SERVICE
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, emptied_database


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as fresh:
        yield fresh
