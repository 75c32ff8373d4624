"""The server on a real socket: what only shows there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from libs.common.http import server as server_module
from libs.common.http.auth import public
from libs.common.http.health import Health
from libs.common.http.server import ApplicationNotStarted, GuardedProtocol, PortUnavailable, serve
from libs.common.http.sse import LastEventId, ServerEvent, event_stream
from tests.support.eventually import eventually
from tests.unit.common.http.conftest import AppFactory

# For the busiest machine: none of these tests waits so long for what comes true.
PATIENCE_SECONDS = 60


@pytest.fixture
async def entered() -> asyncio.Event:
    """Tell when the slow route has been entered."""
    return asyncio.Event()


@pytest.fixture
def router(entered: asyncio.Event) -> APIRouter:
    router = APIRouter(dependencies=[public()])

    @router.get("/slow/{seconds}")
    async def be_slow(seconds: float) -> str:
        entered.set()
        await asyncio.sleep(seconds)
        return "done"

    @router.post("/note")
    async def write_note(request: Request) -> int:
        return len(await request.body())

    @router.get("/refused-unread", status_code=204)
    async def refuse() -> None:
        return None

    @router.get("/large")
    async def send_much() -> Response:
        return Response(b"x" * 20_000_000)

    @router.get("/events")
    async def follow(request: Request, last_event_id: LastEventId = None) -> Response:
        async def events() -> AsyncIterator[ServerEvent]:
            first = int(last_event_id or 0) + 1
            for number in range(first, first + 2):
                yield ServerEvent(data=f'{{"number":{number}}}', event="order.shipped", id=str(number))
            await asyncio.Event().wait()

        return event_stream(request, events(), heartbeat_seconds=0.02)

    return router


@pytest.fixture
def app(make_app: AppFactory, router: APIRouter) -> FastAPI:
    return make_app(router, request_body_bytes_max=1024)


class Served:
    """A served application, as a client on the same machine sees it."""

    def __init__(self, port: int, stop: asyncio.Event) -> None:
        self.port = port
        self.stop = stop

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, sent: bytes) -> bytes:
        """Send bytes and return all that comes until the server closes."""
        reader, writer = await self.open()
        writer.write(sent)
        received = b""
        # Closing with input unread resets the connection, which may overtake the answer.
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while chunk := await reader.read(65_536):
                    received += chunk
        writer.close()
        return received


@asynccontextmanager
async def running(app: FastAPI, *, shutdown_timeout_seconds: float = 30) -> AsyncIterator[Served]:
    stop = asyncio.Event()
    ports: asyncio.Queue[int] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            serve(
                app,
                host="127.0.0.1",
                port=0,
                stop=stop,
                shutdown_timeout_seconds=shutdown_timeout_seconds,
                on_listening=ports.put_nowait,
            )
        )
        try:
            yield Served(await ports.get(), stop)
        finally:
            stop.set()
            await task


def get(path: str, *, headers: bytes = b"connection: close\r\n") -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\nhost: orders\r\n" + headers + b"\r\n"


class TestServe:
    async def test_answers(self, app: FastAPI) -> None:
        async with running(app) as served:
            answer = await served.exchange(get("/healthz"))

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"server:" not in answer.lower()

    async def test_finishes_what_is_under_way_when_stopped(
        self, app: FastAPI, entered: asyncio.Event, health: Health
    ) -> None:
        async with running(app) as served, asyncio.TaskGroup() as group:
            answer = group.create_task(served.exchange(get("/slow/0.3")))
            await entered.wait()
            served.stop.set()

        assert answer.result().startswith(b"HTTP/1.1 200")
        assert health.stopping

    async def test_does_not_wait_for_ever_when_stopped(self, app: FastAPI, entered: asyncio.Event) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with running(app, shutdown_timeout_seconds=3) as served, asyncio.TaskGroup() as group:
                group.create_task(served.exchange(get("/slow/3600")))
                await entered.wait()
                served.stop.set()

    async def test_says_in_one_line_that_a_port_is_taken(self, app: FastAPI) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]

            with pytest.raises(PortUnavailable, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
                await serve(app, host="127.0.0.1", port=port, stop=asyncio.Event(), shutdown_timeout_seconds=1)

    async def test_reports_an_application_that_does_not_start(self) -> None:
        @asynccontextmanager
        async def fail(app: FastAPI) -> AsyncIterator[None]:
            yield app.state.database_that_nobody_made

        with pytest.raises(ApplicationNotStarted):
            await serve(
                FastAPI(lifespan=fail), host="127.0.0.1", port=0, stop=asyncio.Event(), shutdown_timeout_seconds=1
            )


class TestSlowClients:
    async def test_that_never_finish_a_head_are_cut(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.1)
        async with running(app) as served:
            answer = await served.exchange(b"GET / HTTP/1.1\r\nhost: ord")

        assert answer.startswith(b"HTTP/1.1 408")

    async def test_that_drip_a_second_head_on_a_kept_connection_are_cut(
        self, app: FastAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(app) as served:
            reader, writer = await served.open()
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(get("/healthz", headers=b""))
                await reader.readuntil(b'{"status":"alive"}')
                monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.1)
                writer.write(b"GET / HTTP/1.1\r\n")
                answer = await reader.read()
            writer.close()

        assert answer.startswith(b"HTTP/1.1 408")

    async def test_that_send_nothing_are_cut(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "HEAD_TIMEOUT_SECONDS", 0.1)
        async with running(app) as served:
            assert (await served.exchange(b"")).startswith(b"HTTP/1.1 408")

    async def test_that_never_finish_a_body_are_told_and_cut(self, make_app: AppFactory, router: APIRouter) -> None:
        app = make_app(router, request_receive_timeout_seconds=0.1)
        head = b"POST /note HTTP/1.1\r\nhost: orders\r\ncontent-length: 100\r\n\r\n"
        async with running(app) as served:
            answer = await served.exchange(head + b"x")

        assert answer.startswith(b"HTTP/1.1 408")
        assert b"request-timeout" in answer

    async def test_that_do_not_read_their_answer_are_cut(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "STALLED_WRITE_SECONDS_MAX", 0.1)
        cut = asyncio.Event()
        lose = GuardedProtocol.connection_lost

        def note(protocol: GuardedProtocol, error: Exception | None) -> None:
            lose(protocol, error)
            cut.set()

        monkeypatch.setattr(GuardedProtocol, "connection_lost", note)
        async with running(app) as served:
            reader, writer = await served.open()
            writer.write(get("/large"))
            # The buffers of both sockets fill up while nothing is read.
            async with asyncio.timeout(PATIENCE_SECONDS):
                await cut.wait()

            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(20_000_000)
            writer.close()


class TestLargeHeads:
    @pytest.mark.parametrize(
        "headers",
        [b"x-long: " + b"a" * 70_000 + b"\r\n", b"x-many: a\r\n" * 200, b"x-endless: " + b"a" * 200_000],
        ids=["one long header", "many headers", "a header without end"],
    )
    async def test_are_refused(self, headers: bytes, app: FastAPI) -> None:
        async with running(app) as served:
            answer = await served.exchange(b"GET /healthz HTTP/1.1\r\n" + headers + b"\r\n")

        assert answer[:12] in {b"HTTP/1.1 431", b""}

    async def test_of_an_ordinary_size_are_not(self, app: FastAPI) -> None:
        headers = b"connection: close\r\nhost: orders\r\n" + b"x-some: " + b"a" * 4_000 + b"\r\n"
        async with running(app) as served:
            answer = await served.exchange(b"GET /healthz HTTP/1.1\r\n" + headers + b"\r\n")

        assert answer.startswith(b"HTTP/1.1 200")

    async def test_what_is_not_http_is_400(self, app: FastAPI) -> None:
        async with running(app) as served:
            assert (await served.exchange(b"\x16\x03\x01\x02\x00\r\n\r\n")).startswith(b"HTTP/1.1 400")


class TestLargeBodies:
    async def test_without_a_length_are_refused_early(self, app: FastAPI) -> None:
        head = b"POST /note HTTP/1.1\r\nhost: orders\r\ntransfer-encoding: chunked\r\n\r\n"
        async with running(app) as served:
            answer = await served.exchange(head + b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n")

        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer


class TestEventStream:
    async def test_sends_events_then_heartbeats(self, app: FastAPI) -> None:
        async with running(app) as served:
            reader, writer = await served.open()
            writer.write(get("/events"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                received = await reader.readuntil(b'data: {"number":2}\n\n')
                await reader.readuntil(b": alive\n\n")
            writer.close()

        assert b"content-type: text/event-stream" in received
        assert b'id: 1\nevent: order.shipped\ndata: {"number":1}\n\n' in received

    async def test_resumes_after_the_last_event_received(self, app: FastAPI) -> None:
        async with running(app) as served:
            reader, writer = await served.open()
            writer.write(get("/events", headers=b"last-event-id: 41\r\n"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                received = await reader.readuntil(b'data: {"number":42}\n\n')
            writer.close()

        assert b'"number":1}' not in received

    async def test_does_not_keep_others_out(self, make_app: AppFactory) -> None:
        router = APIRouter(dependencies=[public()])

        @router.get("/events")
        async def follow(request: Request) -> Response:
            async def events() -> AsyncIterator[ServerEvent]:
                yield ServerEvent(data="{}")
                await asyncio.Event().wait()

            return event_stream(request, events())

        async with running(make_app(router, requests_in_flight_max=1)) as served:
            reader, writer = await served.open()
            writer.write(get("/events"))
            await reader.readuntil(b"data: {}\n\n")
            other = await served.exchange(get("/problems"))
            writer.close()

        assert other.startswith(b"HTTP/1.1 200")

    async def test_closes_its_source_when_the_client_leaves(self, make_app: AppFactory) -> None:
        closed = asyncio.Event()
        router = APIRouter(dependencies=[public()])

        @router.get("/events")
        async def follow(request: Request) -> Response:
            async def events() -> AsyncIterator[ServerEvent]:
                try:
                    while True:
                        yield ServerEvent(data="x" * 1000)
                        await asyncio.sleep(0)
                finally:
                    closed.set()

            return event_stream(request, events())

        async with running(make_app(router)) as served:
            reader, writer = await served.open()
            writer.write(get("/events"))
            await reader.readuntil(b"data: x")
            writer.close()

            async with asyncio.timeout(PATIENCE_SECONDS):
                await closed.wait()

    async def test_ends_when_the_process_stops(self, app: FastAPI) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with running(app, shutdown_timeout_seconds=600) as served:
                reader, writer = await served.open()
                writer.write(get("/events"))
                await reader.readuntil(b": alive\n\n")
                served.stop.set()
                rest = await reader.read()
                writer.close()

        assert rest.endswith(b"0\r\n\r\n")

    async def test_ends_when_the_client_leaves(self, app: FastAPI) -> None:
        async with running(app) as served:
            reader, writer = await served.open()
            writer.write(get("/events"))
            await reader.readuntil(b": alive\n\n")
            writer.close()

            async def has_ended() -> bool:
                metrics = await served.exchange(get("/metrics"))
                route = b'http_request_duration_seconds_count{method="GET",route="/events"'
                return route in metrics

            await eventually(has_ended)

    @pytest.mark.parametrize("value", ["1\ndata: forged", "1\r2", "1\x00"])
    def test_refuses_an_id_that_would_forge_other_fields(self, value: str) -> None:
        with pytest.raises(ValueError, match="one line"):
            ServerEvent(data="{}", id=value).encode()

    def test_keeps_the_line_breaks_of_its_data(self) -> None:
        assert ServerEvent(data="a\nb").encode() == b"data: a\ndata: b\n\n"
