"""
A stand-in for PostgreSQL: transactions that commit as a whole or not at all, row locks, unique keys, read committed.

Of the SQL that is shared by all services (inbox, outbox, relay) only the statements themselves are stood in for; the
code that runs them is the real one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.common.db import Database, Transaction
from libs.common.messaging import inbox
from libs.common.outbox import relay
from tests.simulation.world import Link, Process, World

_GONE: Final = object()
# As `idle_in_transaction_session_timeout` is set.
_IDLE_SECONDS: Final = 10.0
_OUTBOX_COLUMNS: Final = 6


class Store:
    """The database of one service."""

    def __init__(self, world: World, service: str) -> None:
        """Begin empty."""
        self.world = world
        self.service = service
        self.tables: dict[str, dict[Any, Any]] = {}
        # Every outbox row that was ever committed, by its id.
        self.published: dict[int, tuple[Any, ...]] = {}
        self.on_commit: list[Callable[[dict[tuple[str, Any], Any]], None]] = []
        # Whoever looks now and then whether a table has something for it, by table.
        self.lookers: dict[str, list[Callable[[], None]]] = {}
        self.relay_holder: RelayConnection | None = None
        self.relay_epoch = 0
        self._next_outbox_id = 0
        self._next_transaction = 1
        self._running: set[int] = set()
        self._locks: dict[Hashable, _Lock] = {}

    def table(self, name: str) -> dict[Any, Any]:
        """Return the committed rows of a table."""
        return self.tables.setdefault(name, {})

    def tell(self, process: Process, table: str, look: Callable[[], None]) -> None:
        """Let a process look at a table some moments after something was written to it."""
        lookers = self.lookers.setdefault(table, [])
        lookers.append(look)
        process.on_death.append(lambda: lookers.remove(look))

    def next_outbox_id(self) -> int:
        """Return the next identity value: taken when the row is written, seen when it is committed."""
        self._next_outbox_id += 1
        return self._next_outbox_id

    def number_transaction(self) -> int:
        """Give a number to a transaction that writes for the first time."""
        number, self._next_transaction = self._next_transaction, self._next_transaction + 1
        self._running.add(number)
        return number

    def finish_transaction(self, number: int) -> None:
        """Count on a transaction no more."""
        self._running.discard(number)

    def snapshot(self) -> tuple[int, int]:
        """Return the oldest transaction that is under way, or else the next one, and the next one."""
        return min(self._running, default=self._next_transaction), self._next_transaction

    def apply(self, writes: dict[tuple[str, Any], Any]) -> None:
        """Commit."""
        for (table, key), value in writes.items():
            if value is _GONE:
                self.table(table).pop(key, None)
            else:
                self.table(table)[key] = value
                if table == "outbox_events":
                    self.published[key] = value
        for check in self.on_commit:
            check(writes)
        for table in {table for (table, _), value in writes.items() if value is not _GONE} & self.lookers.keys():
            # As if it looked every second, without all the times that it finds nothing.
            for look in self.lookers[table]:
                self.world.loop.call_later(self.world.chance.random(), look)

    async def acquire(self, owner: "Session", key: Hashable) -> None:
        """
        Wait for a row lock.

        :raises asyncpg.DeadlockDetectedError: if its holder waits for this transaction.
        """
        lock = self._locks.setdefault(key, _Lock())
        if lock.owner is owner:
            return
        if lock.owner is None:
            lock.owner = owner
            owner.held.append(key)
            return
        if self._waits_for(lock.owner, owner):
            self.world.meet("deadlock")
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        turn: asyncio.Future[None] = self.world.loop.create_future()
        lock.waiting.append((owner, turn))
        owner.waits_for = key
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The lock came and its owner is gone.
                self.release(owner, [key])
            else:
                lock.waiting.remove((owner, turn))
            raise
        finally:
            owner.waits_for = None

    def try_acquire(self, owner: "Session", key: Hashable) -> bool:
        """Take a row lock if it is free."""
        lock = self._locks.setdefault(key, _Lock())
        if lock.owner is None:
            lock.owner = owner
            owner.held.append(key)
        return lock.owner is owner

    def release(self, owner: "Session", keys: Iterable[Hashable]) -> None:
        """Give row locks to whoever waits longest."""
        for key in list(keys):
            lock = self._locks.get(key)
            if lock is None or lock.owner is not owner:
                # Given back before, when the server ended the transaction.
                continue
            owner.held.remove(key)
            lock.owner = None
            while lock.waiting and lock.owner is None:
                next_owner, turn = lock.waiting.popleft()
                if not turn.done():
                    lock.owner = next_owner
                    next_owner.held.append(key)
                    turn.set_result(None)
            if lock.owner is None:
                del self._locks[key]

    def _waits_for(self, one: "Session", other: "Session") -> bool:
        seen: set[int] = set()
        while one.waits_for is not None and id(one) not in seen:
            seen.add(id(one))
            holder = self._locks[one.waits_for].owner
            if holder is None:
                return False
            if holder is other:
                return True
            one = holder
        return False


class _Lock:
    __slots__ = ("owner", "waiting")

    def __init__(self) -> None:
        self.owner: Session | None = None
        self.waiting: deque[tuple[Session, asyncio.Future[None]]] = deque()


class Session:
    """One transaction: what the adapters read and write through, in place of the driver's connection."""

    def __init__(self, store: Store, process: Process) -> None:
        """Begin."""
        self.store = store
        self.process = process
        self.held: list[Hashable] = []
        self.waits_for: Hashable | None = None
        self._writes: dict[tuple[str, Any], Any] = {}
        self._number = 0
        self._is_over = False

    async def statement(self) -> None:
        """
        Be at a statement.

        :raises asyncpg.ConnectionDoesNotExistError: if the server has ended the transaction.
        """
        try:
            await self.process.awaits(Link.DATABASE)
        except ConnectionResetError:
            self.end()
            raise
        if self._is_over:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    def get(self, table: str, key: Any) -> Any:
        """Return a row as this transaction sees it now, None if there is none."""
        value = self._writes.get((table, key))
        if value is None:
            return self.store.table(table).get(key)
        return None if value is _GONE else value

    def rows(self, table: str) -> Iterator[tuple[Any, Any]]:
        """Yield the rows that this transaction sees now."""
        for key, value in list(self.store.table(table).items()):
            if (table, key) not in self._writes:
                yield key, value
        for (written, key), value in list(self._writes.items()):
            if written == table and value is not _GONE:
                yield key, value

    def put(self, table: str, key: Any, value: Any) -> None:
        """Write a row."""
        self._number = self._number or self.store.number_transaction()
        self._writes[table, key] = value

    def delete(self, table: str, key: Any) -> None:
        """Remove a row."""
        self._writes[table, key] = _GONE

    async def insert(self, table: str, key: Any, value: Any) -> bool:
        """Write a row unless there is one; whoever writes the same key waits for this transaction to end."""
        await self.lock((table, key))
        if self.get(table, key) is not None:
            return False
        self.put(table, key, value)
        return True

    async def lock(self, key: Hashable) -> None:
        """Wait for a row lock."""
        await self.store.acquire(self, key)
        if self._is_over:
            self.store.release(self, [key])
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def commit(self) -> None:
        """Make everything visible at once; the answer to it may be lost all the same."""
        if not self._writes:
            # Whatever becomes of a transaction that only read, nobody can tell.
            self.end()
            return
        await self.statement()
        writes, self._writes = self._writes, {}
        self.store.apply(writes)
        self.end()
        chance, rates = self.store.world.chance, self.store.world.rates
        if chance.random() < rates.lost_answer:
            self.store.world.meet("answer to a commit lost")
            raise ConnectionResetError("the answer to the commit was lost")
        await self.process.awaits(Link.DATABASE, may_fail=False)

    def end(self) -> None:
        """Give up the locks, and what was not committed."""
        self._is_over = True
        self._writes = {}
        self.store.finish_transaction(self._number)
        self.store.release(self, list(self.held))

    @contextmanager
    def savepoint(self, *undone_by: type[Exception]) -> Iterator[None]:
        """Undo what the block has written, and give its locks back, if it raises one of these."""
        writes, held = dict(self._writes), list(self.held)
        try:
            yield
        except undone_by:
            self._writes = writes
            self.store.release(self, [one for one in self.held if one not in held])
            raise

    async def fetch(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Run the one statement that returns rows and is shared by all services."""
        assert sql == inbox._CLAIM, sql  # noqa: SLF001 - the statement is what is stood in for
        await self.statement()
        group, event_ids = values
        return [
            {"event_id": event_id}
            for event_id in event_ids
            if await self.insert("inbox_events", (group, event_id), self.store.world.clock.now())
        ]

    async def fetchval(self, sql: str, group: str, event_id: UUID) -> bool:
        """Tell whether the inbox knows an event."""
        assert sql == inbox._IS_CLAIMED, sql  # noqa: SLF001
        await self.statement()
        return self.get("inbox_events", (group, event_id)) is not None

    async def execute(self, sql: str, *columns: Sequence[Any]) -> None:
        """Write outbox rows that were deferred, one statement's columns after the other's."""
        assert "INSERT INTO outbox_events" in sql, sql
        assert len(columns) % _OUTBOX_COLUMNS == 0
        for first in range(0, len(columns), _OUTBOX_COLUMNS):
            rows = list(zip(*columns[first : first + _OUTBOX_COLUMNS], strict=True))
            await self.copy_records_to_table("outbox_events", columns=["all"], records=rows)

    async def copy_records_to_table(
        self, table: str, *, columns: Sequence[str], records: Sequence[tuple[Any, ...]]
    ) -> None:
        """Write outbox rows, numbered as they come."""
        assert table == "outbox_events"
        assert columns
        await self.statement()
        for row in records:
            self.put(table, self.store.next_outbox_id(), row)


class MemoryDatabase(Database):
    """The database as one process reaches it; the unit of work is the real one but for the connection below it."""

    def __init__(self, store: Store, process: Process) -> None:
        """Open nothing."""
        self.store = store
        self._process = process

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction (see `Database.transaction`)."""
        await self._process.awaits(Link.DATABASE)
        session = Session(self.store, self._process)
        transaction = Transaction(connection=None, _driver=session)  # type: ignore[arg-type]
        self._process.on_death.append(session.end)
        self._process.on_cut.setdefault(Link.DATABASE, []).append(session.end)
        self._process.on_silence.append((Link.DATABASE, _IDLE_SECONDS, session.end))
        try:
            yield transaction
            await transaction._finish()  # noqa: SLF001 - as the real one does
            callbacks = list(transaction._after_commit)  # noqa: SLF001
            await session.commit()
        finally:
            session.end()
            self._process.on_death.remove(session.end)
            self._process.on_cut[Link.DATABASE].remove(session.end)
            self._process.on_silence.remove((Link.DATABASE, _IDLE_SECONDS, session.end))
        for callback in callbacks:
            callback()


def session_of(transaction: Transaction) -> Session:
    """Return what adapters read and write through."""
    session: Any = transaction._driver  # noqa: SLF001 - what the simulation put there
    assert isinstance(session, Session)
    return session


class RelayConnection:
    """The relay's own connection: every statement is a transaction, and a lock lasts as long as the connection."""

    def __init__(self, store: Store, process: Process) -> None:
        """Connect."""
        self._store = store
        self._process = process
        self.is_lost = False
        process.on_death.append(self.lose)
        process.on_cut.setdefault(Link.DATABASE, []).append(self.lose)
        process.on_silence.append((Link.DATABASE, relay._SILENCE_SECONDS_MAX, self.lose))  # noqa: SLF001

    async def opened(self) -> None:
        """Reach the server."""
        await self._process.awaits(Link.DATABASE)

    def lose(self) -> None:
        """Be ended by the server: the lock is free, and its former holder does not know."""
        self.is_lost = True
        if self._store.relay_holder is self:
            self._store.relay_holder = None

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """Take the lock, or note who has it."""
        await self._statement()
        if "pg_try_advisory_lock" in sql:
            assert values == (relay._RELAY_LOCK,)  # noqa: SLF001
            if self._store.relay_holder is None:
                self._store.relay_holder = self
            return self._store.relay_holder is self
        if sql == relay._LAST_EPOCH:  # noqa: SLF001
            return self._store.relay_epoch or None
        assert sql.startswith("INSERT INTO relay_leases")
        self._store.relay_epoch += 1
        if self._store.relay_epoch > 1:
            self._store.world.meet("relay taken over")
        return self._store.relay_epoch

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the outbox."""
        await self._statement()
        rows = self._store.table("outbox_events")
        if sql == relay._MEASURE:  # noqa: SLF001
            return [(len(rows), 0)]
        if sql == relay._SNAPSHOT:  # noqa: SLF001
            return [self._store.snapshot()]
        assert sql == relay._CLAIM, sql  # noqa: SLF001
        floor, blocked, held, limit = values
        found = sorted(
            number for number, row in rows.items() if number > floor and row[2] not in blocked and number not in held
        )
        return [(number, *rows[number][1:5]) for number in found[:limit]]

    async def execute(self, sql: str, numbers: Sequence[int]) -> None:
        """Delete what was published."""
        assert sql == relay._DELETE, sql  # noqa: SLF001
        await self._statement()
        self._store.apply({("outbox_events", number): _GONE for number in numbers})

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 - the driver's own name
        """Give the lock back."""
        assert timeout
        self.lose()

    async def _statement(self) -> None:
        await self._process.awaits(Link.DATABASE)
        if self.is_lost:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


def inbox_ids(store: Store, group: str) -> set[UUID]:
    """Return the events that a group has committed."""
    return {event_id for owner, event_id in store.table("inbox_events") if owner == group}
