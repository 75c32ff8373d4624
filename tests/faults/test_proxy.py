"""The proxy does to the network what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.local.ports import HOST, free_ports
from tests.faults.proxy import Direction, FaultProxy, Weather

MESSAGE = b"twelve bytes"


@asynccontextmanager
async def echoing() -> AsyncIterator[FaultProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    echo_port = server.sockets[0].getsockname()[1]
    async with FaultProxy(port=free_ports(["proxy"])["proxy"].number, target_port=echo_port, seed=7) as proxy:
        yield proxy
    server.close()


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, proxy.port)


async def echoed_seconds(proxy: FaultProxy) -> float:
    reader, writer = await connect(proxy)
    started_at = asyncio.get_running_loop().time()
    writer.write(MESSAGE)
    assert await reader.readexactly(len(MESSAGE)) == MESSAGE
    writer.close()
    return asyncio.get_running_loop().time() - started_at


async def test_it_passes_everything_on_in_fair_weather() -> None:
    async with echoing() as proxy:
        await echoed_seconds(proxy)


@pytest.mark.parametrize(
    "weather",
    [
        Weather(latency_seconds=0.1),
        Weather(latency_seconds=0.2, slow_way=Direction.TO_CLIENT),
        Weather(bytes_per_second=len(MESSAGE) / 0.1),
    ],
)
async def test_latency_and_bandwidth_delay_what_passes(weather: Weather) -> None:
    async with echoing() as proxy:
        proxy.set(weather)
        assert await echoed_seconds(proxy) >= 0.2


async def test_slices_arrive_one_by_one_and_complete() -> None:
    async with echoing() as proxy:
        proxy.set(Weather(slice_bytes=1, latency_seconds=0.005, jitter_seconds=0.005))
        await echoed_seconds(proxy)


@pytest.mark.parametrize("way", [Direction.TO_SERVER, Direction.TO_CLIENT, Direction.BOTH])
async def test_a_black_hole_swallows_one_way_until_it_is_gone(way: Direction) -> None:
    async with echoing() as proxy:
        reader, writer = await connect(proxy)
        with proxy.bad(Weather(black_hole=way)):
            writer.write(MESSAGE)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reader.read(1)
        assert await reader.readexactly(len(MESSAGE)) == MESSAGE
        writer.close()


async def test_resets_end_connections_at_once() -> None:
    async with echoing() as proxy:
        proxy.set(Weather(reset_ratio=1.0))
        reader, writer = await connect(proxy)
        writer.write(MESSAGE)
        with pytest.raises(ConnectionError):
            await reader.readexactly(len(MESSAGE))
        assert proxy.resets == 1


async def test_a_stranded_client_hears_nothing_of_its_servers_end() -> None:
    async with echoing() as proxy:
        reader, writer = await connect(proxy)
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
        proxy.strand()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        writer.close()


async def test_nobody_behind_it_is_nobody_at_all() -> None:
    ports = free_ports(["proxy", "nobody"])
    async with FaultProxy(port=ports["proxy"].number, target_port=ports["nobody"].number, seed=7) as proxy:
        reader, _ = await connect(proxy)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)


async def test_it_leaves_nobody_behind_whom_it_was_about_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    async def connect_at_last(*_: object, **__: object) -> None:
        connecting.set()
        await asyncio.Event().wait()

    async with echoing() as proxy:
        others = asyncio.all_tasks()
        connect_now = asyncio.open_connection
        monkeypatch.setattr(asyncio, "open_connection", connect_at_last)
        reader, _ = await connect_now(HOST, proxy.port)
        await connecting.wait()
        [serving] = asyncio.all_tasks() - others
        serving.cancel()

        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
