"""What no HTTP library would send: slow, endless and lying requests, at a server as it is deployed (F47, F48, F50)."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from libs.common.http.server import HEAD_BYTES_MAX, HEAD_TIMEOUT_SECONDS
from tests.abuse.effort import Effort
from tests.abuse.routes import address_of, every_route
from tests.abuse.site import RECEIVE_SECONDS, RunningService, Site
from tests.support.eventually import eventually

MEBIBYTE: Final = 1024 * 1024
# What a service may grow by while it refuses what is far larger.
GROWTH_BYTES_MAX: Final = 32 * MEBIBYTE
ANSWER_SECONDS_MAX: Final = 120.0
# How late a deadline may be kept on a machine that is busy with other things.
TOLERANCE_SECONDS: Final = 30.0
CHUNK: Final = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@asynccontextmanager
async def connection(service: RunningService) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int | None, bytes]:
    """Return the status and all that is sent until the server closes; no status if it closes without an answer."""
    received = b""
    # A reader also fails with what a write met: a reset, or a broken pipe.
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while chunk := await reader.read(65536):
                received += chunk
    return status_of(received), received


def status_of(received: bytes) -> int | None:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
    return int(found[1]) if found else None


async def send(service: RunningService, request: bytes) -> tuple[int | None, bytes]:
    """Send bytes as they are and return the answer."""
    received = await asyncio.to_thread(exchange, service.port, request)
    return status_of(received), received


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes, and return all that comes, also to who could not send everything: a stream would forget it."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(request)
        with contextlib.suppress(ConnectionError):
            while chunk := one.recv(65536):
                received += chunk
    return received


def head(site: Site, *headers: str, method: str = "POST", path: str = "/v1/products") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: catalog",
        f"Authorization: Bearer {site.keys.ops}",
        "Content-Type: application/json",
        "Idempotency-Key: raw",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@pytest.fixture
def catalog(site: Site) -> RunningService:
    return site.services["catalog"]


class TestStrangers:
    async def test_are_refused_on_every_route_before_a_body_that_they_announce(self, site: Site) -> None:
        routes = [route for route in every_route() if route.scopes is not None]

        answers = {
            (route.name, length): await send(
                site.services[route.service],
                f"{route.method} {address_of(route)} HTTP/1.1\r\nHost: quayside\r\nExpect: 100-continue\r\n"
                f"Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode(),
            )
            for route in routes
            for length in (2, 10**12)
        }

        assert {sent: status for sent, (status, _) in answers.items() if status != 401} == {}


class TestLyingRequests:
    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (("Content-Length: 1000000000",), b"{"),
            (("Content-Length: 99999999999999999999",), b"{"),
            (("Content-Length: 18446744073709551617",), b"{"),
        ],
        ids=["a gigabyte", "more than there is", "past 2^64"],
    )
    async def test_a_length_beyond_the_limit_is_refused_before_the_body(
        self, site: Site, catalog: RunningService, headers: tuple[str, ...], body: bytes
    ) -> None:
        status, _ = await send(catalog, head(site, *headers) + body)

        assert status in {400, 413}

    @pytest.mark.parametrize(
        "headers",
        [
            ("Content-Length: -1",),
            ("Content-Length: +2",),
            ("Content-Length: 0x2",),
            ("Content-Length: 2, 3",),
            ("Content-Length: 2", "Content-Length: 3"),
            ("Content-Length: 2", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: gzip, chunked, identity",),
            ("Transfer-Encoding : chunked",),
            (" Folded: header",),
            ("Null: a\x00b",),
            ("Name with spaces: 1",),
        ],
        ids=repr,
    )
    async def test_what_two_servers_would_read_differently_is_refused(
        self, site: Site, catalog: RunningService, headers: tuple[str, ...]
    ) -> None:
        status, _ = await send(catalog, head(site, *headers) + b"{}\r\n0\r\n\r\n")

        assert status == 400

    @pytest.mark.parametrize(
        "line",
        [
            b"GET / HTTP/9.9",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            b"GET /\x00 HTTP/1.1",
            b"GET  HTTP/1.1",
            b"\x00" * 64,
        ],
        ids=repr,
    )
    async def test_what_is_not_http_is_answered_or_cut_at_once(self, catalog: RunningService, line: bytes) -> None:
        status, _ = await send(catalog, line + b"\r\nHost: catalog\r\nConnection: close\r\n\r\n")

        assert status in {400, None}

    async def test_fewer_bytes_than_were_announced_have_no_effect(self, site: Site, catalog: RunningService) -> None:
        body = b'{"sku": "RAW-1", "title": "Raw", "price_minor": 1, "currency": "GBP"}'
        async with connection(catalog) as (reader, writer):
            writer.write(head(site, f"Content-Length: {len(body) + 10}") + body)
            writer.write_eof()
            await answer_of(reader)

        async with catalog.client(site.keys.ops) as client:
            assert (await client.get("/v1/products/RAW-1")).status_code == 404

    async def test_more_bytes_than_were_announced_are_no_second_request(
        self, site: Site, catalog: RunningService
    ) -> None:
        smuggled = head(site, method="DELETE", path="/v1/products/RAW-2")
        status, received = await send(catalog, head(site, "Content-Length: 2") + b"{}" + smuggled)

        assert status == 422
        assert received.count(b"HTTP/1.1 ") == 1


class TestLargeRequests:
    @pytest.mark.parametrize(
        "headers",
        [
            [f"X-Header-{number}: 1" for number in range(10_000)],
            [f"X-Large: {'a' * HEAD_BYTES_MAX}"],
            [f"{'N' * HEAD_BYTES_MAX}: 1"],
        ],
        ids=["10,000 headers", "a header of 64 KiB", "a name of 64 KiB"],
    )
    async def test_a_large_head_is_refused(self, site: Site, catalog: RunningService, headers: list[str]) -> None:
        status, _ = await send(catalog, head(site, *headers))

        assert status == 431

    async def test_an_address_of_64_kib_is_refused(self, catalog: RunningService) -> None:
        status, _ = await send(catalog, b"GET /" + b"a" * HEAD_BYTES_MAX + b" HTTP/1.1\r\nHost: catalog\r\n\r\n")

        assert status in {414, 431, 400}

    async def test_an_endless_body_is_cut_early_and_kept_nowhere(
        self, site: Site, catalog: RunningService, effort: Effort
    ) -> None:
        senders = 20 if effort.is_thorough else 4
        before = catalog.resident_bytes

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.pour(site, catalog)) for _ in range(senders)]

        assert {task.result()[0] for task in tasks} <= {413, None}
        assert max(task.result()[1] for task in tasks) < 16 * MEBIBYTE
        assert catalog.resident_bytes - before < GROWTH_BYTES_MAX

    async def pour(self, site: Site, service: RunningService) -> tuple[int | None, int]:
        """Send a body without an end; return the answer, and how many bytes were taken before it came."""
        async with connection(service) as (reader, writer):
            writer.write(head(site, "Transfer-Encoding: chunked"))
            sent = 0
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof() and sent < 1024 * MEBIBYTE:
                    writer.write(CHUNK)
                    await writer.drain()
                    sent += len(CHUNK)
            return (await answer_of(reader))[0], sent


class TestSlowRequests:
    async def test_are_cut_at_a_deadline_while_others_are_served(
        self, site: Site, catalog: RunningService, effort: Effort
    ) -> None:
        if not effort.is_thorough:
            pytest.skip(
                "takes as long as the deadline; tests/unit/common/http/test_server.py tries it with a short one"
            )
        body = b'{"sku": "RAW-3", "title": "Slow", "price_minor": 1, "currency": "GBP"}'
        slow_head = b"GET /v1/products HTTP/1.1\r\nHost: catalog\r\nX-Slow: " + b"a" * 1000
        slow_body = head(site, f"Content-Length: {len(body)}")
        descriptors_before = catalog.open_descriptors

        async with asyncio.TaskGroup() as group:
            heads = [group.create_task(self.drip(catalog, b"", slow_head)) for _ in range(400)]
            bodies = [group.create_task(self.drip(catalog, slow_body, body)) for _ in range(100)]
            served = group.create_task(self.ask_others(site, catalog, seconds=HEAD_TIMEOUT_SECONDS))

        for tasks, deadline in ((heads, HEAD_TIMEOUT_SECONDS), (bodies, RECEIVE_SECONDS)):
            assert {task.result()[0] for task in tasks} <= {408, None}
            assert max(task.result()[1] for task in tasks) < deadline + TOLERANCE_SECONDS
        assert served.result() > 10
        await eventually(lambda: descriptors(catalog), lambda now: now <= descriptors_before + 5)

    async def drip(self, service: RunningService, at_once: bytes, slowly: bytes) -> tuple[int | None, float]:
        """Send a byte a second; return the answer and after how many seconds it came."""
        started_at = asyncio.get_running_loop().time()
        async with connection(service) as (reader, writer):
            writer.write(at_once)
            answer = asyncio.get_running_loop().create_task(answer_of(reader))
            for byte in slowly:
                with contextlib.suppress(ConnectionError):
                    writer.write(bytes((byte,)))
                    await writer.drain()
                done, _ = await asyncio.wait([answer], timeout=1)
                if done:
                    break
            return (await answer)[0], asyncio.get_running_loop().time() - started_at

    async def ask_others(self, site: Site, service: RunningService, *, seconds: float) -> int:
        """Return how many requests were answered well meanwhile; raise if one was not."""
        deadline = asyncio.get_running_loop().time() + seconds
        count = 0
        async with service.client(site.keys.ops) as client:
            while asyncio.get_running_loop().time() < deadline:
                assert (await client.get("/v1/products")).status_code == 200
                count += 1
                await asyncio.sleep(0.2)
        return count


class TestClientsThatLeave:
    @pytest.mark.parametrize("service", ["catalog", "inventory", "orders"])
    async def test_leave_no_transaction_behind(self, site: Site, service: str) -> None:
        """An upload that is reset half way is rolled back, and its connection goes back to the pool."""
        path, row = UPLOADS[service]
        target = site.services[service]
        request = head(site, "Transfer-Encoding: chunked", path=path).replace(
            b"application/json", b"application/x-ndjson"
        )
        request += f"{len(row):x}\r\n".encode() + row + b"\r\n"

        for _ in range(30):
            reset(target.port, request)

        await eventually(lambda: open_transactions(target), lambda count: count == 0)
        async with target.client(site.keys.ops) as client:
            assert (await client.get("/readyz")).status_code == 200

    async def test_half_way_through_an_answer_harm_nobody(self, site: Site) -> None:
        inventory = site.services["inventory"]
        request = head(site, method="GET", path="/v1/availability/stream")
        for _ in range(30):
            reset(inventory.port, request)

        async with inventory.client(site.keys.ops) as client:
            assert (await client.get("/v1/stock-ageing")).status_code == 200
        await eventually(lambda: open_transactions(inventory), lambda count: count == 0)


UPLOADS: Final = {
    "catalog": ("/v1/products/import", b'{"sku": "RAW-4", "title": "Left", "price_minor": 1, "currency": "GBP"}\n'),
    "inventory": ("/v1/stock-events", b'{"type": "goods.received"}\n'),
    "orders": ("/v1/orders", b'{"customer_id": "'),
}


def reset(port: int, request: bytes) -> None:
    """Send the beginning of a request, then break the connection without a word."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(request)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def open_transactions(service: RunningService) -> int:
    driver = await asyncpg.connect(service.database_url)
    try:
        count: int = await driver.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        return count
    finally:
        await driver.close()


async def descriptors(service: RunningService) -> int:
    return service.open_descriptors
