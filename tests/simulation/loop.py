"""An event loop without time and without chance: time jumps to the next timer, and the seed orders what is ready."""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

_BEGINNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Deadlocked(Exception):
    """Nothing is ready and nothing ever will be."""


class Call:
    """A callback that is due, as `asyncio.Handle` without what nobody asks of it here."""

    __slots__ = ("_args", "_callback", "_context", "_when", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None, when: float
    ) -> None:
        """Call back in a context, that of whoever asks for it where none is named."""
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._when = when
        self.is_cancelled = False

    def cancel(self) -> None:
        """Call nothing, and hold nothing any more."""
        self.is_cancelled = True
        self._callback, self._args = _nothing, ()

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """Return the loop's time at which it is due."""
        return self._when

    def run(self) -> None:
        """Call back."""
        self._context.run(self._callback, *self._args)


class SeededLoop(asyncio.BaseEventLoop):
    """
    Runs what is ready at the same moment in an order drawn from `chance`.

    A schedule is little else than calls and timers, so both go without what the base class checks.
    """

    def __init__(self, chance: random.Random) -> None:
        """Begin at second 0."""
        super().__init__()
        self.seconds = 0.0
        self._chance = chance
        self._ready: list[Call] = []
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = count()
        self._stopping: bool

    def __del__(self) -> None:
        """Hold nothing that would have to be closed."""

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self.seconds

    def call_soon(  # type: ignore[override] # the base class is generic in what is called
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        """Run something next."""
        call = Call(callback, args, context, self.seconds)
        self._ready.append(call)
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        """Run something after some seconds of this loop."""
        return self.call_at(self.seconds + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        """Run something at a time of this loop."""
        timer = Call(callback, args, context, when)
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _run_once(self) -> None:
        """Do what the base class does until it is to stop, but that it never waits: the clock jumps."""
        while True:
            for call in self._next():
                if not call.is_cancelled:
                    try:
                        call.run()
                    except Exception as error:  # noqa: BLE001 - a loop goes on, whatever its callbacks do
                        self.call_exception_handler({"message": "a callback failed", "exception": error})
            if self._stopping:
                return

    def _next(self) -> list[Call]:
        ready, self._ready = self._ready, []
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heappop(timers)
        if not ready:
            if not timers:
                raise Deadlocked
            self.seconds = max(self.seconds, timers[0][0])
        while timers and timers[0][0] <= self.seconds:
            ready.append(heappop(timers)[2])
        if len(ready) > 1:
            self._chance.shuffle(ready)
        return ready

    def _write_to_self(self) -> None:
        pass


def _nothing() -> None:
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
