"""A few orders and the stock they are of, in databases of their own: one world for all tests of a module."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from bench.replay.databases import Databases
from deploy.local.environment import REPOSITORY
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import fresh_database

_HERE = Path(__file__).parent


@asynccontextmanager
async def small_world(infrastructure: Infrastructure) -> AsyncIterator[Databases]:
    """Open the databases of inventory and orders, each with what its file here says."""
    async with AsyncExitStack() as exits:
        opened = {}
        for service in ("inventory", "orders"):
            migrations = REPOSITORY / "services" / service / "storage" / "migrations"
            database = await exits.enter_async_context(fresh_database(infrastructure, service, migrations))
            opened[service] = await asyncpg.connect(database.url)
            exits.push_async_callback(opened[service].close)
            await opened[service].execute((_HERE / f"{service}.sql").read_text("utf-8"))
        yield opened


@asynccontextmanager
async def undone(world: Databases) -> AsyncIterator[Databases]:
    """Open a transaction in each database, and roll it back at the end: what a test breaks is whole for the next."""
    transactions = [connection.transaction() for connection in world.values()]
    for transaction in transactions:
        await transaction.start()
    yield world
    for transaction in transactions:
        await transaction.rollback()
