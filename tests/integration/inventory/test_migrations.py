from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from libs.common.db.migrations import current_revision, downgrade, revisions, upgrade
from services.inventory.bootstrap import SERVICE
from services.inventory.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import empty_database

MIGRATIONS = SERVICE.migrations


class TestMigrations:
    async def test_go_up_and_down_and_up_again_step_by_step(self, infrastructure: Infrastructure) -> None:
        assert MIGRATIONS is not None
        steps = revisions(MIGRATIONS)
        async with empty_database(infrastructure, SERVICE.name) as database:
            for before, step in zip([None, *steps], steps, strict=False):
                await upgrade(database, directory=MIGRATIONS, revision=step)
                await downgrade(database, directory=MIGRATIONS, revision=before or "base")
                await upgrade(database, directory=MIGRATIONS, revision=step)

            assert await current_revision(database) == steps[-1]
            async with database.engine.connect() as connection:
                assert await connection.run_sync(_differences) == []


def _differences(connection: Connection) -> list[Any]:
    """Return what the tables in the code and those in the database do not agree on."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))
