"""
The limit of reserving stock: the whole step of a consumer in one statement, one process, one connection.

For each batch, one statement drops what the inbox knows, locks the levels in the order of SKU and warehouse, grants by
prefix sums (first come, first served: an order that does not fit keeps what it asked for from those behind it in the
batch), all lines of an order or none, adds to what is reserved, and writes a reservation, its lines and an outbox row
for each order. It does not read from the bus, choose a warehouse, explain its decisions, announce new levels, or keep
orders that wait.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from bench.speed.approved_orders import Wanted, wanted_orders
from bench.speed.limits.timing import Stopwatch, Timed

_RESERVE: Final = """
WITH fresh AS (
    INSERT INTO inbox_events (consumer_group, event_id) SELECT 'limit', unnest($1::uuid[])
    ON CONFLICT DO NOTHING RETURNING event_id
),
asked AS MATERIALIZED (
    SELECT order_id, approved_at, position
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
         WITH ORDINALITY AS orders (event_id, order_id, approved_at, position)
    JOIN fresh USING (event_id)
),
lines AS MATERIALIZED (
    SELECT order_id, position, sku, warehouse, quantity
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[]) AS lines (position, sku, warehouse, quantity)
    JOIN asked USING (position)
),
locked AS MATERIALIZED (
    SELECT sku, warehouse, on_hand - reserved AS available FROM stock_levels
    WHERE (sku, warehouse) IN (SELECT sku, warehouse FROM lines) ORDER BY sku, warehouse FOR UPDATE
),
judged AS (
    SELECT order_id, position, sku, warehouse, quantity, available IS NOT NULL AND
           sum(quantity) OVER (PARTITION BY sku, warehouse ORDER BY position) <= available AS fits
    FROM lines LEFT JOIN locked USING (sku, warehouse)
),
verdicts AS MATERIALIZED (
    SELECT order_id, sku, warehouse, quantity, bool_and(fits) OVER (PARTITION BY position) AS is_granted FROM judged
),
taken AS (
    UPDATE stock_levels SET reserved = reserved + units
    FROM (
        SELECT sku, warehouse, sum(quantity)::bigint AS units FROM verdicts WHERE is_granted GROUP BY sku, warehouse
    ) AS granted
    WHERE stock_levels.sku = granted.sku AND stock_levels.warehouse = granted.warehouse
),
answers AS MATERIALIZED (
    SELECT order_id, is_granted, string_agg(
        '{"warehouse":"' || warehouse || '","sku":"' || sku || '","quantity":' || quantity || '}', ','
    ) AS allocations
    FROM verdicts GROUP BY order_id, is_granted
),
heads AS (
    INSERT INTO reservations (
        order_id, status, version, approved_at, on_shortage, is_split_allowed, country, changed_at
    )
    SELECT order_id, CASE WHEN is_granted THEN 'held' ELSE 'rejected' END, 1, approved_at, 'refuse', true, 'NL', now()
    FROM answers JOIN asked USING (order_id)
),
held AS (
    INSERT INTO reservation_lines (order_id, sku, warehouse, quantity, committed_quantity)
    SELECT order_id, sku, warehouse, quantity, 0 FROM verdicts WHERE is_granted
)
INSERT INTO outbox_events (event_id, topic, key, headers, value)
SELECT uuidv7(), 'inventory.reservation.v1', convert_to(order_id::text, 'UTF8'), $8, convert_to(
    '{"order_id":"' || order_id || '","allocations":[' || allocations || ']}', 'UTF8')
FROM answers
"""


async def reserve_in_batches(
    database_url: str, *, operations: int, sku_count: int, lines: int, seed: int, batch: int, headers: bytes
) -> Timed:
    """Reserve for drawn orders; `headers` are those of an outbox row, of the size that the service's have."""
    wanted = list(wanted_orders(operations, sku_count=sku_count, lines=lines, seed=seed))
    connection = await asyncpg.connect(database_url)
    try:
        reserve = await connection.prepare(_RESERVE)
        watch = Stopwatch()
        for start in range(0, operations, batch):
            await reserve.fetch(*_arguments(wanted[start : start + batch]), headers)
        return watch.timed(operations)
    finally:
        await connection.close()


def _arguments(wanted: Sequence[Wanted]) -> tuple[list[object], ...]:
    lines = [
        (position, sku, order.warehouse, quantity)
        for position, order in enumerate(wanted, start=1)
        for sku, quantity in order.lines
    ]
    orders = [(order.event_id, order.order_id, order.approved_at) for order in wanted]
    return (*map(list, zip(*orders, strict=True)), *map(list, zip(*lines, strict=True)))
