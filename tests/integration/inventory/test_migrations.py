"""The migrations lead up, down and up again, and to the tables that the code declares."""

import msgspec

from libs.common.db.migrations import downgrade, upgrade
from libs.common.decisions import Alternative, Decision
from libs.common.decisions.storage import PostgresDecisionLog, decisions_about
from services.inventory.bootstrap import SERVICE
from services.inventory.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.migrations import climb, constraints_and_indexes, declared_constraints_and_indexes, differences
from tests.support.postgres import FreshDatabase, empty_database
from tests.unit.inventory.builders import NOON

MIGRATIONS = SERVICE.migrations


class TestMigrations:
    async def test_go_up_and_down_and_up_again_step_by_step(self, infrastructure: Infrastructure) -> None:
        await climb(infrastructure, SERVICE)

    async def test_lead_to_the_tables_that_the_code_declares(self, database: FreshDatabase) -> None:
        assert await differences(database, metadata) == []

    async def test_lead_to_the_constraints_and_indexes_that_the_code_declares(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        declared = await declared_constraints_and_indexes(infrastructure, SERVICE, metadata)

        assert await constraints_and_indexes(database) == declared

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
