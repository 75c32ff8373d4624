from typing import Any

import msgspec
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from libs.common.db.migrations import current_revision, downgrade, revisions, upgrade
from libs.common.decisions import Alternative, Decision
from libs.common.decisions.storage import PostgresDecisionLog, decisions_about
from services.inventory.bootstrap import SERVICE
from services.inventory.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import empty_database
from tests.unit.inventory.builders import NOON

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

    async def test_keep_why_something_was_decided(self, infrastructure: Infrastructure) -> None:
        assert MIGRATIONS is not None
        made = Decision(
            decision="allocate-stock",
            subject="order:1",
            chosen="LON",
            reason="It is the nearest.",
            rule="single-source-first/1",
            decided_at=NOON,
            alternatives=[Alternative(option="GLA", score=556.3, details={"units": 2})],
            inputs={"country": "GB"},
        )
        async with empty_database(infrastructure, SERVICE.name) as database:
            await upgrade(database, directory=MIGRATIONS, revision="0022")
            async with database.transaction() as transaction:
                PostgresDecisionLog(transaction).add(made)
            await downgrade(database, directory=MIGRATIONS, revision="0021")
            async with database.transaction() as transaction:
                driver = await transaction.driver()
                [as_it_was] = await driver.fetch("SELECT record::text FROM decisions")
            await upgrade(database, directory=MIGRATIONS, revision="0022")
            async with database.transaction() as transaction:
                known = await decisions_about(transaction, subject=made.subject, limit=2)

        assert msgspec.json.decode(as_it_was["record"], type=Decision) == made
        assert known == [made]


def _differences(connection: Connection) -> list[Any]:
    """Return what the tables in the code and those in the database do not agree on."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))
