"""An event loop without time and without chance: time jumps to the next timer, and the seed orders what is ready."""

import asyncio
import random
from collections import deque
from datetime import UTC, datetime, timedelta
from heapq import heappop
from typing import Any

_BEGINNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Deadlocked(Exception):
    """Nothing is ready and nothing ever will be."""


class SeededLoop(asyncio.BaseEventLoop):
    """Runs what is ready at the same moment in an order drawn from `chance`."""

    def __init__(self, chance: random.Random) -> None:
        """Begin at second 0."""
        super().__init__()
        self.seconds = 0.0
        self._chance = chance
        self._ready: deque[Any]
        self._scheduled: list[Any]

    def __del__(self) -> None:
        """Hold nothing that would have to be closed."""

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self.seconds

    def _run_once(self) -> None:
        """Do what the base class does, but that it never waits: the clock jumps."""
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heappop(scheduled)
        if not ready:
            if not scheduled:
                raise Deadlocked
            self.seconds = max(self.seconds, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self.seconds:
            ready.append(heappop(scheduled))
        handles = list(ready)
        ready.clear()
        if len(handles) > 1:
            self._chance.shuffle(handles)
        for handle in handles:
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - a loop runs its handles

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
