"""Several steps at once, where the first failure is the one that is told."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


async def together(*steps: Coroutine[None, None, Result]) -> list[Result]:
    """
    Run the steps concurrently and return their results in order.

    If one fails the others are cancelled and its exception is raised as it is, not in a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
