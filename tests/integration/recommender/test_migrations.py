from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from libs.common.db.migrations import current_revision, downgrade, revisions, upgrade
from services.recommender.bootstrap import SERVICE
from services.recommender.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, empty_database


class TestMigrations:
    async def test_go_up_and_down_each_stair(self, infrastructure: Infrastructure) -> None:
        assert SERVICE.migrations is not None
        before: str = "base"
        async with empty_database(infrastructure, SERVICE.name) as database:
            for revision in revisions(SERVICE.migrations):
                await upgrade(database, directory=SERVICE.migrations, revision=revision)
                await downgrade(database, directory=SERVICE.migrations, revision=before)
                await upgrade(database, directory=SERVICE.migrations, revision=revision)
                before = revision

            assert await current_revision(database) == before

    async def test_make_the_tables_that_the_code_declares(self, database: FreshDatabase) -> None:
        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            return list(compare_metadata(context, metadata))

        async with database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []
