"""Whether the migrations of a service lead up and down, and to the tables that its code declares."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from libs.common.db.migrations import current_revision, downgrade, revisions, upgrade
from libs.common.runtime import Service
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, empty_database

# Alembic compares neither checks nor the conditions of indexes.
_CONSTRAINTS_AND_INDEXES = """
SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace WHERE nspname = 'public' AND contype <> 'n'
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
"""


async def climb(infrastructure: Infrastructure, service: Service[Any]) -> None:
    """Go up, down and up again at each migration, from an empty database to the last, and down to an empty one."""
    assert service.migrations is not None
    steps = revisions(service.migrations)
    async with empty_database(infrastructure, service.name) as database:
        for below, step in zip(["base", *steps], steps, strict=False):
            await upgrade(database, directory=service.migrations, revision=step)
            await downgrade(database, directory=service.migrations, revision=below)
            await upgrade(database, directory=service.migrations, revision=step)

        assert await current_revision(database) == steps[-1]
        await downgrade(database, directory=service.migrations, revision="base")
        assert await tables(database) == ["alembic_version"]


async def tables(database: FreshDatabase) -> list[str]:
    """Return the names of all tables."""
    async with database.engine.connect() as connection:
        rows = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return [row[0] for row in rows]


async def differences(database: FreshDatabase, declared: MetaData) -> list[object]:
    """Return what the tables of the database and those that are declared do not agree on."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, declared))

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def constraints_and_indexes(database: FreshDatabase) -> set[str]:
    """Return the definitions of all constraints and indexes, but those of Alembic's own table."""
    async with database.engine.connect() as connection:
        rows = await connection.execute(text(_CONSTRAINTS_AND_INDEXES))
        return {row[0] for row in rows if "alembic_version" not in row[0]}


async def declared_constraints_and_indexes(
    infrastructure: Infrastructure, service: Service[Any], declared: MetaData
) -> set[str]:
    """Return the same of a database that is made from what is declared."""
    async with empty_database(infrastructure, service.name) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(declared.create_all)
        return await constraints_and_indexes(database)
