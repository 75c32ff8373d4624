"""Measuring programs in processes of their own, so that nothing else of the run is on their event loop."""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import uvloop

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_GC_OBJECTS_YOUNG = 50_000


class Isolated:
    """One process that runs measuring programs, one after the other; leave it to end the process."""

    def __init__(self) -> None:
        """Start the process at the first call."""
        self._pool = ProcessPoolExecutor(
            max_workers=1, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_the_parent
        )
        self._pid = 0

    async def __aenter__(self) -> Self:
        # Started now, so that its start is in nobody's time.
        self._pid = await asyncio.get_running_loop().run_in_executor(self._pool, os.getpid)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is not None:
            # Nobody waits for what it is still doing.
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        await asyncio.to_thread(self._pool.shutdown)

    async def run(
        self,
        program: Callable[Arguments, Coroutine[None, None, Result]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run a module's coroutine function in the process; arguments and result are copied."""
        call = partial(_run, partial(program, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(program: Callable[[], Coroutine[None, None, Result]]) -> Result:
    # As the services do at their start: a program that is a limit must not pay for what they do not pay for.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS_YOUNG, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(program())
