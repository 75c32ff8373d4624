"""Writes of many rows that the server carries out while the process that asked for them goes on."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg

Write: TypeAlias = Callable[[asyncpg.Connection], Awaitable[object]]


class WritesBehind:
    """The writes of one transaction that nobody waits for yet, in order (see `Transaction.write`)."""

    __slots__ = ("_task", "_waiting")

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: deque[tuple[Write, asyncpg.Connection]] = deque()
        self._task: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        """Answer whether the outcome of a write is still unknown or unheard."""
        return self._task is not None

    def add(self, write: Write, driver: asyncpg.Connection) -> None:
        """Carry out `write` behind those that were added before; none after one that failed."""
        self._waiting.append((write, driver))
        if self._task is None or (self._task.done() and not _has_failed(self._task)):
            self._task = asyncio.create_task(self._write_all())  # noqa: TID251 - whoever needs the driver hears of it

    async def finish(self) -> None:
        """
        Wait until everything is written.

        :raises Exception: what a write raised.
        """
        if self._task is not None:
            # Waited for, not awaited: whoever is cancelled here must not cancel a driver call under way.
            await asyncio.wait((self._task,))
            self._task.result()
            self._task = None

    async def abandon(self) -> None:
        """Begin no further write, and wait until the one under way has ended, however it does."""
        self._waiting.clear()
        if self._task is not None:
            await asyncio.wait((self._task,))
            # If it failed too, that is heard, and no more: what led here is what counts.
            _has_failed(self._task)
            self._task = None

    async def _write_all(self) -> None:
        while self._waiting:
            write, driver = self._waiting.popleft()
            await write(driver)


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None
