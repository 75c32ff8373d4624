"""An event loop without time and without chance: time jumps to the next timer, and the seed orders what is ready."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

_BEGINNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Deadlocked(Exception):
    """Nothing is ready and nothing ever will be."""


class SeededLoop(asyncio.BaseEventLoop):
    """
    Runs what is ready at the same moment in an order drawn from `chance`.

    A schedule is little else than handles and timers, so both go without what the base class checks.
    """

    def __init__(self, chance: random.Random) -> None:
        """Begin at second 0."""
        super().__init__()
        self.seconds = 0.0
        self._chance = chance
        self._ready: deque[Any]
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()

    def __del__(self) -> None:
        """Hold nothing that would have to be closed."""

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self.seconds

    def call_soon(  # type: ignore[override] # the base class is generic in what is called
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run something next."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run something at a time of this loop."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _run_once(self) -> None:
        """Do what the base class does, but that it never waits: the clock jumps."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not ready:
            if not timers:
                raise Deadlocked
            self.seconds = max(self.seconds, timers[0][0])
        while timers and timers[0][0] <= self.seconds:
            ready.append(heappop(timers)[2])
        if len(ready) == 1:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - a loop runs its handles
            return
        handles = list(ready)
        ready.clear()
        self._chance.shuffle(handles)
        for handle in handles:
            if not handle.cancelled():
                handle._run()  # noqa: SLF001

    def _write_to_self(self) -> None:
        pass


class VirtualClock:
    """The loop's time as the services ask for it."""

    def __init__(self, loop: SeededLoop) -> None:
        """Tell the time of `loop`."""
        self._loop = loop

    def now(self) -> datetime:
        """Return the virtual time."""
        return _BEGINNING + timedelta(seconds=self._loop.seconds)

    def monotonic_seconds(self) -> float:
        """Return the loop's seconds."""
        return self._loop.seconds
