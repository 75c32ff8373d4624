"""Alembic, driven by a service's own `migrate` role: the URL is handed in, never read from a file."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.database import Database

# Serialises migrations of replicas that start together; any constant of our own will do.
_MIGRATION_LOCK = 0x51_41_59  # "QAY"
_LOCK_TIMEOUT = "5s"


async def upgrade(database: Database, *, directory: Path, revision: str = "head") -> None:
    """Bring the database to `revision` of the scripts in `directory`, once, whoever else tries."""
    await _run(database, lambda config: command.upgrade(config, revision), directory)


async def downgrade(database: Database, *, directory: Path, revision: str) -> None:
    """Take the database back to `revision` of the scripts in `directory`."""
    await _run(database, lambda config: command.downgrade(config, revision), directory)


async def current_revision(database: Database) -> str | None:
    """Return the revision that the database is at, None if it was never migrated."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def revisions(directory: Path) -> list[str]:
    """Return the revisions in `directory`, oldest first."""
    script = ScriptDirectory.from_config(_config(directory))
    return [revision.revision for revision in script.walk_revisions()][::-1]


async def _run(database: Database, step: Callable[[Config], None], directory: Path) -> None:
    # A migration is whole or not at all; elsewhere transactions are the driver's.
    async with database.engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        await _prepare(connection)

        def run(sync: Connection) -> None:
            config = _config(directory)
            config.attributes["connection"] = sync
            step(config)

        await connection.run_sync(run)


async def _prepare(connection: AsyncConnection) -> None:
    for name in ("statement_timeout", "transaction_timeout", "lock_timeout"):
        await connection.execute(text(f"SET LOCAL {name} = 0"))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))


def _config(directory: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(directory))
    return config


def run_environment(target_metadata: MetaData) -> None:
    """Do what Alembic asks of an `env.py`, on the connection that `upgrade` opened."""
    from alembic import context  # noqa: PLC0415 - only importable while Alembic runs an environment

    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=target_metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
