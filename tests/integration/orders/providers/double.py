"""What the doubles of payment providers share: a real server on the loopback, and ways to let it fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from libs.common.clock import SystemClock
from libs.common.http.health import Health
from libs.common.http.server import serve


class Fault(Enum):
    """How a request fails; the first three after the provider has done what was asked. The silent ones hang up."""

    DONE_BUT_SILENT = auto()
    DONE_BUT_500 = auto()
    DONE_BUT_GARBLED = auto()
    SILENT = auto()
    FAILS = auto()
    GARBLED = auto()
    OTHER_SCHEMA = auto()

    @property
    def is_done(self) -> bool:
        return self in {Fault.DONE_BUT_SILENT, Fault.DONE_BUT_500, Fault.DONE_BUT_GARBLED}


class HangUp(Response):
    """The beginning of an answer, after which the server closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the interface is ASGI's
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})


@dataclass
class Double:
    """A provider's server; `faults` are by what a request is about, the next one first."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    never_answers: bool = False
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, what: str, *faults: Fault) -> None:
        self.faults.setdefault(what, []).extend(faults)

    def next_fault(self, what: str) -> Fault | None:
        waiting = self.faults.get(what)
        return waiting.pop(0) if waiting else None

    async def answer(self, what: str, do: Callable[[], Awaitable[Response]]) -> Response:
        """Do what is asked, or what the next fault makes of it."""
        self.requests.append(what)
        if self.never_answers:
            await self._stop.wait()
        fault = self.next_fault(what)
        if fault is None:
            return await do()
        if fault.is_done:
            await do()
        match fault:
            case Fault.SILENT | Fault.DONE_BUT_SILENT:
                return HangUp()
            case Fault.FAILS | Fault.DONE_BUT_500:
                return JSONResponse({"error": {"type": "api_error", "message": "Something went wrong."}}, 500)
            case Fault.GARBLED | Fault.DONE_BUT_GARBLED:
                return PlainTextResponse("<html>A proxy's page</html>")
            case Fault.OTHER_SCHEMA:
                return JSONResponse({"id": "pi_1", "object": "payment_intent", "status": 7})


@asynccontextmanager
async def running(double: Double, handle: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[None]:
    """Serve a double on a port of the loopback."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "POST"])])
    app.state.health = Health(clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve(
                app,
                host="127.0.0.1",
                port=0,
                stop=double._stop,  # noqa: SLF001 - the two end together
                shutdown_timeout_seconds=3,
                on_listening=listening.set_result,
            )
        )
        double.url = f"http://127.0.0.1:{await listening}"
        try:
            yield
        finally:
            double._stop.set()  # noqa: SLF001
