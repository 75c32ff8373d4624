"""The listening process: uvicorn, with the limits it lacks, started and stopped by us."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from libs.common.telemetry.logs import get_logger

HEAD_TIMEOUT_SECONDS: Final = 10.0
HEAD_BYTES_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 100
# How long a client may leave a response unread before the connection is cut.
STALLED_WRITE_SECONDS_MAX: Final = 30.0
# Longer than clients and proxies let a connection rest (60 s at most of them): if the server closed it first, it could
# do so just as the next request is sent.
KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 2048
# What remains of the shutdown timeout for the rest of the process after the last request has ended.
_SHUTDOWN_RESERVE_SECONDS: Final = 2

_log = get_logger(__name__)


class PortUnavailable(Exception):
    """The address to listen on is taken or not this machine's."""


class ApplicationNotStarted(Exception):
    """The application's lifespan failed; the log line before says why."""


class _HeadTooLarge(Exception):
    """Stops the parser after the refusal has been sent."""


class GuardedProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 with deadlines where uvicorn waits for ever.

    A request's head must be complete in time and of bounded size, and a response must be read; the body is bounded by
    `BodyGuard`, which knows the route.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn passes to any protocol."""
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._header_bytes = 0
        self._is_in_body = False
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._head_arrived()
        self.resume_writing_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds of a head if that is what it belongs to."""
        if self._is_refused:
            return
        if self._head_timer is None and self._is_between_requests():
            self._await_head()
        super().data_received(data)
        if self._head_timer is not None and not self._is_in_body and not self.transport.is_closing():
            # Counted here too, because the parser keeps an endless header to itself.
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._header_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, up to the number and the total size allowed."""
        self._header_bytes += len(name) + len(value)
        if len(self.headers) >= HEADERS_MAX or self._header_bytes > HEAD_BYTES_MAX:
            self._refuse(b"431 Request Header Fields Too Large")
            raise _HeadTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request; its head was in time."""
        self._head_arrived()
        self._is_in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that what comes next is another head."""
        self._is_in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless it has been answered."""
        if not self._is_refused:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Give the client a while to read what waits for it."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(STALLED_WRITE_SECONDS_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing; the client reads again."""
        self.resume_writing_timer()
        super().resume_writing()

    def resume_writing_timer(self) -> None:
        """Forget the deadline of a stalled write."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _is_between_requests(self) -> bool:
        # Typed as never empty upstream, but it is until the first head is complete.
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._refuse, b"408 Request Timeout")

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._head_arrived()
        self._is_refused = True
        if self._is_in_body:
            # The answer has been sent; this is the rest of a body that nobody reads and that does not end.
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process has its own, and several servers may share it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Starlette,
    *,
    host: str,
    port: int,
    stop: asyncio.Event,
    shutdown_timeout_seconds: float,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """
    Serve `app` until `stop` is set, then answer what is under way and return.

    Readiness fails from the moment `stop` is set. `on_listening` is called with the port, which is the system's choice
    if `port` is 0.

    :raises PortUnavailable: if nothing can listen there.
    :raises ApplicationNotStarted: if the application's lifespan fails.
    """
    listener = _listen(host, port)
    drain_seconds = max(1, round(shutdown_timeout_seconds) - _SHUTDOWN_RESERVE_SECONDS)
    server = _Server(
        uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws="none",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # A forwarded address is a claim of the caller; nothing here decides by it.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
            backlog=_BACKLOG,
        )
    )
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_stop_when(stop, app, server))
            try:
                bound_port: int = listener.getsockname()[1]
                _log.info("http.listening", host=host, port=bound_port)
                if on_listening is not None:
                    on_listening(bound_port)
                await _run(server, listener)
            finally:
                watcher.cancel()
    except* ApplicationNotStarted as failures:
        raise failures.exceptions[0] from None
    finally:
        listener.close()
    _log.info("http.stopped", port=port)


async def _run(server: _Server, listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    except SystemExit:
        # Uvicorn ends the interpreter here; the other parts of this process have to be closed first.
        raise ApplicationNotStarted("the application did not start") from None


async def _stop_when(stop: asyncio.Event, app: Starlette, server: _Server) -> None:
    await stop.wait()
    app.state.health.stopping = True
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PortUnavailable(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None
    listener.setblocking(False)  # noqa: FBT003 - the name of the method says what is false
    return listener
