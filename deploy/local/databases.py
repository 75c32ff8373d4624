"""One database and one role per service, made through an administrator's connection."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

# What migrations may use but their roles may not install; each only where the server has it.
EXTENSIONS = ("pg_trgm", "vector")


async def make_databases(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Make what is missing of a database and a role for each name, and set the role's password."""
    admin = await asyncpg.connect(admin_url)
    try:
        for name, password in passwords.items():
            await make_role(admin, name, password)
            await make_database(admin, name)
    finally:
        await admin.close()
    for name in passwords:
        await make_extensions(database_url(admin_url, database=name))


def database_url(admin_url: str, *, database: str, role: str | None = None, password: str | None = None) -> str:
    """Turn the administrator's URL into that of another database, and of another role."""
    parts = urlsplit(admin_url)
    network = parts.netloc
    if role is not None:
        host = network.rpartition("@")[2]
        network = f"{quote(role, safe='')}:{quote(password or '', safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=network, path=f"/{database}"))


async def make_role(admin: asyncpg.Connection, name: str, password: str) -> None:
    if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
        await admin.execute(f"CREATE ROLE {quoted(name)} LOGIN")
    # The state folder is the one place that knows the password; after `make clean` it is a new one.
    statement = await admin.fetchval(
        "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", name, password
    )
    await admin.execute(statement)


async def make_database(admin: asyncpg.Connection, name: str) -> None:
    if await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        return
    if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        # Only a superuser may give a database to a role it is no member of.
        await admin.execute(f"GRANT {quoted(name)} TO CURRENT_USER")
    await admin.execute(f"CREATE DATABASE {quoted(name)} OWNER {quoted(name)}")
    await admin.execute(f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM PUBLIC")


async def make_extensions(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for extension in EXTENSIONS:
            if await connection.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = $1", extension):
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {quoted(extension)}")
    finally:
        await connection.close()


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
