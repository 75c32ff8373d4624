"""How fast event time passes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from libs.common.clock import Clock

# A day in two seconds, which is also how fast the simulated carriers drive.
DEFAULT_SPEED = 43_200.0


class Pace:
    """
    Holds event time back to `speed` seconds for each real second; 0 holds nothing back.

    A stack that is slower than that makes the replay longer, never thinner.
    """

    def __init__(
        self,
        *,
        begins_at: datetime,
        speed: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Event time starts now, at `begins_at`."""
        self._sleep = sleep
        self._begins_at = begins_at
        self._speed = speed
        self._clock = clock
        self._started_at = clock.monotonic_seconds()

    async def wait_for(self, event_time: datetime) -> None:
        """Return when `event_time` has come."""
        if self._speed <= 0:
            return
        due_at = self._started_at + (event_time - self._begins_at).total_seconds() / self._speed
        delay_seconds = due_at - self._clock.monotonic_seconds()
        if delay_seconds > 0:
            await self._sleep(delay_seconds)
