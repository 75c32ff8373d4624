"""The engine and the unit of work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import asyncpg
from asyncpg.transaction import Transaction as AsyncpgTransaction
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.common.db.behind import Write, WritesBehind
from libs.common.db.deferred import DeferredStatements

Result = TypeVar("Result")

# The server ends what the client forgot: a lost client must not hold row locks or old snapshots.
_STATEMENT_TIMEOUT_MS = 15_000
_TRANSACTION_TIMEOUT_MS = 30_000
_IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
_LOCK_TIMEOUT_MS = 5_000
_CONNECT_TIMEOUT_SECONDS = 5
_POOL_TIMEOUT_SECONDS = 2
# A server that hangs keeps none of the limits above; whoever waits for it is told so a moment after they have passed.
_HUNG_SECONDS = _TRANSACTION_TIMEOUT_MS / 1_000 + 2
# To write fewer takes less time than to leave them behind.
_ROWS_BEHIND_MIN = 200


@dataclass
class Transaction:
    """
    One open transaction: SQLAlchemy Core on `connection`, and the asyncpg connection below it for hot paths.

    Both speak in the same database transaction. Whoever is handed a Transaction never commits it.

    Most of what a small transaction costs is waiting for statements and being woken by them, so writes whose result
    nobody needs can be deferred: they are sent as one statement, when anybody asks for the driver or at the end.

    Most of what a large one costs is many rows, which the server writes while this process could go on: such writes
    can be left behind.
    """

    connection: AsyncConnection
    _driver: asyncpg.Connection
    _deferred: DeferredStatements = field(default_factory=DeferredStatements)
    _behind: WritesBehind = field(default_factory=WritesBehind)
    _before_commit: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _after_commit: list[Callable[[], None]] = field(default_factory=list)

    async def driver(self) -> asyncpg.Connection:
        """
        Return the asyncpg connection of this transaction (arrays with unnest, COPY, prepared statements).

        What was deferred or left behind has been written then: whoever reads by this connection sees it. Ask again
        after others had their turn, instead of keeping it.
        """
        if self._behind:
            await self._behind.finish()
        if self._deferred:
            await self._deferred.write(self._driver)
        return self._driver

    def defer(self, statement: str, *arguments: object) -> None:
        """
        Run an INSERT, UPDATE or DELETE later, together with others.

        Statements on one table are carried out in order, those on different tables see nothing of each other; foreign
        keys between new rows are fine. An error rises where it is written: at the next `driver`, or at the end.
        """
        self._deferred.add(statement, arguments)

    async def write(self, write: Write, *, rows: int) -> None:
        """
        Carry out `write`: one of few rows now, one of many behind the caller, who goes on meanwhile.

        What is left behind is written in order, one after the other, whenever the caller waits for anything. An error
        of it rises at the next `driver`, or at the end.
        """
        if rows < _ROWS_BEHIND_MIN:
            await write(await self.driver())
            return
        if self._deferred:
            self._behind.add(self._deferred.write, self._driver)
            self._deferred = DeferredStatements()
        self._behind.add(write, self._driver)
        # It begins at once.
        await asyncio.sleep(0)

    def before_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` as the last step inside the transaction, for writers that collect rows for one statement."""
        self._before_commit.append(callback)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run `callback` once the transaction has committed; never if it rolls back."""
        self._after_commit.append(callback)

    async def _finish(self) -> None:
        for flush in self._before_commit:
            await flush()
        await self.driver()

    def _let_go(self) -> None:
        # Whoever writes at the end refers to the transaction, which refers to it: such a circle keeps everything that
        # a batch read until the garbage collector comes by, which is seldom.
        self._before_commit.clear()
        self._after_commit.clear()


class Database:
    """A service's own database."""

    def __init__(self, url: str, *, application_name: str, pool_size: int = 10, patience: int = 1) -> None:
        """
        `url` is `postgresql://user:password@host:port/name`; connections open on first use.

        The limits of pool and server are `patience` times as long: for who shares a busy machine, as tests do.
        """
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_SECONDS * patience,
            pool_use_lifo=True,
            # The driver begins and ends transactions: by SQLAlchemy's way that costs a statement more, and half as much
            # processor time again as a small transaction takes.
            isolation_level="AUTOCOMMIT",
            # Parameters are customers' data; they do not belong into the text of an error.
            hide_parameters=True,
            connect_args={
                "timeout": _CONNECT_TIMEOUT_SECONDS * patience,
                "server_settings": {
                    "application_name": application_name,
                    "statement_timeout": str(_STATEMENT_TIMEOUT_MS * patience),
                    "transaction_timeout": str(_TRANSACTION_TIMEOUT_MS * patience),
                    "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_TIMEOUT_MS * patience),
                    "lock_timeout": str(_LOCK_TIMEOUT_MS * patience),
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
        async with self.connect() as (connection, driver):
            transaction = Transaction(connection, driver)
            begun = driver.transaction()
            await begun.start()
            try:
                yield transaction
                await transaction._finish()  # noqa: SLF001 - same module
            except BaseException:
                await transaction._behind.abandon()  # noqa: SLF001 - same module
                await _roll_back(driver, begun)
                raise
            else:
                await begun.commit()
                callbacks = list(transaction._after_commit)  # noqa: SLF001 - same module
            finally:
                transaction._let_go()  # noqa: SLF001 - same module
        for callback in callbacks:
            callback()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[AsyncConnection, asyncpg.Connection]]:
        """
        Lend a connection of the pool and the driver's below it, outside any transaction.

        A single statement is a snapshot by itself, and costs one round trip instead of three.
        """
        async with self.engine.connect() as connection:
            driver = await _driver_of(connection)
            while driver.is_closed():
                # The server ended it while it lay in the pool.
                await connection.invalidate()
                driver = await _driver_of(connection)
            try:
                yield connection, driver
            finally:
                # The pool does not see what happens below it and would hand it out again and again.
                if driver.is_closed() or driver.is_in_transaction():
                    await connection.invalidate()

    async def run(self, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """
        Run `work` in one transaction that finishes even if the caller is cancelled meanwhile.

        A client that disconnects cancels its request; cancelling a driver call in flight can leak the
        connection with its transaction open, so the work is shielded and ends by itself.

        :raises TimeoutError: if the server has neither carried it out nor ended it in time: nobody knows which it will.
        """

        async def whole() -> Result:
            async with self.transaction() as transaction:
                return await work(transaction)

        async with asyncio.timeout(_HUNG_SECONDS):
            return await asyncio.shield(whole())

    async def is_reachable(self) -> bool:
        """Answer whether a statement gets through now; raises what stops it."""
        async with self.engine.connect() as connection:
            return bool((await connection.execute(text("SELECT 1"))).scalar_one())

    async def dispose(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


async def _driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    raw = await connection.get_raw_connection()
    return cast("asyncpg.Connection", raw.driver_connection)


async def _roll_back(driver: asyncpg.Connection, begun: AsyncpgTransaction) -> None:
    """Roll back, or end the connection: the error that led here is the one that counts."""
    try:
        await begun.rollback()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        driver.terminate()
