from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.databases import database_url, make_databases
from tests.support.infrastructure import Infrastructure

PASSWORDS = {"deploy_lighthouse": "first-password", "deploy_breakwater": "other-password"}


@pytest.fixture
async def admin(infrastructure: Infrastructure) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(infrastructure.database_url)
    yield connection
    for name in PASSWORDS:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"DROP ROLE IF EXISTS {name}")
    await connection.close()


@pytest.mark.usefixtures("admin")
class TestMakeDatabases:
    async def test_gives_each_role_its_own_database_alone(self, infrastructure: Infrastructure) -> None:
        await make_databases(infrastructure.database_url, PASSWORDS)

        own = await asyncpg.connect(as_role(infrastructure, "deploy_lighthouse"))
        await own.execute("CREATE TABLE lamps (id int)")
        await own.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(as_role(infrastructure, "deploy_lighthouse", database="deploy_breakwater"))

    async def test_keeps_what_is_there_and_changes_the_password(self, infrastructure: Infrastructure) -> None:
        await make_databases(infrastructure.database_url, PASSWORDS)
        before = await asyncpg.connect(as_role(infrastructure, "deploy_lighthouse"))
        await before.execute("CREATE TABLE lamps (id int)")
        await before.close()

        changed = PASSWORDS | {"deploy_lighthouse": "it's a new one"}
        await make_databases(infrastructure.database_url, changed)

        after = await asyncpg.connect(as_role(infrastructure, "deploy_lighthouse", password="it's a new one"))
        assert await after.fetchval("SELECT count(*) FROM lamps") == 0
        await after.close()

    async def test_installs_the_extensions_migrations_use(self, infrastructure: Infrastructure) -> None:
        await make_databases(infrastructure.database_url, PASSWORDS)

        connection = await asyncpg.connect(as_role(infrastructure, "deploy_lighthouse"))
        assert await connection.fetchval("SELECT similarity('lantern', 'lanterns')") > 0.5
        await connection.close()


def as_role(
    infrastructure: Infrastructure,
    role: str,
    *,
    database: str | None = None,
    password: str | None = None,
) -> str:
    return database_url(
        infrastructure.database_url,
        database=database or role,
        role=role,
        password=password or PASSWORDS[role],
    )
