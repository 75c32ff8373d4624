"""The journeys of orders: read from the saga's tables, many at a time, and stored beside them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.orders.domain.delays import STAGES, Parcel
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import ShipmentStatus
from services.orders.handlers.insights import JourneyRow, OrderSource, ParcelNews, StoredPromise

# One parcel may come several times in a batch: its news is put together before it is stored.
_NOTE_PARCELS = """
INSERT INTO order_parcels AS known (shipment_id, order_id, carrier, first_scanned_at, last_scanned_at)
SELECT shipment_id, (array_agg(order_id))[1], max(carrier), min(scanned_at), max(scanned_at)
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[]) AS news (shipment_id, order_id, carrier, scanned_at)
GROUP BY shipment_id ORDER BY shipment_id
ON CONFLICT (shipment_id) DO UPDATE
SET carrier = coalesce(excluded.carrier, known.carrier),
    first_scanned_at = least(known.first_scanned_at, excluded.first_scanned_at),
    last_scanned_at = greatest(known.last_scanned_at, excluded.last_scanned_at)
"""
_ARRIVED = """
SELECT order_id FROM order_journeys WHERE order_id = ANY($1::uuid[]) AND delivered_at IS NOT NULL
"""
_BEGIN = """
INSERT INTO order_journeys (order_id, day, status, customer_id, channel, country, currency, total_minor)
SELECT id, (placed_at AT TIME ZONE 'UTC')::date, status, customer_id, channel, country, currency, total_minor
FROM orders WHERE id = ANY($1::uuid[]) ORDER BY id
ON CONFLICT DO NOTHING
"""
_PROMISE = """order_id, promised_by, ship_by, allowance_seconds, typical_seconds, probability_late,
    probability_at_confirmation, probability_at_dispatch, published_probability"""
_LOCK = f"""
SELECT {_PROMISE} FROM order_journeys WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR NO KEY UPDATE
"""  # noqa: S608 - a constant
_LOCK_DUE = f"""
SELECT {_PROMISE} FROM order_journeys WHERE rescore_at <= $1
ORDER BY rescore_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
_READ = """
SELECT orders.id, orders.status, status_reason, country, placed_at, received_at, orders.correlation_id,
       captured_minor, refunded_minor, warehouses, stages, times,
       EXISTS (SELECT FROM returns WHERE returns.order_id = orders.id) AS is_returned
FROM orders
JOIN payments ON payments.order_id = orders.id
LEFT JOIN order_allocations ON order_allocations.order_id = orders.id
CROSS JOIN LATERAL (
    SELECT array_agg(stage ORDER BY sequence) AS stages, array_agg(entered_at ORDER BY sequence) AS times
    FROM order_timeline WHERE order_timeline.order_id = orders.id
) way
WHERE orders.id = ANY($1::uuid[])
"""
_PARCELS = """
SELECT order_shipments.order_id, warehouse, carrier, dispatched_at, first_scanned_at, last_scanned_at, delivered_at
FROM order_shipments LEFT JOIN order_parcels USING (shipment_id)
WHERE order_shipments.order_id = ANY($1::uuid[]) AND order_shipments.status <> ALL($2::text[])
ORDER BY order_shipments.order_id, shipment_id
"""
# What never left is no part of a journey.
_STOPPED: Final = [ShipmentStatus.CANCELLED.value, ShipmentStatus.REPLACED.value]
_COLUMNS: Final[Mapping[str, str]] = {
    "status": "text",
    "reason": "text",
    "captured_minor": "bigint",
    "refunded_minor": "bigint",
    "warehouse": "text",
    "carrier": "text",
    "is_held": "boolean",
    "is_backordered": "boolean",
    "is_confirmed": "boolean",
    "is_returned": "boolean",
    "dispatched_at": "timestamptz",
    "delivered_at": "timestamptz",
    "promised_by": "timestamptz",
    "ship_by": "timestamptz",
    "allowance_seconds": "double precision",
    "probability_late": "double precision",
    "probability_at_confirmation": "double precision",
    "probability_at_dispatch": "double precision",
    "published_probability": "double precision",
    "is_at_risk": "boolean",
    "rescore_at": "timestamptz",
    "lateness_seconds": "double precision",
}
# Arrays of arrays would have to be rectangular; as text they need not be.
_ARRAYS: Final = ("stage_seconds", "typical_seconds", "late_shares")
_SAVE = f"""
UPDATE order_journeys
SET {", ".join(f"{name} = entry.{name}" for name in _COLUMNS)},
    {", ".join(f"{name} = entry.{name}::double precision[]" for name in _ARRAYS)}
FROM unnest($1::uuid[], {", ".join(f"${place}::{kind}[]" for place, kind in enumerate(_COLUMNS.values(), start=2))},
            {", ".join(f"${len(_COLUMNS) + 2 + place}::text[]" for place in range(len(_ARRAYS)))})
     AS entry (order_id, {", ".join((*_COLUMNS, *_ARRAYS))})
WHERE order_journeys.order_id = entry.order_id
"""  # noqa: S608 - put together from the names above
_MARK = "INSERT INTO journey_marks (day) SELECT unnest($1::date[])"


class PostgresJourneys:
    """The journeys, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`, which somebody else commits."""
        self._transaction = transaction

    async def note_parcels(self, news: Sequence[ParcelNews]) -> Collection[UUID]:
        """Keep what is new about parcels (see `Journeys.note_parcels`)."""
        driver = await self._transaction.driver()
        await driver.execute(
            _NOTE_PARCELS,
            [one.shipment_id for one in news],
            [one.order_id for one in news],
            [one.carrier for one in news],
            [one.scanned_at for one in news],
        )
        return [row["order_id"] for row in await driver.fetch(_ARRIVED, list({one.order_id for one in news}))]

    async def lock(self, order_ids: Collection[UUID]) -> Sequence[OrderSource]:
        """Begin, lock and read (see `Journeys.lock`)."""
        driver = await self._transaction.driver()
        ids = sorted(order_ids)
        await driver.execute(_BEGIN, ids)
        return await _read(driver, await driver.fetch(_LOCK, ids))

    async def lock_due(self, *, now: datetime, limit: int) -> Sequence[OrderSource]:
        """Lock and read what is due (see `Journeys.lock_due`)."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_LOCK_DUE, now, limit)
        return await _read(driver, rows) if rows else ()

    async def save(self, rows: Sequence[JourneyRow]) -> None:
        """Store journeys, and mark their days."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE,
            [row.order_id for row in rows],
            *([_value(row, name) for row in rows] for name in _COLUMNS),
            [_array(row.stage_seconds) for row in rows],
            [_array([row.promise.typical_seconds[stage] for stage in STAGES] if row.promise else None) for row in rows],
            [_array(row.late_shares) for row in rows],
        )
        await driver.execute(_MARK, sorted({row.day for row in rows}))


async def _read(driver: asyncpg.Connection, locked: Sequence[asyncpg.Record]) -> list[OrderSource]:
    promises = {row["order_id"]: _promise(row) for row in locked}
    # Read behind the locks: two members that follow one order write one after the other, each what is true then.
    ids = list(promises)
    parcels: dict[UUID, list[Parcel]] = {}
    for row in await driver.fetch(_PARCELS, ids, _STOPPED):
        parcels.setdefault(row["order_id"], []).append(
            Parcel(
                warehouse=row["warehouse"] or "",
                carrier=row["carrier"] or "",
                dispatched_at=row["dispatched_at"],
                first_scanned_at=row["first_scanned_at"],
                last_scanned_at=row["last_scanned_at"],
                delivered_at=row["delivered_at"],
            )
        )
    return [
        _source(row, promises[row["id"]], tuple(parcels.get(row["id"], ()))) for row in await driver.fetch(_READ, ids)
    ]


def _source(row: asyncpg.Record, promise: StoredPromise | None, parcels: tuple[Parcel, ...]) -> OrderSource:
    # Imported orders lie in the past: their stages are moved there as a whole.
    offset = row["placed_at"] - row["received_at"]
    entered_at: dict[str, datetime] = {}
    for stage, entered in zip(row["stages"] or (), row["times"] or (), strict=True):
        entered_at.setdefault(stage, entered + offset)
    return OrderSource(
        order_id=row["id"],
        status=OrderStatus(row["status"]),
        status_reason=row["status_reason"],
        country=row["country"],
        placed_at=row["placed_at"],
        offset=offset,
        captured_minor=row["captured_minor"],
        refunded_minor=row["refunded_minor"],
        is_returned=row["is_returned"],
        entered_at=entered_at,
        warehouses=tuple(row["warehouses"] or ()),
        parcels=parcels,
        correlation_id=row["correlation_id"],
        promise=promise,
    )


def _promise(row: asyncpg.Record) -> StoredPromise | None:
    if row["promised_by"] is None:
        return None
    return StoredPromise(
        promised_by=row["promised_by"],
        ship_by=row["ship_by"],
        allowance_seconds=row["allowance_seconds"],
        typical_seconds=dict(zip(STAGES, row["typical_seconds"], strict=True)),
        probability_late=row["probability_late"],
        probability_at_confirmation=row["probability_at_confirmation"],
        probability_at_dispatch=row["probability_at_dispatch"],
        published_probability=row["published_probability"],
    )


def _value(row: JourneyRow, name: str) -> Any:
    if hasattr(row, name):
        return getattr(row, name)
    return None if row.promise is None else getattr(row.promise, name)


def _array(numbers: Sequence[float | None] | None) -> str | None:
    if numbers is None:
        return None
    return f"{{{','.join('NULL' if number is None else repr(number) for number in numbers)}}}"
