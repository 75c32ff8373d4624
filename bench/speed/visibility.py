"""Posts events at fixed times and watches, by reading availability, when each of them shows."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import msgspec

from bench.speed.http_load import Connection, Loaded, OpenLoop, UnusableAnswer, connected, request_of
from bench.speed.stock_world import UNITS_PER_LEVEL, WAREHOUSES, arrivals, skus

_READ_SECONDS: Final = 0.005
_SKUS_PER_READ: Final = 200
_VISIBLE_SECONDS_MAX: Final = 90.0
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was posted, and after how many seconds each event was visible, counted from when it was due."""

    posted: Loaded
    visible_after_seconds: Sequence[float]


class _Level(msgspec.Struct):
    warehouse: str
    available: int


class _Sku(msgspec.Struct):
    sku: str
    warehouses: list[_Level]


class _Answer(msgspec.Struct):
    items: list[_Sku]


class NeverVisible(Exception):
    """Events that were accepted did not show in availability."""


class _Watcher:
    """Reads the SKUs of which something is expected, again and again."""

    def __init__(self, load: OpenLoop, *, key: str) -> None:
        self._load = load
        self._key = key
        self._decoder = msgspec.json.Decoder(_Answer)
        # By SKU the events that are not visible yet: number, and the units that show it.
        self._expected: dict[str, deque[tuple[int, int]]] = {}
        self._answer: asyncio.Future[bytes] | None = None
        self.visible_after: dict[int, float] = {}

    def expect(self, number: int, sku: str, units: int) -> None:
        self._expected.setdefault(sku, deque()).append((number, units))

    def on_answer(self, _connection: Connection, status: int, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            if status == _OK:
                self._answer.set_result(body)
            else:
                self._answer.set_exception(UnusableAnswer(f"availability answered {status}: {body[:200]!r}"))

    def on_end(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def watch(self, connection: Connection, *, events: int) -> None:
        """Read until all `events` have been seen."""
        while len(self.visible_after) < events:
            await asyncio.sleep(_READ_SECONDS)
            # The ones that have waited longest first.
            wanted = list(self._expected)[:_SKUS_PER_READ]
            if not wanted:
                continue
            self._answer = asyncio.get_running_loop().create_future()
            path = "/v1/availability?" + "&".join(f"sku={sku}" for sku in wanted)
            connection.send(request_of("GET", path, key=self._key))
            self._note(await self._answer, perf_counter())

    def _note(self, body: bytes, seen_at: float) -> None:
        for item in self._decoder.decode(body).items:
            units = next((one.available for one in item.warehouses if one.warehouse == WAREHOUSES[0]), 0)
            expected = self._expected[item.sku]
            while expected and expected[0][1] <= units:
                number, _ = expected.popleft()
                self.visible_after[number] = seen_at - self._load.due_at(number)
            if not expected:
                del self._expected[item.sku]


async def watch_events(
    url: str, *, key: str, rate: float, operations: int, sku_count: int, connections: int, seed: int
) -> Watched:
    """
    Post the arrival of one unit at the first warehouse, each event for the next SKU, and watch.

    `seed` counts the calls from 0: the units of the calls before are there already.

    :raises NeverVisible: if not all events show within a minute and a half after the last was due.
    """
    names = skus(sku_count)
    requests = [
        request_of("POST", "/v1/stock-events", key=key, body=body, content_type="application/json")
        for body in arrivals(operations, sku_count=sku_count)
    ]
    load = OpenLoop(url, requests, rate=rate, connections=connections)
    watcher = _Watcher(load, key=key)

    def on_sent(number: int) -> None:
        sku = number % sku_count
        before = seed * len(range(sku, operations, sku_count))
        watcher.expect(number, names[sku], UNITS_PER_LEVEL + before + number // sku_count + 1)

    async with (
        connected(url, 1, watcher.on_answer, watcher.on_end) as [reader],
        asyncio.TaskGroup() as group,
    ):
        posting = group.create_task(load.run(on_sent))
        try:
            async with asyncio.timeout(operations / rate + _VISIBLE_SECONDS_MAX):
                await watcher.watch(reader, events=operations)
        except TimeoutError:
            seen = len(watcher.visible_after)
            raise NeverVisible(f"{operations - seen} of {operations} events did not show") from None
    return Watched(
        posted=posting.result(),
        visible_after_seconds=[watcher.visible_after[number] for number in range(operations)],
    )
