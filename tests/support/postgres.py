"""Databases for tests, cloned from templates that were migrated once, or shared and emptied."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from libs.common.db import Database
from libs.common.db.migrations import upgrade
from tests.support.infrastructure import Infrastructure

# By what the limits of pool and server are multiplied: a test that is to meet one sets it by itself.
PATIENCE = 10

# Of this run, by migrations directory; a run never trusts those of an earlier one.
_templates: dict[Path, str] = {}
_shared: dict[Path | None, "_SharedDatabase"] = {}

# As a superuser's replica: neither foreign keys nor a ledger's own trigger keep rows. For a handful of rows much faster
# than TRUNCATE.
_EMPTY = """
DO $$ BEGIN
    SET LOCAL session_replication_role = replica;
    EXECUTE coalesce((SELECT string_agg('DELETE FROM ' || oid::regclass, ';') FROM (%s) AS filled), 'SELECT');
END $$
"""
_FILLED = """
SELECT oid, relnamespace::regnamespace::text AS schema, relname AS name FROM pg_class
WHERE relkind = 'r' AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0
AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
"""


class FreshDatabase(Database):
    """A database that only one test uses; `url` is for code that connects by itself."""

    def __init__(self, url: str) -> None:
        super().__init__(url, application_name="test", pool_size=20, patience=PATIENCE)
        self.url = url


@dataclass(frozen=True)
class _SharedDatabase:
    """A database that one test after the other uses; `seeds` are the rows it was made with, by schema and table."""

    name: str
    seeds: dict[tuple[str, str], bytes]


@asynccontextmanager
async def emptied_database(
    infrastructure: Infrastructure, service: str, migrations: Path | None
) -> AsyncIterator[FreshDatabase]:
    """Open the migrated database that tests share, as it was made: emptying it is much faster than making another."""
    if migrations not in _shared:
        _shared[migrations] = await _share(infrastructure, service, migrations)
    shared = _shared[migrations]
    database = FreshDatabase(_url(infrastructure, shared.name))
    try:
        await _restore(database, shared.seeds)
        yield database
    finally:
        await database.dispose()


@asynccontextmanager
async def fresh_database(
    infrastructure: Infrastructure, service: str, migrations: Path | None
) -> AsyncIterator[FreshDatabase]:
    """Open a migrated database of its own, dropped at the end."""
    name = await _create(infrastructure, service, migrations)
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


async def empty(database: FreshDatabase) -> None:
    """Delete every row."""
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        await driver.execute(_EMPTY % _FILLED)


async def drop_kept_databases(infrastructure: Infrastructure) -> None:
    """Forget templates and shared databases at the end of the run: an external server outlives it."""
    names = [*_templates.values(), *(one.name for one in _shared.values())]
    _templates.clear()
    _shared.clear()
    for name in names:
        await _administer(infrastructure, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _create(infrastructure: Infrastructure, service: str, migrations: Path | None) -> str:
    name = f"test_{service}_{uuid4().hex[:12]}"
    template = await _template(infrastructure, service, migrations) if migrations else "template1"
    await _administer(infrastructure, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return name


async def _share(infrastructure: Infrastructure, service: str, migrations: Path | None) -> _SharedDatabase:
    shared = _SharedDatabase(await _create(infrastructure, service, migrations), seeds={})
    connection = await asyncpg.connect(_url(infrastructure, shared.name))
    try:
        for _, schema, name in await connection.fetch(_FILLED):
            rows = BytesIO()
            await connection.copy_from_table(name, schema_name=schema, output=rows, format="binary")
            shared.seeds[schema, name] = rows.getvalue()
    finally:
        await connection.close()
    return shared


async def _restore(database: FreshDatabase, seeds: Mapping[tuple[str, str], bytes]) -> None:
    await empty(database)
    if seeds:
        async with database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute("SET LOCAL session_replication_role = replica")
            for (schema, name), rows in seeds.items():
                await driver.copy_to_table(name, schema_name=schema, source=BytesIO(rows), format="binary")


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
