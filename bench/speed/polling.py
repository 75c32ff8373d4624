"""Waiting for what cannot call back."""

import asyncio
from collections.abc import Awaitable, Callable

_POLL_SECONDS = 0.1


class NotInTime(Exception):
    """What was waited for did not happen."""


async def until(is_so: Callable[[], Awaitable[bool]], *, seconds: float, what: str) -> None:
    """
    Ask again and again until it is so.

    :raises NotInTime: if it is not after `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise NotInTime(f"{what}: not within {seconds:.0f} s") from None
