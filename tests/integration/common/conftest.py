from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.events.topics import INVENTORY_STOCK, INVENTORY_WAREHOUSE
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase, emptied_database

MIGRATIONS = Path(__file__).parent / "migrations"
GROUP = "test.effects"


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, "common", MIGRATIONS) as database:
        yield database


@pytest.fixture
async def bus(infrastructure: Infrastructure) -> AsyncIterator[TestBus]:
    async with TestBus.open(infrastructure, topics=(INVENTORY_WAREHOUSE, INVENTORY_STOCK), groups=(GROUP,)) as bus:
        yield bus
