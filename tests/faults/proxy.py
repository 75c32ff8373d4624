"""A TCP proxy that makes the network as bad as it is told to, the same way for the same seed."""

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Flag, auto
from types import TracebackType
from typing import Self

from deploy.local.ports import HOST

_READ_BYTES_MAX = 65_536
# What is under way in one direction of one connection; a sender that is faster has to wait, as on a real wire.
_CHUNKS_UNDER_WAY_MAX = 256
# Closes at once and with a reset instead of a farewell.
_RESET = struct.pack("ii", 1, 0)


class Direction(Flag):
    """Which of the two ways a fault concerns."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT
    NEITHER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """
    What the network does to each piece of data.

    `latency_seconds` ± `jitter_seconds` delays it without changing its order, `reset_ratio` is the probability that it
    resets its connection instead, `slice_bytes` cuts it up, `bytes_per_second` is the bandwidth of one direction of a
    connection. What a `black_hole` swallows is delivered when it is gone, as TCP would send it again. With `hides_ends`
    a connection that one side has ended looks open to the other: half-open.
    """

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    reset_ratio: float = 0.0
    slice_bytes: int = 0
    bytes_per_second: float = 0.0
    black_hole: Direction = Direction.NEITHER
    slow_way: Direction = Direction.BOTH
    hides_ends: bool = False


FAIR = Weather()


class FaultProxy:
    """Listens on `port` and passes on to `target_port`, both on this machine."""

    def __init__(self, *, port: int, target_port: int, seed: int) -> None:
        """Nothing listens before `async with`; `seed` decides about jitter and resets."""
        self.port = port
        self._target_port = target_port
        self._random = random.Random(seed)  # noqa: S311 - it is to be predictable
        self._weather = FAIR
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.resets = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port, limit=_READ_BYTES_MAX)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()
        if self._server is not None:
            self._server.close()
        self.reset_all()

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    @property
    def weather(self) -> Weather:
        """Return what the network does now."""
        return self._weather

    def set(self, weather: Weather) -> None:
        """Let this be the weather from now on, for connections that are open too."""
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    def clear(self) -> None:
        """Let the network be good again."""
        self.set(FAIR)

    @contextmanager
    def bad(self, weather: Weather) -> Iterator[None]:
        """Let this be the weather within the block."""
        before = self._weather
        self.set(weather)
        try:
            yield
        finally:
            self.set(before)

    def reset_all(self) -> None:
        """Reset every connection on both sides."""
        for connection in list(self._connections):
            connection.reset()

    def strand(self) -> None:
        """End every connection on the server's side, and leave the client's open: nobody tells it."""
        for connection in list(self._connections):
            connection.strand()

    def latency_seconds(self, way: Direction) -> float:
        weather = self._weather
        if not weather.slow_way & way:
            return 0.0
        jitter_seconds = self._random.uniform(-1, 1) * weather.jitter_seconds if weather.jitter_seconds else 0.0
        return max(0.0, weather.latency_seconds + jitter_seconds)

    def transmission_seconds(self, way: Direction, chunk_bytes: int) -> float:
        weather = self._weather
        is_narrow = weather.bytes_per_second and weather.slow_way & way
        return chunk_bytes / weather.bytes_per_second if is_narrow else 0.0

    def draws_reset(self) -> bool:
        ratio = self._weather.reset_ratio
        is_reset = ratio > 0 and self._random.random() < ratio
        self.resets += is_reset
        return is_reset

    async def wait_passable(self, way: Direction) -> None:
        """Wait until no black hole swallows what goes this way."""
        while self._weather.black_hole & way:
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _End(reader, writer)
        try:
            server = _End(*await asyncio.open_connection(HOST, self._target_port, limit=_READ_BYTES_MAX))
        except OSError:
            # As if nobody listened: what stands behind is away.
            client.reset()
            return
        except asyncio.CancelledError:
            client.reset()
            raise
        connection = _Connection(self, client, server)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


@dataclass(slots=True)
class _End:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        endpoint: socket.socket | None = self.writer.get_extra_info("socket")
        if endpoint is not None and not self.writer.transport.is_closing():
            with suppress(OSError):
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


class _Connection:
    """One client, one server, and a pump each way."""

    def __init__(self, proxy: FaultProxy, client: _End, server: _End) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_stranded = False
        self._client_ended = asyncio.Event()

    def reset(self) -> None:
        self._client.reset()
        self._server.reset()

    def strand(self) -> None:
        self._is_stranded = True
        self._server.reset()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(self._client, self._server, Direction.TO_SERVER))
                pumps.create_task(self._pump(self._server, self._client, Direction.TO_CLIENT))
        finally:
            self.reset()

    async def _pump(self, source: _End, sink: _End, way: Direction) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY_MAX)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(source, under_way, way))
            group.create_task(self._write(sink, under_way, way))

    async def _read(self, source: _End, under_way: "asyncio.Queue[tuple[float, bytes]]", way: Direction) -> None:
        clock = asyncio.get_running_loop().time
        due = 0.0
        while True:
            try:
                data = await source.reader.read(_READ_BYTES_MAX)
            except OSError:
                data = b""
            size = self._proxy.weather.slice_bytes or len(data) or 1
            for start in range(0, max(len(data), 1), size):
                chunk = data[start : start + size]
                # A chunk never overtakes the one before, and waits until that one is through.
                due = max(due, clock() + self._proxy.latency_seconds(way))
                due += self._proxy.transmission_seconds(way, len(chunk))
                await under_way.put((due, chunk))
            if not data:
                if way is Direction.TO_SERVER:
                    self._client_ended.set()
                return

    async def _write(self, sink: _End, under_way: "asyncio.Queue[tuple[float, bytes]]", way: Direction) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, chunk = await under_way.get()
            if (wait_seconds := due - clock()) > 0:
                await asyncio.sleep(wait_seconds)
            await self._proxy.wait_passable(way)
            if not chunk:
                await self._end(sink, way)
                return
            if self._proxy.draws_reset():
                self.reset()
                return
            try:
                sink.writer.write(chunk)
                await sink.writer.drain()
            except OSError:
                # The other pump reads the end of it.
                continue

    async def _end(self, sink: _End, way: Direction) -> None:
        if way is Direction.TO_CLIENT and (self._is_stranded or self._proxy.weather.hides_ends):
            # The client goes on as if there were somebody, until it gives up.
            await self._client_ended.wait()
            return
        with suppress(OSError):
            if sink.writer.can_write_eof():
                sink.writer.write_eof()
