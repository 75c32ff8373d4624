"""A receiver of webhooks on loopback: it answers what a test says and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def payload(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def order_id(self) -> str:
        return str(self.payload["data"]["order_id"])


@dataclass
class Receiver:
    """What it was sent, and what it answers: raw HTTP, by request."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    answer: Callable[[Received], bytes] = field(default=lambda _: response(204))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        receiver = cls()
        server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()

    def accepted(self) -> list[Received]:
        """Return what was answered with a success, in order."""
        return [request for request in self.requests if self.answer(request).startswith(b"HTTP/1.1 2")]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {
            name.strip().lower(): text.strip()
            for name, _, text in (line.partition(":") for line in head.splitlines()[1:] if line)
        }
        request = Received(headers, await reader.readexactly(int(headers["content-length"])))
        self.requests.append(request)
        writer.write(self.answer(request))
        try:
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def response(status: int, *, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of an answer, after which the connection is closed."""
    fields = {"Content-Length": str(len(body)), "Connection": "close"}
    fields |= {name.replace("_", "-"): text for name, text in headers.items()}
    lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {text}" for name, text in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
