"""Keeps named processes running: starts them, restarts those that die, stops them in reverse."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.process import (
    READINESS_POLL_SECONDS,
    LeashedProcess,
    NotReadyInTime,
    ProcessSpecification,
    last_lines,
)

RESTART_DELAY_SECONDS_MIN = 0.2
RESTART_DELAY_SECONDS_MAX = 5.0
# A process that has run this long is healthy again: its next restart is not delayed.
HEALTHY_AFTER_SECONDS = 10.0
CRASH_WINDOW_SECONDS = 60.0


class CrashLoop(Exception):
    def __init__(self, name: str, crashes: int, log: Path) -> None:
        super().__init__(f"{name} crashed {crashes} times within a minute; the end of {log}:\n{last_lines(log)}")
        self.name = name


class UnknownProcess(KeyError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no process {name}; there are {', '.join(known)}")


class Watch:
    """One name the supervisor answers for, through all the processes that bear it in turn."""

    def __init__(self, specification: ProcessSpecification, log: Path, crashes_max: int) -> None:
        self.specification = specification
        self.log = log
        self.restarts = 0
        self._crashes_max = crashes_max
        self._crashed_at: deque[float] = deque()
        self._process: LeashedProcess | None = None
        self._was_killed = False
        self._crash_loop: CrashLoop | None = None
        self._is_unwanted = asyncio.Event()
        self._is_idle = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.is_running else None

    async def run(self) -> None:
        """Run the process, again and again, until it is no longer wanted."""
        clock = asyncio.get_running_loop().time
        delay_seconds = RESTART_DELAY_SECONDS_MIN
        self._is_idle.clear()
        try:
            while not self._is_unwanted.is_set():
                started_at = clock()
                self._process = await LeashedProcess.start(self.specification, self.log)
                if self._is_unwanted.is_set():
                    # It was stopped while it was being started.
                    await self._process.stop()
                await self._process.wait()
                if self._is_unwanted.is_set():
                    break
                self.restarts += 1
                is_crash = self._note_end(clock())
                if not is_crash or clock() - started_at > HEALTHY_AFTER_SECONDS:
                    delay_seconds = RESTART_DELAY_SECONDS_MIN
                await self._rest(delay_seconds)
                delay_seconds = min(2 * delay_seconds, RESTART_DELAY_SECONDS_MAX)
        finally:
            self._is_idle.set()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_unwanted.wait()

    def _note_end(self, now: float) -> bool:
        """Tell whether a process ended by itself, and give up if that happens again and again."""
        if self._was_killed:
            self._was_killed = False
            return False
        self._crashed_at.append(now)
        while self._crashed_at[0] < now - CRASH_WINDOW_SECONDS:
            self._crashed_at.popleft()
        if len(self._crashed_at) > self._crashes_max:
            self._crash_loop = CrashLoop(self.specification.name, len(self._crashed_at), self.log)
            raise self._crash_loop
        return True

    async def is_ready(self) -> bool:
        return self._process is not None and await self._process.is_ready()

    async def wait_ready(self) -> None:
        name, seconds = self.specification.name, self.specification.ready_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                # A server cannot tell when it is ready; it has to be asked.
                while not await self.is_ready():
                    if self._crash_loop:
                        raise self._crash_loop
                    await asyncio.sleep(READINESS_POLL_SECONDS)
        except TimeoutError:
            raise NotReadyInTime(name, seconds, last_lines(self.log)) from None

    def kill(self) -> None:
        if self._process and self._process.is_running:
            self._was_killed = True
            self._process.kill()

    async def stop(self) -> None:
        """Stop the process and wait until none of this name is left."""
        self._is_unwanted.set()
        if self._process:
            await self._process.stop()
        await self._is_idle.wait()

    def want(self) -> None:
        self._is_unwanted.clear()


class Supervisor:
    """
    Owns every process of a stack.

    Used as an async context manager: leaving it stops everything, the last started first. A crash
    loop cancels the body and comes out of the context as `CrashLoop`.
    """

    def __init__(self, *, logs: Path, crashes_max: int = 5) -> None:
        self.logs = logs
        self._crashes_max = crashes_max
        self._watches: dict[str, Watch] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_all()
        try:
            await self._tasks.__aexit__(exception_type, exception, traceback)
        except BaseExceptionGroup as group:
            crash_loops = [one for one in group.exceptions if isinstance(one, CrashLoop)]
            if crash_loops:
                raise crash_loops[0] from None
            if exception is None:
                raise

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._watches)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        return self._watch(name).pid

    def restarts(self, name: str) -> int:
        """How often a process came back after it had died, killed or crashed."""
        return self._watch(name).restarts

    def launch(self, specification: ProcessSpecification) -> None:
        """Start a process and keep it running, without waiting until it is ready."""
        watch = Watch(specification, self.log(specification.name), self._crashes_max)
        self._watches[specification.name] = watch
        self._tasks.create_task(watch.run(), name=specification.name)

    async def start(self, specification: ProcessSpecification) -> None:
        """Start a process, keep it running and wait until it is ready."""
        self.launch(specification)
        await self.wait_ready(specification.name)

    async def wait_ready(self, *names: str) -> None:
        """Wait until the named processes, or all of them, are ready."""
        for name in names or self.names:
            await self._watch(name).wait_ready()

    def kill(self, name: str) -> None:
        """SIGKILL a process; it is restarted like any that died, but not counted as a crash."""
        self._watch(name).kill()

    async def stop(self, *names: str) -> None:
        """Stop processes, all at once, and leave them stopped."""
        await asyncio.gather(*(self._watch(name).stop() for name in names))

    async def resume(self, name: str) -> None:
        """Start a stopped process again and wait until it is ready."""
        watch = self._watch(name)
        watch.want()
        self._tasks.create_task(watch.run(), name=name)
        await watch.wait_ready()

    async def restart(self, specification: ProcessSpecification) -> None:
        """Stop the process of this name, start it as specified now and wait until it is ready."""
        watch = self._watch(specification.name)
        await watch.stop()
        watch.specification = specification
        await self.resume(specification.name)

    async def stop_all(self) -> None:
        """Stop everything, one process after the other, the last started first."""
        for name in reversed(self.names):
            await self.stop(name)

    def kill_all(self) -> None:
        for watch in self._watches.values():
            watch.kill()

    def _watch(self, name: str) -> Watch:
        try:
            return self._watches[name]
        except KeyError:
            raise UnknownProcess(name, self.names) from None
