"""A database for each test, cloned from a template that was migrated once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from libs.common.db import Database
from libs.common.db.migrations import upgrade
from tests.support.infrastructure import Infrastructure

# Templates of this run by migrations directory; a run never trusts those of an earlier one.
_templates: dict[Path, str] = {}


class FreshDatabase(Database):
    """A database that only one test uses; `url` is for code that connects by itself."""

    def __init__(self, url: str) -> None:
        super().__init__(url, application_name="test", pool_size=20)
        self.url = url


@asynccontextmanager
async def fresh_database(
    infrastructure: Infrastructure, service: str, migrations: Path | None
) -> AsyncIterator[FreshDatabase]:
    """Open a migrated database of its own, dropped at the end."""
    name = f"test_{service}_{uuid4().hex[:12]}"
    template = await _template(infrastructure, service, migrations) if migrations else "template1"
    await _administer(infrastructure, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    database = FreshDatabase(_url(infrastructure, name))
    try:
        yield database
    finally:
        await database.dispose()
        await _administer(infrastructure, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def empty_database(infrastructure: Infrastructure, service: str) -> AsyncIterator[FreshDatabase]:
    """Open a database of its own without tables, for tests of the migrations themselves."""
    async with fresh_database(infrastructure, service, None) as database:
        await _create_extensions(database)
        yield database


async def drop_templates(infrastructure: Infrastructure) -> None:
    """Forget the templates at the end of the run: an external server outlives it."""
    while _templates:
        _, name = _templates.popitem()
        await _administer(infrastructure, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _template(infrastructure: Infrastructure, service: str, migrations: Path) -> str:
    if migrations not in _templates:
        name = f"template_{service}_{uuid4().hex[:12]}"
        await _administer(infrastructure, f'CREATE DATABASE "{name}"')
        database = FreshDatabase(_url(infrastructure, name))
        try:
            await _create_extensions(database)
            await upgrade(database, directory=migrations)
        finally:
            await database.dispose()
        _templates[migrations] = name
    return _templates[migrations]


async def _create_extensions(database: FreshDatabase) -> None:
    # The stack's own start does this as superuser; the services' roles may not.
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        await driver.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")


async def _administer(infrastructure: Infrastructure, statement: str) -> None:
    connection = await asyncpg.connect(infrastructure.database_url)
    try:
        # A template that a closing connection still uses is free a moment later.
        for attempt in range(20):
            try:
                await connection.execute(statement)
            except asyncpg.ObjectInUseError:
                if attempt == 19:
                    raise
                await asyncio.sleep(0.05)
            else:
                return
    finally:
        await connection.close()


def _url(infrastructure: Infrastructure, database: str) -> str:
    return urlunsplit(urlsplit(infrastructure.database_url)._replace(path=f"/{database}"))
