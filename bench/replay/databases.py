"""The services' databases, opened read-only: only the summary looks behind the APIs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from bench.replay.settings import SERVICES, ReplaySettings

Databases = Mapping[str, asyncpg.Connection]

# Counting over whole tables takes longer than a service would ever allow itself.
_STATEMENT_TIMEOUT_SECONDS = 300.0
_CONNECT_TIMEOUT_SECONDS = 10.0


@asynccontextmanager
async def open_databases(settings: ReplaySettings) -> AsyncIterator[Databases]:
    """Open one connection to the database of each service."""
    async with AsyncExitStack() as exits:
        databases = {}
        for service in SERVICES:
            connection = await asyncpg.connect(
                settings.database_url(service),
                timeout=_CONNECT_TIMEOUT_SECONDS,
                command_timeout=_STATEMENT_TIMEOUT_SECONDS,
                server_settings={
                    "application_name": "quayside-replay",
                    "default_transaction_read_only": "on",
                    # Without this a server-side limit of the role would end the counts early.
                    "statement_timeout": "0",
                },
            )
            exits.push_async_callback(connection.close)
            databases[service] = connection
        yield databases
