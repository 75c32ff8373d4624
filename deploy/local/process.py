"""One child process: its command, its log, whether it is ready, how it is stopped."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.local import leash
from deploy.local.account import Account

READINESS_POLL_SECONDS = 0.1


async def at_once() -> bool:
    """Be ready from the start, as a process is that nothing waits for."""
    return True


@dataclass(frozen=True, kw_only=True)
class ProcessSpecification:
    """What the supervisor must know to run one process."""

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], Awaitable[bool]] = at_once
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # What the kernel sends when the supervisor itself was killed.
    orphan_signal: signal.Signals = signal.SIGKILL
    # Where twenty start at once on a slow machine, each takes its time.
    ready_timeout_seconds: float = 120
    stop_timeout_seconds: float = 20


class ProcessEnded(Exception):
    def __init__(self, name: str, code: int, last_lines: str) -> None:
        super().__init__(f"{name} ended with code {code}\n{last_lines}".rstrip())
        self.name = name
        self.code = code


class NotReadyInTime(Exception):
    def __init__(self, name: str, seconds: float, last_lines: str) -> None:
        super().__init__(f"{name} was not ready after {seconds:.0f} s\n{last_lines}".rstrip())
        self.name = name


class LeashedProcess:
    """A running child in a session of its own, so that Ctrl-C reaches the supervisor alone."""

    def __init__(self, specification: ProcessSpecification, child: asyncio.subprocess.Process) -> None:
        self.specification = specification
        self._child = child
        self._was_killed = False

    @classmethod
    async def start(cls, specification: ProcessSpecification, log: Path | None) -> Self:
        """Start it with its output at the end of `log`, or where the supervisor's own goes."""
        with log.open("ab") if log else nullcontext() as output:
            child = await asyncio.create_subprocess_exec(
                *leashed(specification),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(specification.environment),
                cwd=specification.folder,
                start_new_session=True,
            )
        return cls(specification, child)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        # Killed but not yet waited for is dead, though its sockets may still answer for a moment.
        return self._child.returncode is None and not self._was_killed

    async def wait(self) -> int:
        return await self._child.wait()

    def kill(self) -> None:
        """SIGKILL the process and whatever it started in its own session."""
        self._was_killed = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to stop, and kill it if it has not after its time."""
        if self.is_running:
            with suppress(ProcessLookupError):
                self._child.send_signal(self.specification.stop_signal)
            try:
                async with asyncio.timeout(self.specification.stop_timeout_seconds):
                    await self.wait()
            except TimeoutError:
                pass
        self.kill()
        await self.wait()

    async def is_ready(self) -> bool:
        return self.is_running and await self.specification.is_ready()


def leashed(specification: ProcessSpecification) -> tuple[str, ...]:
    account = specification.account
    return (
        sys.executable,
        # Isolated and without site-packages: it starts in 15 ms and reads nothing of ours.
        "-I",
        "-S",
        leash.__file__,
        str(os.getpid()),
        str(int(specification.orphan_signal)),
        str(account.user_id if account else -1),
        str(account.group_id if account else -1),
        *specification.command,
    )


def last_lines(log: Path, count: int = 20) -> str:
    """Return the end of a log, indented, for a message about why its writer failed."""
    if not log.exists():
        return ""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return "".join(f"    {line}" for line in deque(lines, maxlen=count))


async def run_once(specification: ProcessSpecification, log: Path) -> None:
    """
    Run a process to its end.

    :raises ProcessEnded: if it ended with another code than 0.
    """
    process = await LeashedProcess.start(specification, log)
    try:
        code = await process.wait()
    finally:
        await process.stop()
    if code != 0:
        raise ProcessEnded(specification.name, code, last_lines(log))
