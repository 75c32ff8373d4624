"""
A lean HTTP client to load a server with: raw keep-alive connections, one request under way on each, no pipelining.

It reads of an answer what it needs, the status and the length, so that on a machine that client and server share the
server is what is measured. `ceiling` tells how fast the client is by itself.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Final, cast

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_ANSWER_SECONDS_MAX: Final = 120.0
_CONSTANT: Final = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'


class UnusableAnswer(Exception):
    """The server closed the connection, or answered in a way that this client does not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load led to; `latencies` are seconds, in the order of the answers."""

    seconds: float
    cpu_seconds: float
    latencies: Sequence[float]
    statuses: Mapping[int, int] = field(default_factory=Counter)


def request_of(
    method: str, path: str, *, key: str = "", body: bytes = b"", content_type: str = "", headers: Mapping[str, str] = {}
) -> bytes:
    """Write a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines.extend((f"Content-Type: {content_type}", f"Content-Length: {len(body)}"))
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    return "\r\n".join(lines).encode("ascii") + _HEAD_END + body


class Connection(asyncio.Protocol):
    """One connection; `on_answer` is called with it, the status and the body as soon as an answer is complete."""

    def __init__(
        self, on_answer: Callable[["Connection", int, bytes], None], on_end: Callable[[Exception], None]
    ) -> None:
        """Hold what is called; `on_end` if the connection ends while it is used."""
        self.sent_at = 0.0
        self._on_answer = on_answer
        self._on_end = on_end
        self._received = b""
        self._expected = 0
        self._is_closing = False
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Say so unless it was closed from here."""
        self.ended.set()
        if not self._is_closing:
            self._on_end(error or UnusableAnswer("the server closed the connection"))

    def send(self, request: bytes) -> None:
        """Send a request; the answer to the one before must have come."""
        assert self._transport is not None  # noqa: S101 - connected
        self.sent_at = perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """Close it."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect an answer and hand it over when it is complete."""
        received = self._received = self._received + data if self._received else data
        if not self._expected:
            head_end = received.find(_HEAD_END)
            if head_end < 0:
                return
            try:
                self._expected = head_end + len(_HEAD_END) + content_length(received[:head_end])
            except UnusableAnswer as error:
                self._on_end(error)
                return
        if len(received) < self._expected:
            return
        body = received[received.find(_HEAD_END) + len(_HEAD_END) :]
        self._received, self._expected = b"", 0
        self._on_answer(self, int(received[9:12]), body)


def content_length(head: bytes) -> int:
    """
    Return the length of the body that follows a head.

    :raises UnusableAnswer: if the head does not say it.
    """
    place = head.find(_LENGTH)
    if place < 0:
        head = head.lower()
        place = head.find(_LENGTH)
    if place < 0:
        raise UnusableAnswer(f"no length: {head[:200]!r}")
    end = head.find(b"\r\n", place)
    return int(head[place + len(_LENGTH) : end if end >= 0 else len(head)])


@asynccontextmanager
async def connected(
    url: str, count: int, on_answer: Callable[[Connection, int, bytes], None], on_end: Callable[[Exception], None]
) -> AsyncIterator[list[Connection]]:
    """Open connections to a server and close them at the end."""
    host, _, port = url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: Connection(on_answer, on_end), host, int(port))
            connections.append(connection)
        yield connections
    finally:
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.ended.wait()


async def closed_loop(url: str, requests: Sequence[bytes], *, connections: int, operations: int) -> Loaded:
    """
    Send the requests in turn, again and again until there were `operations`.

    Each connection sends its next one as soon as it has the answer to the one before.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    sent = 0

    def send_next(connection: Connection) -> None:
        nonlocal sent
        if sent < operations:
            request = requests[sent % len(requests)]
            sent += 1
            connection.send(request)

    def on_answer(connection: Connection, status: int, _body: bytes) -> None:
        latencies.append(perf_counter() - connection.sent_at)
        statuses[status] += 1
        if len(latencies) == operations:
            done.set_result(None)
        else:
            send_next(connection)

    def on_end(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    async with connected(url, connections, on_answer, on_end) as opened:
        started_at, cpu_started_at = perf_counter(), process_time()
        for connection in opened:
            send_next(connection)
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            await done
        seconds, cpu_seconds = perf_counter() - started_at, process_time() - cpu_started_at
    return Loaded(seconds=seconds, cpu_seconds=cpu_seconds, latencies=latencies, statuses=statuses)


def due_times(*, rate: float, operations: int) -> list[float]:
    """Return when each operation of an open load is due, in seconds from its start."""
    return [number / rate for number in range(operations)]


class OpenLoop:
    """
    Requests at a fixed rate, whether the server keeps up or not.

    A request is due at its time and sent then if a connection is free, else as soon as one is; either way its latency
    counts from when it was due, so that a server that stalls cannot hide how many would have had to wait (coordinated
    omission).
    """

    def __init__(self, url: str, requests: Sequence[bytes], *, rate: float, connections: int) -> None:
        """Prepare to send each of `requests` once."""
        self._url = url
        self._requests = requests
        self._due = due_times(rate=rate, operations=len(requests))
        self._connections = connections
        self._waiting: deque[int] = deque()
        self._free: deque[Connection] = deque()
        self._under_way: dict[Connection, int] = {}
        self._on_sent: Callable[[int], None] | None = None
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.started_at = 0.0

    def due_at(self, number: int) -> float:
        """Return the `perf_counter` time at which a request was due."""
        return self.started_at + self._due[number]

    async def run(self, on_sent: Callable[[int], None] | None = None) -> Loaded:
        """Send everything; `on_sent` is called with the number of each request that is on its way."""
        self._on_sent = on_sent
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def on_answer(connection: Connection, status: int, _body: bytes) -> None:
            number = self._under_way.pop(connection)
            self.latencies.append(perf_counter() - self.due_at(number))
            self.statuses[status] += 1
            self._free.append(connection)
            self._send_waiting()
            if len(self.latencies) == len(self._requests) and not done.done():
                done.set_result(None)

        def on_end(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        async with connected(self._url, self._connections, on_answer, on_end) as opened:
            self._free.extend(opened)
            self.started_at, cpu_started_at = perf_counter(), process_time()
            for number in range(len(self._requests)):
                if (early := self.due_at(number) - perf_counter()) > 0:
                    await asyncio.sleep(early)
                if done.done():
                    break
                self._waiting.append(number)
                self._send_waiting()
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                await done
            seconds, cpu_seconds = perf_counter() - self.started_at, process_time() - cpu_started_at
        return Loaded(seconds=seconds, cpu_seconds=cpu_seconds, latencies=self.latencies, statuses=self.statuses)

    def _send_waiting(self) -> None:
        while self._waiting and self._free:
            number, connection = self._waiting.popleft(), self._free.popleft()
            self._under_way[connection] = number
            connection.send(self._requests[number])
            if self._on_sent is not None:
                self._on_sent(number)


async def ceiling(*, connections: int, operations: int) -> float:
    """Return the requests a second that client and a server that only writes a constant reach in one process."""
    loop = asyncio.get_running_loop()
    served: list[_ConstantServer] = []

    def serve() -> _ConstantServer:
        served.append(_ConstantServer())
        return served[-1]

    server = await loop.create_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        loaded = await closed_loop(
            f"http://127.0.0.1:{port}", [request_of("GET", "/")], connections=connections, operations=operations
        )
    finally:
        server.close()
        for one in served:
            await one.ended.wait()
    return operations / loaded.seconds


class _ConstantServer(asyncio.Protocol):
    """Answers whatever comes, as long as it comes whole."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended.set()

    def data_received(self, _data: bytes) -> None:
        self._transport.write(_CONSTANT)
