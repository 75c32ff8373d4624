"""
Reservations of a flash sale that each commit alone, on 64 connections, against one row.

In the usual design a transaction locks the row, looks, inserts the reservation, takes the units and commits: five
round trips. The fewest that it can be done with is one, a statement that takes the units if they are there and
inserts the reservation. There is no inbox, no outbox and no line of the order in either.
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
_LOCK: Final = "SELECT on_hand, reserved FROM stock_levels WHERE sku = $1 AND warehouse = $2 FOR UPDATE"
_INSERT: Final = """
INSERT INTO reservations (order_id, status, version, approved_at, on_shortage, is_split_allowed, country, changed_at)
VALUES ($1, 'held', 1, $2, 'refuse', true, 'NL', now())
"""
_TAKE: Final = "UPDATE stock_levels SET reserved = reserved + $3 WHERE sku = $1 AND warehouse = $2"


async def reserve_one_by_one(
    database_url: str, *, operations: int, clients: int, seed: int, is_one_statement: bool
) -> Timed:
    """Reserve for drawn orders of one line of one SKU from one warehouse."""
    client = _one_statement if is_one_statement else _five_round_trips
    wanted = wanted_orders(operations, sku_count=1, lines=1, seed=seed)
    first = next(wanted)
    orders = iter([first, *wanted])
    async with asyncpg.create_pool(database_url, min_size=clients, max_size=clients) as pool:
        latencies: list[float] = []
        watch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client(pool, orders, first.warehouse, latencies))
        return watch.timed(operations, tuple(latencies))


async def _five_round_trips(
    pool: asyncpg.Pool, orders: Iterator[Wanted], warehouse: str, latencies: list[float]
) -> None:
    async with pool.acquire() as connection:
        lock, insert, take = [await connection.prepare(statement) for statement in (_LOCK, _INSERT, _TAKE)]
        for order in orders:
            started_at = perf_counter()
            [(sku, quantity)] = order.lines
            async with connection.transaction():
                on_hand, reserved = await lock.fetchrow(sku, warehouse) or (0, 0)
                if on_hand - reserved >= quantity:
                    await insert.fetch(order.order_id, order.approved_at)
                    await take.fetch(sku, warehouse, quantity)
            latencies.append(perf_counter() - started_at)


async def _one_statement(pool: asyncpg.Pool, orders: Iterator[Wanted], warehouse: str, latencies: list[float]) -> None:
    async with pool.acquire() as connection:
        reserve = await connection.prepare(_RESERVE)
        for order in orders:
            started_at = perf_counter()
            [(sku, quantity)] = order.lines
            await reserve.fetch(order.order_id, sku, warehouse, quantity, order.approved_at)
            latencies.append(perf_counter() - started_at)
