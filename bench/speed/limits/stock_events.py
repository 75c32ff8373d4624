"""
The limit of applying warehouse events: hand-written SQL in sets, one process, one connection, one commit a batch.

For each batch it writes the rows that the service writes: a ledger movement for each event, the new
level of each SKU and warehouse, the next version of each SKU, and an outbox row with all levels of each SKU. It does
not read from the bus, decide, validate, or look for orders that wait. Batches have the size of the service's: larger
ones would write fewer outbox rows, which is less work and not the same.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from bench.speed.limits.timing import Stopwatch, Timed
from bench.speed.stock_world import Movement, as_movements, warehouse_reports

_MOVEMENT_COLUMNS: Final = (
    "event_id",
    "leg",
    "kind",
    "sku",
    "warehouse",
    "delta_on_hand",
    "occurred_at",
    "recorded_at",
    "sequence",
)
_APPLY: Final = """
WITH moved AS (
    SELECT sku, warehouse, sum(delta)::bigint AS delta
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS moves (sku, warehouse, delta) GROUP BY sku, warehouse
),
versioned AS (
    UPDATE stock_items SET version = version + 1 WHERE sku IN (SELECT sku FROM moved)
)
UPDATE stock_levels SET on_hand = on_hand + delta FROM moved
WHERE stock_levels.sku = moved.sku AND stock_levels.warehouse = moved.warehouse
"""
_ANNOUNCE: Final = """
INSERT INTO outbox_events (event_id, topic, key, headers, value)
SELECT uuidv7(), 'inventory.stock.v1', convert_to(sku, 'UTF8'), $2, convert_to(
    '{"sku":"' || sku || '","levels":[' || string_agg(
        '{"warehouse":"' || warehouse || '","on_hand":' || on_hand || ',"reserved":' || reserved
        || ',"in_transit":' || in_transit || '}', ','
    ) || ']}', 'UTF8')
FROM stock_levels WHERE sku = ANY($1::text[]) GROUP BY sku
"""


async def apply_stock_events(
    database_url: str, *, operations: int, sku_count: int, seed: int, batch: int, headers: bytes
) -> Timed:
    """Apply drawn events; `headers` are those of an outbox row, of the size that the service's have."""
    envelopes = list(warehouse_reports(operations, sku_count=sku_count, seed=seed))
    movements = as_movements(envelopes)
    event_ids = [envelope.id for envelope in envelopes]
    connection = await asyncpg.connect(database_url)
    try:
        watch = Stopwatch()
        for start in range(0, operations, batch):
            chosen = slice(start, start + batch)
            await _apply(connection, event_ids[chosen], movements[chosen], headers)
        return watch.timed(operations)
    finally:
        await connection.close()


async def _apply(
    connection: asyncpg.Connection, event_ids: Sequence[UUID], movements: Sequence[Movement], headers: bytes
) -> None:
    async with connection.transaction():
        recorded_at = movements[-1][4]
        await connection.copy_records_to_table(
            "stock_movements",
            columns=_MOVEMENT_COLUMNS,
            records=[
                (event_id, 0, kind, sku, warehouse, delta, occurred_at, recorded_at, sequence)
                for event_id, (kind, sku, warehouse, delta, occurred_at, sequence) in zip(
                    event_ids, movements, strict=True
                )
            ],
        )
        skus = [movement[1] for movement in movements]
        await connection.execute(_APPLY, skus, [one[2] for one in movements], [one[3] for one in movements])
        await connection.execute(_ANNOUNCE, list(set(skus)), headers)
