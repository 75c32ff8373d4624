"""The only reader of the system clock."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a service asks for the time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds of a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Return seconds of the machine's monotonic clock."""
        return time.monotonic()


def skew_system_clock(by: timedelta) -> None:
    """Let every system clock of this process be wrong by so much: for tests of whole processes, and for good."""

    def skewed(_: SystemClock) -> datetime:
        return datetime.now(UTC) + by

    # The method itself, so that a clock that is right costs nothing.
    SystemClock.now = skewed  # type: ignore[method-assign, assignment]


class FixedClock:
    """A clock that stands still until it is moved: for tests and for simulated runs."""

    def __init__(self, now: datetime) -> None:
        """Start at `now`, which must be aware."""
        if now.tzinfo is None:
            msg = "a clock needs an aware time"
            raise ValueError(msg)
        self._now = now.astimezone(UTC)
        self._monotonic_seconds = 0.0

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self._now

    def monotonic_seconds(self) -> float:
        """Return the seconds by which it was advanced."""
        return self._monotonic_seconds

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        if by < timedelta(0):
            msg = "time does not go back"
            raise ValueError(msg)
        self._now += by
        self._monotonic_seconds += by.total_seconds()
