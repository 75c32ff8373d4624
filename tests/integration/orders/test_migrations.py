"""The migrations lead up, down and up again, and to the tables that the code declares."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from libs.common.db.migrations import current_revision, downgrade, revisions, upgrade
from services.orders.bootstrap import SERVICE
from services.orders.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, empty_database

MIGRATIONS = SERVICE.migrations or Path()

CONSTRAINTS_AND_INDEXES = """
SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace WHERE nspname = 'public' AND contype <> 'n'
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
"""


class TestMigrations:
    async def test_climb_the_stairway(self, infrastructure: Infrastructure) -> None:
        async with empty_database(infrastructure, SERVICE.name) as database:
            steps = revisions(MIGRATIONS)
            for number, revision in enumerate(steps):
                await upgrade(database, directory=MIGRATIONS, revision=revision)
                below = steps[number - 1] if number else "base"
                await downgrade(database, directory=MIGRATIONS, revision=below)
                await upgrade(database, directory=MIGRATIONS, revision=revision)

            assert await current_revision(database) == steps[-1]

    async def test_lead_to_the_tables_that_the_code_declares(self, database: FreshDatabase) -> None:
        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return list(compare_metadata(context, metadata))

        async with database.engine.connect() as connection:
            found = await connection.run_sync(differences)

        # Alembic keeps its own table.
        assert [one for one in found if "alembic_version" not in repr(one)] == []

    async def test_lead_to_the_constraints_and_indexes_that_the_code_declares(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        async with empty_database(infrastructure, SERVICE.name) as declared:
            async with declared.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)

            assert await definitions(declared) == await definitions(database)


async def definitions(database: FreshDatabase) -> set[str]:
    async with database.engine.connect() as connection:
        rows = await connection.execute(text(CONSTRAINTS_AND_INDEXES))
        return {row[0] for row in rows if "alembic_version" not in row[0]}
