"""Requests that arrive together share one transaction; a request that arrives alone waits for nobody."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from libs.common.db import is_transient
from libs.common.errors import Unavailable
from libs.common.pacing import WorkPace
from libs.common.telemetry.logs import get_logger

Request = TypeVar("Request")
Result = TypeVar("Result")

_RESTLESS: Final = WorkPace()

_log = get_logger(__name__)


class BatchMismatch(Exception):
    """The work returned another number of results than it was given requests: a programming error."""


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Request, Result]):
    request: Request
    result: asyncio.Future[Result]


class Coalescer(Generic[Request, Result]):
    """
    Gathers concurrent requests into batches for `work`.

    The first request starts at once. What arrives while a batch is running forms the next one, which starts when that
    batch ends, when it is full, or, as long as fewer than `in_flight_max` are running, after `delay_seconds_max`.
    After a batch of several it rests as `pace` says; whoever sends one request after the other never waits for that.

    `work` returns a result or an exception for each request, in order. It runs in a task of the coalescer's own: a
    request that is cancelled before its batch starts is left out, one that is cancelled later is carried out all the
    same. It also runs outside the context of any request, so a request brings its own correlation id along.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        batch_size_max: int = 500,
        delay_seconds_max: float = 0.002,
        in_flight_max: int = 2,
        queue_max: int = 10_000,
        pace: WorkPace = _RESTLESS,
    ) -> None:
        """Prepare; `async with` starts it, and on leaving carries out what is queued."""
        self._work = work
        self._batch_size_max = batch_size_max
        self._delay_seconds_max = delay_seconds_max
        self._in_flight_max = in_flight_max
        self._queue_max = queue_max
        self._pace = pace
        self._queue: deque[_Waiter[Request, Result]] = deque()
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._context = copy_context()

    async def __aenter__(self) -> Self:
        """Start to accept requests."""
        self._group = await asyncio.TaskGroup().__aenter__()
        self._context = copy_context()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Accept no more, carry out what is queued and return; after an error, refuse what is queued."""
        group = self._group
        self._group = None
        if group is None:
            return
        self._forget_timer()
        if error is not None:
            self._refuse_queued()
        try:
            # Batches already running take from the queue until it is empty, so it is enough to start those.
            while self._queue and self._in_flight < self._in_flight_max:
                self._start_batch(group)
                await asyncio.sleep(0)
        finally:
            await group.__aexit__(kind, error, traceback)

    async def submit(self, request: Request) -> Result:
        """
        Have `request` carried out with whatever else is waiting, and return its result.

        :raises Unavailable: if the queue is full or the process is stopping.
        """
        return await self.begin(request)

    def begin(self, request: Request) -> "asyncio.Future[Result]":
        """
        Put `request` in the queue and return what will have its result; cancelling it in time leaves the request out.

        :raises Unavailable: if the queue is full or the process is stopping.
        """
        group = self._group
        if group is None:
            raise Unavailable("The service is stopping.")
        if len(self._queue) >= self._queue_max:
            raise Unavailable("Too many requests are waiting.")
        waiter = _Waiter[Request, Result](request, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        self._schedule(group)
        return waiter.result

    def _schedule(self, group: asyncio.TaskGroup) -> None:
        if self._in_flight >= self._in_flight_max:
            return
        if self._in_flight == 0 or len(self._queue) >= self._batch_size_max:
            self._start_batch(group)
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._delay_seconds_max, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._group is not None and self._queue and self._in_flight < self._in_flight_max:
            self._start_batch(self._group)

    def _start_batch(self, group: asyncio.TaskGroup) -> None:
        self._forget_timer()
        self._in_flight += 1
        # The task takes its batch when it first runs, with all that was submitted in the same turn of the loop.
        group.create_task(self._run_batches(), context=self._context.copy())

    async def _run_batches(self) -> None:
        """Run batches one after the other for as long as there is a queue."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._take_batch():
                if self._queue and self._group is not None:
                    self._schedule(self._group)
                started_at = loop.time()
                await self._settle(batch)
                if len(batch) > 1:
                    worked_seconds = loop.time() - started_at
                    await asyncio.sleep(self._pace.rest_seconds(items=len(batch), worked_seconds=worked_seconds))
        finally:
            self._in_flight -= 1

    def _take_batch(self) -> list[_Waiter[Request, Result]]:
        batch: list[_Waiter[Request, Result]] = []
        while self._queue and len(batch) < self._batch_size_max:
            waiter = self._queue.popleft()
            if not waiter.result.done():
                batch.append(waiter)
        return batch

    async def _settle(self, batch: Sequence[_Waiter[Request, Result]]) -> None:
        """Carry out a batch and hand out its results; one bad request must not fail the others."""
        try:
            results = await self._work([waiter.request for waiter in batch])
            if len(results) != len(batch):
                message = f"{len(results)} results for {len(batch)} requests"
                raise BatchMismatch(message)  # noqa: TRY301 - handled like any failure of the work
        except Exception as error:  # noqa: BLE001 - every failure belongs to the requests that wait for it
            # What passes by itself would fail each half as well, and at the worst moment for the database.
            if len(batch) == 1 or is_transient(error) or isinstance(error, BatchMismatch):
                _fail(batch, error)
                return
            _log.warning("coalescer.batch_bisected", size=len(batch), error=repr(error))
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        except BaseException:
            _fail(batch, Unavailable("The service is stopping."))
            raise
        else:
            for waiter, result in zip(batch, results, strict=True):
                _deliver(waiter.result, result)

    def _refuse_queued(self) -> None:
        while self._queue:
            _deliver(self._queue.popleft().result, Unavailable("The service is stopping."))

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fail(batch: Sequence[_Waiter[Request, Result]], error: Exception) -> None:
    for waiter in batch:
        _deliver(waiter.result, error)


def _deliver(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
