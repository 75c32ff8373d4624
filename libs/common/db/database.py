"""The engine and the unit of work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Result = TypeVar("Result")

# The server ends what the client forgot: a lost client must not hold row locks or old snapshots.
_STATEMENT_TIMEOUT_MS = 15_000
_TRANSACTION_TIMEOUT_MS = 30_000
_IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
_LOCK_TIMEOUT_MS = 5_000
_CONNECT_TIMEOUT_SECONDS = 5
_POOL_TIMEOUT_SECONDS = 5


@dataclass
class Transaction:
    """
    One open transaction: SQLAlchemy Core on `connection`, and the asyncpg connection below it for hot paths.

    Both speak in the same database transaction. Whoever is handed a Transaction never commits it.
    """

    connection: AsyncConnection
    _driver: asyncpg.Connection | None = None
    _before_commit: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _after_commit: list[Callable[[], None]] = field(default_factory=list)

    async def driver(self) -> asyncpg.Connection:
        """Return the asyncpg connection of this transaction (arrays with unnest, COPY, prepared statements)."""
        if self._driver is None:
            # SQLAlchemy begins its transaction at the first statement; the driver must not run before it.
            await self.connection.execute(text("SELECT 1"))
            raw = await self.connection.get_raw_connection()
            self._driver = cast("asyncpg.Connection", raw.driver_connection)
        return self._driver

    def before_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` as the last step inside the transaction, for writers that collect rows for one statement."""
        self._before_commit.append(callback)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run `callback` once the transaction has committed; never if it rolls back."""
        self._after_commit.append(callback)

    def _let_go(self) -> None:
        # Whoever writes at the end refers to the transaction, which refers to it: such a circle keeps everything that
        # a batch read until the garbage collector comes by, which is seldom.
        self._before_commit.clear()
        self._after_commit.clear()


class Database:
    """A service's own database."""

    def __init__(self, url: str, *, application_name: str, pool_size: int = 10) -> None:
        """`url` is `postgresql://user:password@host:port/name`; connections open on first use."""
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_SECONDS,
            pool_use_lifo=True,
            # Parameters are customers' data; they do not belong into the text of an error.
            hide_parameters=True,
            connect_args={
                "timeout": _CONNECT_TIMEOUT_SECONDS,
                "server_settings": {
                    "application_name": application_name,
                    "statement_timeout": str(_STATEMENT_TIMEOUT_MS),
                    "transaction_timeout": str(_TRANSACTION_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_TIMEOUT_MS),
                    "lock_timeout": str(_LOCK_TIMEOUT_MS),
                    "jit": "off",
                },
            },
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """
        Open a transaction: committed when the block ends, rolled back when it raises.

        Do not cancel the task that runs the block (see `run`): a cancelled driver call leaves the
        connection in an unknown state and costs a reconnect.
        """
        async with self.engine.connect() as connection:
            transaction = Transaction(connection)
            try:
                async with connection.begin():
                    yield transaction
                    for flush in transaction._before_commit:  # noqa: SLF001 - same module
                        await flush()
                callbacks = list(transaction._after_commit)  # noqa: SLF001 - same module
            finally:
                transaction._let_go()  # noqa: SLF001 - same module
        for callback in callbacks:
            callback()

    async def run(self, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """
        Run `work` in one transaction that finishes even if the caller is cancelled meanwhile.

        A client that disconnects cancels its request; cancelling a driver call in flight can leak the
        connection with its transaction open, so the work is shielded and ends by itself.
        """

        async def whole() -> Result:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await asyncio.shield(whole())

    async def is_reachable(self) -> bool:
        """Answer whether a statement gets through now; raises what stops it."""
        async with self.engine.connect() as connection:
            return bool((await connection.execute(text("SELECT 1"))).scalar_one())

    async def dispose(self) -> None:
        """Close every connection."""
        await self.engine.dispose()
