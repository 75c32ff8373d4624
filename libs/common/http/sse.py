"""Server-sent events: a response that stays open, tells the client what happens, and can be resumed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.common.errors import Unavailable
from libs.common.http.health import Health
from libs.common.http.middleware import LEAVE_IN_FLIGHT
from libs.common.telemetry.logs import get_logger

# Shorter than the idle timeout of any proxy in common use.
HEARTBEAT_SECONDS: Final = 15.0
STREAMS_MAX: Final = 2_000

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=255,
        description="The id of the last event received; the stream goes on after it.",
    ),
]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: `data` is JSON text, `id` is what the client sends back to resume after it."""

    data: str | bytes
    event: str | None = None
    id: str | None = None

    def encode(self) -> bytes:
        """Render the event; an id or a name with a line break would forge other fields and is refused."""
        lines: list[bytes] = []
        for name, value in ((b"id", self.id), (b"event", self.event)):
            if value is not None:
                if any(forbidden in value for forbidden in "\r\n\0"):
                    message = f"the {name.decode()} of an event is one line"
                    raise ValueError(message)
                lines.append(name + b": " + value.encode())
        data = self.data.encode() if isinstance(self.data, str) else self.data
        lines.extend(b"data: " + line for line in data.replace(b"\r", b"\n").split(b"\n"))
        return b"\n".join(lines) + b"\n\n"


def event_stream(
    request: Request,
    events: AsyncIterator[ServerEvent],
    *,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> Response:
    """
    Answer with `events` until they end, the client leaves or the process stops.

    Whatever may be refused must be refused before this is called; after it the status has been sent. Hold no
    transaction open between two events: the stream may last for hours.

    :raises Unavailable: if too many streams are open.
    """
    if _EventStream.open_streams >= STREAMS_MAX:
        raise Unavailable("Too many event streams are open.")
    return _EventStream(events, request.app.state.health, heartbeat_seconds)


class _EventStream(Response):
    open_streams = 0
    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[ServerEvent], health: Health, heartbeat_seconds: float) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._health = health
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.get(LEAVE_IN_FLIGHT, lambda: None)()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        _EventStream.open_streams += 1
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    group.create_task(self._send_events(send)),
                    group.create_task(_until_disconnected(receive)),
                    group.create_task(self._health.until_stopping()),
                }
                heartbeat = group.create_task(self._beat(send))
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in (*tasks, heartbeat):
                    task.cancel()
        finally:
            _EventStream.open_streams -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        try:
            async for event in self._events:
                await _send_part(send, event.encode())
        except Exception as error:  # noqa: BLE001 - a stream has no other way to report one
            # The client resumes after the last event it has; the status can no longer be changed.
            _log.exception("event_stream.broken", error=type(error).__name__)
        finally:
            # A generator that waits for its reader would else be closed by the garbage collector, at any later time.
            if isinstance(self._events, AsyncGenerator):
                await self._events.aclose()

    async def _beat(self, send: Send) -> None:
        while True:
            await _send_part(send, b": alive\n\n")
            await asyncio.sleep(self._heartbeat_seconds)


async def _send_part(send: Send, content: bytes) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": True})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
