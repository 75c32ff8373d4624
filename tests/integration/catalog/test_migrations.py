from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from libs.common.db.migrations import downgrade, upgrade
from services.catalog.bootstrap import SERVICE
from services.catalog.storage.tables import metadata
from tests.integration.catalog.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.migrations import climb, constraints_and_indexes, declared_constraints_and_indexes, differences
from tests.support.postgres import FreshDatabase, empty_database, fresh_database

assert SERVICE.migrations is not None
MIGRATIONS = SERVICE.migrations


@pytest.fixture
async def empty(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with empty_database(infrastructure, SERVICE.name) as database:
        yield database


class TestMigrations:
    async def test_go_up_and_down_and_up_again_step_by_step(self, infrastructure: Infrastructure) -> None:
        await climb(infrastructure, SERVICE)

    async def test_leave_nothing_behind(self, empty: FreshDatabase) -> None:
        await upgrade(empty, directory=MIGRATIONS)
        await downgrade(empty, directory=MIGRATIONS, revision="base")

        async with empty.transaction() as transaction:
            driver = await transaction.driver()
            rows = await driver.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert [row["tablename"] for row in rows] == ["alembic_version"]

    async def test_lead_to_the_tables_that_the_code_declares(self, database: FreshDatabase) -> None:
        assert await differences(database, metadata) == []

    async def test_lead_to_the_constraints_and_indexes_that_the_code_declares(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        declared = await declared_constraints_and_indexes(infrastructure, SERVICE, metadata)

        assert await constraints_and_indexes(database) == declared


class TestWithoutTrigrams:
    @pytest.fixture
    def role(self) -> str:
        return f"test_catalog_{uuid4().hex[:12]}"

    @asynccontextmanager
    async def as_role(self, database: FreshDatabase, role: str) -> AsyncIterator[FreshDatabase]:
        """Connect as somebody who may create tables, but no extension."""
        async with database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT ALL ON SCHEMA public TO {role}")
        parts = urlsplit(database.url)
        limited = FreshDatabase(urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}")))
        try:
            yield limited
        finally:
            await limited.dispose()
            async with database.transaction() as transaction:
                driver = await transaction.driver()
                await driver.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    async def test_the_catalog_works_and_forgives_no_typos(self, infrastructure: Infrastructure, role: str) -> None:
        async with (
            fresh_database(infrastructure, SERVICE.name, None) as database,
            self.as_role(database, role) as limited,
        ):
            await upgrade(limited, directory=MIGRATIONS)
            async with Shop.open(limited) as shop:
                await shop.create("REINDEER-LAMP", title="Reindeer lamp")
                answer = (await shop.http.get("/v1/search", params={"q": "raindeer"})).json()

                assert await shop.found("reindeer") == ["REINDEER-LAMP"]
        assert (answer["items"], answer["matched_by"]) == ([], "words")
