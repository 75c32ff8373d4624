"""What goes wrong: processes that are killed, paused and restarted, by name."""

import asyncio
import os
import random
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from deploy.local.process import NotReadyInTime
from deploy.local.stack import LocalStack
from tests.faults.matrix import Broken
from tests.support.eventually import eventually

_PROC = Path("/proc")
_RESTART_SECONDS_MAX = 120.0


class Nemesis:
    """Does to the processes of a stack what a machine room does; `seed` decides when."""

    def __init__(self, stack: LocalStack, *, seed: int) -> None:
        """Do nothing yet."""
        self._stack = stack
        self.random = random.Random(seed)  # noqa: S311 - it is to be predictable

    def pid(self, name: str) -> int:
        """
        Return the process id.

        :raises Broken: if the process does not run.
        """
        pid = self._stack.supervisor.pid(name)
        if pid is None:
            raise Broken(f"{name} does not run")
        return pid

    async def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again, which is not waited for."""
        pid = self._stack.supervisor.pid(name)
        self._stack.kill(name)
        if pid is not None:
            await eventually(lambda: self._is_another(name, pid), timeout_seconds=_RESTART_SECONDS_MAX)

    async def kill_and_wait(self, name: str) -> None:
        """SIGKILL, and wait until its successor is ready."""
        await self.kill(name)
        await self.ready(name)

    async def terminate(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask one process to end, and wait until its successor is ready."""
        pid = self.pid(name)
        os.kill(pid, number)
        await eventually(lambda: self._is_another(name, pid), timeout_seconds=_RESTART_SECONDS_MAX)
        await self.ready(name)

    async def ready(self, *names: str) -> None:
        """Wait until processes are ready, for twice as long as a start may take: what dies here has company."""
        try:
            await self._stack.wait_ready(*names)
        except NotReadyInTime:
            await self._stack.wait_ready(*names)

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """SIGSTOP processes, with whatever they started, for the length of the block."""
        families = [pid for name in names for pid in family(self.pid(name))]
        for pid in families:
            _send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            # Children first: a parent must not see one of them as lost.
            for pid in reversed(families):
                _send(pid, signal.SIGCONT)

    @asynccontextmanager
    async def stopped(self, *names: str) -> AsyncIterator[None]:
        """Stop processes in good order, and leave them so for the length of the block."""
        await self._stack.stop(*names)
        try:
            yield
        finally:
            for name in names:
                await self._stack.resume(name)

    @contextmanager
    def limited(self, name: str, limit: int, maximum: int) -> Iterator[None]:
        """Lower a resource limit (`resource.RLIMIT_…`) of a running process for the length of the block."""
        pid = self.pid(name)
        before = resource.prlimit(pid, limit)
        resource.prlimit(pid, limit, (maximum, before[1]))
        try:
            yield
        finally:
            # It may have died of it.
            with suppress(ProcessLookupError):
                resource.prlimit(pid, limit, before)

    async def moment(self, seconds_min: float, seconds_max: float) -> None:
        """Let some time pass that nobody can count on."""
        await asyncio.sleep(self.random.uniform(seconds_min, seconds_max))

    async def _is_another(self, name: str, pid: int) -> bool:
        return self._stack.supervisor.pid(name) not in {None, pid}


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found, unseen = [], [pid]
    while unseen:
        found.append(one := unseen.pop())
        unseen.extend(children.get(one, ()))
    return found


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 if it has ended."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def open_files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list((_PROC / str(pid) / "fd").iterdir()))


def _parent(folder: Path) -> int | None:
    try:
        # The name in parentheses may hold anything, so the fields are counted from behind it.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
