"""Waiting for something that another process or task brings about."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

_POLL_SECONDS = 0.02
# For the busiest machine: what comes true is seen at once, however long is allowed.
_TIMEOUT_SECONDS = 60.0


class NeverHappened(AssertionError):
    """The condition did not come true in time; the message holds the last value seen."""


async def eventually(
    probe: Callable[[], Awaitable[Value]],
    condition: Callable[[Value], bool] = bool,
    *,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Value:
    """
    Return the first value of `probe` for which `condition` holds.

    :raises NeverHappened: after `timeout_seconds`.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while True:
        value = await probe()
        if condition(value):
            return value
        if asyncio.get_running_loop().time() > deadline:
            msg = f"not within {timeout_seconds} s; the last value was {value!r}"
            raise NeverHappened(msg)
        await asyncio.sleep(_POLL_SECONDS)
