"""
The usual design for a flash sale: every reservation commits alone, on 64 connections, against one row.

One statement takes the units if they are there and inserts the reservation: the fewest round trips and rows that it
can be done with. There is no inbox, no outbox and no line of the order.
"""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import Final

import asyncpg

from bench.speed.approved_orders import Wanted, wanted_orders
from bench.speed.limits.timing import Stopwatch, Timed

_RESERVE: Final = """
WITH taken AS (
    UPDATE stock_levels SET reserved = reserved + $4
    WHERE sku = $2 AND warehouse = $3 AND on_hand - reserved >= $4 RETURNING sku
)
INSERT INTO reservations (order_id, status, version, approved_at, on_shortage, is_split_allowed, country, changed_at)
SELECT $1, 'held', 1, $5, 'refuse', true, 'NL', now() FROM taken
"""


async def reserve_one_by_one(database_url: str, *, operations: int, clients: int, seed: int) -> Timed:
    """Reserve for drawn orders of one line of one SKU from one warehouse."""
    wanted = wanted_orders(operations, sku_count=1, lines=1, seed=seed)
    first = next(wanted)
    orders = iter([first, *wanted])
    async with asyncpg.create_pool(database_url, min_size=clients, max_size=clients) as pool:
        latencies: list[float] = []
        watch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(_client(pool, orders, first.warehouse, latencies))
        return watch.timed(operations, tuple(latencies))


async def _client(pool: asyncpg.Pool, orders: Iterator[Wanted], warehouse: str, latencies: list[float]) -> None:
    async with pool.acquire() as connection:
        reserve = await connection.prepare(_RESERVE)
        for order in orders:
            started_at = perf_counter()
            [(sku, quantity)] = order.lines
            await reserve.fetch(order.order_id, sku, warehouse, quantity, order.approved_at)
            latencies.append(perf_counter() - started_at)
