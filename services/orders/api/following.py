"""
Tells requests when an order has moved, whichever process moved it.

One query for all orders that somebody waits for, at short intervals and only while somebody waits: simpler than
a second copy of the bus in every API process, exact whatever the broker does, and cheap, for it reads a few rows
by their key.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from libs.common.db import is_transient
from libs.common.telemetry.logs import get_logger
from services.orders.handlers.queries import Progress

log = get_logger()

ReadProgress = Callable[[Collection[UUID]], Awaitable[Sequence[Progress]]]


@dataclass(slots=True, eq=False)
class _Waiter:
    order_id: UUID
    after: int
    moved: asyncio.Future[Progress | None]


class OrderFollower:
    """Everybody who waits for an order in this process."""

    def __init__(self, read: ReadProgress, *, poll_seconds: float) -> None:
        """Nothing is read before `run`, nor while nobody waits."""
        self._read = read
        self._poll_seconds = poll_seconds
        self._waiters: set[_Waiter] = set()
        self._is_waited_for = asyncio.Event()
        self._stopped = False

    async def moved(self, order_id: UUID, *, after: int) -> Progress | None:
        """Return how far the order is as soon as it is beyond stage number `after`; None if the process stops."""
        if self._stopped:
            return None
        waiter = _Waiter(order_id, after, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._is_waited_for.set()
        try:
            return await waiter.moved
        finally:
            self._waiters.discard(waiter)

    async def run(self, stop: asyncio.Event) -> None:
        """Look after the waiting until `stop` is set, then let them go."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_with(stop))
            # Ends by itself and is never cancelled: a cancelled query would outlive the pool it runs in.
            while not self._stopped:
                await self._is_waited_for.wait()
                if self._waiters:
                    await self._look()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._poll_seconds):
                            await stop.wait()
                else:
                    self._is_waited_for.clear()
        for waiter in self._waiters:
            _settle(waiter, None)

    async def _end_with(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopped = True
        self._is_waited_for.set()

    async def _look(self) -> None:
        try:
            await self._tell()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("order_follower.interrupted", error=repr(error))

    async def _tell(self) -> None:
        order_ids = {waiter.order_id for waiter in self._waiters}
        progress = {one.order_id: one for one in await self._read(order_ids)}
        for waiter in self._waiters:
            one = progress.get(waiter.order_id)
            if one is not None and one.sequence > waiter.after:
                _settle(waiter, one)


def _settle(waiter: _Waiter, progress: Progress | None) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        waiter.moved.set_result(progress)
