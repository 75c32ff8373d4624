"""The migrations where their database allows less than others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from libs.common.db.migrations import upgrade
from services.catalog.bootstrap import SERVICE
from tests.integration.catalog.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

assert SERVICE.migrations is not None
MIGRATIONS = SERVICE.migrations


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
