"""Expected arrivals in PostgreSQL; their SKU's lock guards them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from libs.common.db import Transaction
from libs.common.events.base import Envelope
from services.inventory.domain.arrivals import Arrival, ArrivalKey, ArrivalKind
from services.inventory.domain.stock_events import report_of

_OPEN: Final = """
SELECT sku, warehouse, kind, reference, units, received, expected_at, announced_at, announced_by
FROM expected_arrivals WHERE sku = ANY($1::text[]) AND received < units
"""
# What was received before it was announced, or after it was used up, is in the ledger only.
_FIND: Final = """
SELECT sku, warehouse, kind, reference, coalesce(units, 0),
       CASE WHEN kind = 'purchase' THEN (
           SELECT coalesce(sum(delta_on_hand), 0)::bigint FROM stock_movements
           WHERE stock_movements.sku = keys.sku AND stock_movements.warehouse = keys.warehouse
               AND stock_movements.kind = 'receipt' AND stock_movements.reference = keys.reference
       ) ELSE coalesce(received, 0) END,
       expected_at, announced_at, announced_by
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS keys (sku, warehouse, kind, reference)
LEFT JOIN expected_arrivals USING (sku, warehouse, kind, reference)
"""
_SAVE: Final = """
INSERT INTO expected_arrivals
    (sku, warehouse, kind, reference, units, received, expected_at, announced_at, announced_by)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::timestamptz[],
    $9::uuid[]
)
ON CONFLICT (sku, warehouse, kind, reference) DO UPDATE SET
    units = excluded.units,
    received = excluded.received,
    expected_at = excluded.expected_at,
    announced_at = excluded.announced_at,
    announced_by = excluded.announced_by
"""
_MARK: Final = "UPDATE stock_items SET has_arrivals = true WHERE sku = ANY($1::text[]) AND NOT has_arrivals"

_SAVE_NUMBERS: Final = """
INSERT INTO numbered_announcements (warehouse, sequence, event_id, recorded_at)
SELECT warehouse, sequence, event_id, $4
FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS announced (warehouse, sequence, event_id)
ORDER BY warehouse, sequence, event_id
ON CONFLICT DO NOTHING
"""

SkuArrivals = list[tuple[str, ArrivalKey, Arrival]]


async def open_arrivals(transaction: Transaction, skus: Collection[str]) -> SkuArrivals:
    """Return what is expected of locked SKUs."""
    driver = await transaction.driver()
    return [
        (sku, ArrivalKey(warehouse, ArrivalKind(kind), reference), Arrival(*columns))
        for sku, warehouse, kind, reference, *columns in await driver.fetch(_OPEN, list(skus))
    ]


async def find_arrivals(transaction: Transaction, keys: Collection[tuple[str, ArrivalKey]]) -> SkuArrivals:
    """Return what is known of arrivals of locked SKUs, open or not; of one never announced, what was received."""
    driver = await transaction.driver()
    rows = await driver.fetch(
        _FIND,
        [sku for sku, _ in keys],
        [key.warehouse for _, key in keys],
        [key.kind for _, key in keys],
        [key.reference for _, key in keys],
    )
    found: SkuArrivals = []
    for sku, warehouse, kind, reference, units, received, *announced in rows:
        arrival = Arrival(units, received, *announced) if announced[0] is not None else Arrival(units, received)
        found.append((sku, ArrivalKey(warehouse, ArrivalKind(kind), reference), arrival))
    return found


async def save_arrivals(transaction: Transaction, arrivals: Iterable[tuple[str, ArrivalKey, Arrival]]) -> None:
    """Write arrivals of locked SKUs."""
    rows = [
        (sku, *key, one.units, one.received, one.expected_at, one.announced_at, one.announced_by)
        for sku, key, one in arrivals
    ]
    if not rows:
        return
    driver = await transaction.driver()
    await driver.execute(_SAVE, *(list(column) for column in zip(*rows, strict=True)))
    await driver.execute(_MARK, sorted({row[0] for row in rows}))


async def save_numbers(transaction: Transaction, announcements: Collection[Envelope], *, recorded_at: datetime) -> None:
    """Write the numbers of announcements, each once."""
    driver = await transaction.driver()
    reports = [report_of(envelope) for envelope in announcements]
    await driver.execute(
        _SAVE_NUMBERS,
        [one.warehouse for one in reports],
        [one.sequence for one in reports],
        [envelope.id for envelope in announcements],
        recorded_at,
    )
