"""How long to wait for work that may hang."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """
    Return what `work` returns, or end it if it takes longer.

    It runs as a task of its own: clients of servers swallow a cancellation while they close what they opened, and it
    has to be theirs then, not that of whoever waits. `asyncio.wait_for` of Python 3.11 forgets a cancellation that
    comes in the moment in which the work ends, and a process that was told to end goes on.

    :raises TimeoutError: if it has not ended in time.
    """
    task = asyncio.ensure_future(work)  # noqa: TID251 - waited for here
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait((task,))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        # If it failed too, that is heard, and no more: what led here is what counts.
        if not task.cancelled():
            task.exception()
    return task.result()
