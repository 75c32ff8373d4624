"""What Ctrl-C, `kill` and a closed terminal do to a run."""

import asyncio
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

INTERRUPTED_CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal ended the run, and everything has been stopped."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Interrupts:
    """The first signal cancels the run, which then stops all in order; a second Ctrl-C kills."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._has_come = False
        # A run that is cut short has not done what it was asked for; one that stays up has.
        self.exit_code = INTERRUPTED_CODE

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """
        Listen for signals within the context.

        :raises Interrupted: at its end, if one came.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("signals cancel a task, and there is none")

        def handle(number: signal.Signals) -> None:
            if not self._has_come:
                self._has_come = True
                task.cancel()
            elif number is signal.SIGINT:
                # Only Ctrl-C twice is impatience: a terminal that closes sends several signals.
                self._kill()

        for number in SIGNALS:
            # `nohup` ignores SIGHUP for its command, which is then meant to go on. A shell script ignores SIGINT for
            # what it starts in the background; whoever then sends it by hand means it.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, handle, number)
        watch_terminal(loop, partial(handle, signal.SIGHUP))
        try:
            yield
        except asyncio.CancelledError:
            if not self._has_come:
                raise
            task.uncancel()
            raise Interrupted(self.exit_code) from None


def watch_terminal(loop: asyncio.AbstractEventLoop, on_hangup: Callable[[], None]) -> None:
    """
    Notice that the terminal is gone.

    The kernel tells only the first process of a session, which here may be make, and make does not
    pass it on. No bytes are asked for, which would take a person's typing away from their shell.
    """
    if sys.platform == "linux" and sys.stdin.isatty():
        terminal = select.epoll()
        terminal.register(sys.stdin.fileno(), select.EPOLLHUP)

        def handle() -> None:
            loop.remove_reader(terminal.fileno())
            terminal.close()
            on_hangup()

        loop.add_reader(terminal.fileno(), handle)
