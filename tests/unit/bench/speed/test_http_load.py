"""The load client against a small server of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bench.speed.http_load import OpenLoop, UnusableAnswer, ceiling, closed_loop, content_length, due_times, request_of

Answer = Callable[[int], bytes]


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve each connection, and close what is left of them at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def server(answer: Answer, *, stall_seconds: float = 0) -> AsyncIterator[str]:
    """Answer each request by its number; the first only after `stall_seconds`."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await reader.readuntil(b"\r\n\r\n"):
            number, requests = requests, requests + 1
            if number == 0 and stall_seconds:
                await asyncio.sleep(stall_seconds)
            writer.write(answer(number))

    async with listening(serve) as url:
        yield url


def ok(_number: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def test_a_closed_load_sends_as_many_as_asked_and_counts_answers_by_status() -> None:
    def every_fifth_is_refused(number: int) -> bytes:
        return ok(number) if number % 5 else b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"

    async with server(every_fifth_is_refused) as url:
        loaded = await closed_loop(url, [request_of("GET", "/")], connections=4, operations=50)

    assert loaded.statuses == {200: 40, 429: 10}
    assert len(loaded.latencies) == 50


async def test_an_answer_may_come_in_pieces() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (b"HTTP/1.1 20", b"1 Created\r\nContent-", b"Length: 4\r\n", b"\r\n12", b"34"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async with listening(serve) as url:
        loaded = await closed_loop(url, [request_of("GET", "/")], connections=1, operations=1)

    assert loaded.statuses == {201: 1}


async def test_a_server_that_hangs_up_is_told() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(hang_up) as url:
        with pytest.raises((UnusableAnswer, ConnectionError)):
            await closed_loop(url, [request_of("GET", "/")], connections=1, operations=1)


async def test_an_open_load_counts_from_when_a_request_was_due() -> None:
    """One connection and a server that stalls once: all that were due meanwhile waited, and their latency says so."""
    async with server(ok, stall_seconds=0.2) as url:
        load = OpenLoop(url, [request_of("GET", "/")] * 20, rate=100, connections=1)
        loaded = await load.run()

    assert len(loaded.latencies) == 20
    # Due after 0, 10, 20 … ms and none answered before 200 ms.
    for number, latency in enumerate(loaded.latencies[:15]):
        assert latency >= 0.2 - number * 0.01 - 0.005


async def test_an_open_load_tells_what_it_has_sent_in_order() -> None:
    sent: list[int] = []
    async with server(ok) as url:
        await OpenLoop(url, [request_of("GET", "/")] * 10, rate=10_000, connections=3).run(sent.append)

    assert sent == list(range(10))


def test_an_open_load_is_due_at_fixed_times() -> None:
    assert due_times(rate=4, operations=5) == [0, 0.25, 0.5, 0.75, 1]


def test_a_request_carries_key_and_body() -> None:
    request = request_of("POST", "/v1/x", key="k", body=b"{}", content_type="application/json", headers={"A": "b"})

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/x HTTP/1.1"
    assert {b"Authorization: Bearer k", b"Content-Type: application/json", b"Content-Length: 2", b"A: b"} <= set(
        head.split(b"\r\n")
    )
    assert body == b"{}"


def test_a_length_is_found_whatever_its_case_and_place() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 12\r\nx: y") == 12
    assert content_length(b"HTTP/1.1 200 OK\r\ncontent-length:7") == 7
    with pytest.raises(UnusableAnswer):
        content_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked")


async def test_the_ceiling_of_the_client_is_a_rate() -> None:
    assert await ceiling(connections=4, operations=200) > 0
