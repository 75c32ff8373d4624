"""Shipments, their scans and the marks of early cancellations, written in batches."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from services.logistics.domain.geography import Coordinates, Site, coordinates_of
from services.logistics.domain.shipment import Line, Scan, Shipment, Status

# What a shipment keeps from its planning on, and what changes on its way; both with their types for unnest.
_FIXED: Final = {
    "order_id": "uuid",
    "warehouse": "text",
    "lines": "text",
    "origin_country": "text",
    "origin_latitude": "float8",
    "origin_longitude": "float8",
    "destination_country": "text",
    "destination_latitude": "float8",
    "destination_longitude": "float8",
    "carrier": "text",
    "carrier_service": "text",
    "cost_minor": "int8",
    "currency": "text",
    "transit_days": "int4",
    "decision_id": "uuid",
    "planned_at": "timestamptz",
    "ready_at": "timestamptz",
    "promised_at": "timestamptz",
    "plan": "int4",
}
_MOVING: Final = {
    "status": "text",
    "version": "int8",
    "estimated_delivery_at": "timestamptz",
    "tracking_number": "text",
    "dispatched_at": "timestamptz",
    "last_scanned_at": "timestamptz",
    "delivered_at": "timestamptz",
    "failed_at": "timestamptz",
    "cancelled_at": "timestamptz",
    "reason": "text",
}


def _unnest(columns: Mapping[str, str]) -> str:
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
    return f"unnest({arrays}) AS rows ({', '.join(columns)})"


_INSERTED: Final = {"id": "uuid", **_FIXED, **_MOVING}
_SAVED: Final = {"id": "uuid", **_MOVING}
SELECTED: Final = ", ".join("lines::text AS lines" if column == "lines" else column for column in _INSERTED)

# Built from the constants above only.
_INSERT: Final = f"""
INSERT INTO shipments ({", ".join(_INSERTED)})
SELECT {", ".join("lines::jsonb" if column == "lines" else column for column in _INSERTED)}
FROM {_unnest(_INSERTED)}
ORDER BY id
ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608
_SAVE: Final = f"""
UPDATE shipments SET {", ".join(f"{column} = rows.{column}" for column in _MOVING)}
FROM {_unnest(_SAVED)}
WHERE shipments.id = rows.id
"""  # noqa: S608
# Everybody locks in the order of ids, so that two batches wait for each other instead of deadlocking.
_LOCK: Final = f"SELECT {SELECTED} FROM shipments WHERE id = ANY($1) ORDER BY id FOR UPDATE"  # noqa: S608
_LOCK_OF_ORDERS: Final = f"SELECT {SELECTED} FROM shipments WHERE order_id = ANY($1) ORDER BY id FOR UPDATE"  # noqa: S608
_SCAN_IDENTITIES: Final = """
SELECT shipment_id, scanned_at, place FROM shipment_scans WHERE shipment_id = ANY($1)
"""
_ADD_SCANS: Final = """
INSERT INTO shipment_scans (shipment_id, scanned_at, place, latitude, longitude)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::float8[], $5::float8[])
"""

_write_lines = msgspec.json.Encoder().encode
_read_lines = msgspec.json.Decoder(list[tuple[str, int]]).decode


class PostgresShipments:
    """The shipments as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work inside `transaction`."""
        self._transaction = transaction

    async def lock(self, shipment_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return those that exist, locked until the transaction ends."""
        driver = await self._transaction.driver()
        return [shipment_of(row) for row in await driver.fetch(_LOCK, list(shipment_ids))]

    async def lock_of_orders(self, order_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return all shipments of the orders, locked until the transaction ends."""
        driver = await self._transaction.driver()
        return [shipment_of(row) for row in await driver.fetch(_LOCK_OF_ORDERS, list(order_ids))]

    async def add(self, shipments: Sequence[Shipment]) -> Collection[UUID]:
        """Add new shipments and return the ids of those that were not there yet."""
        driver = await self._transaction.driver()
        rows = [(one.id, *_fixed(one), *_moving(one)) for one in shipments]
        added = await driver.fetch(_INSERT, *zip(*rows, strict=True))
        return {row["id"] for row in added}

    async def save(self, shipments: Sequence[Shipment]) -> None:
        """Store the new state of locked shipments."""
        driver = await self._transaction.driver()
        await driver.execute(_SAVE, *zip(*[(one.id, *_moving(one)) for one in shipments], strict=True))

    async def scans_known(self, shipment_ids: Collection[UUID]) -> Collection[tuple[UUID, datetime, str]]:
        """Return the identities of the scans recorded for locked shipments."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_SCAN_IDENTITIES, list(shipment_ids))
        return {(row["shipment_id"], row["scanned_at"], row["place"]) for row in rows}

    async def add_scans(self, scans: Sequence[Scan]) -> None:
        """Record scans that are not known yet."""
        driver = await self._transaction.driver()
        await driver.execute(
            _ADD_SCANS,
            [scan.shipment_id for scan in scans],
            [scan.scanned_at for scan in scans],
            [scan.place for scan in scans],
            [scan.coordinates.latitude if scan.coordinates else None for scan in scans],
            [scan.coordinates.longitude if scan.coordinates else None for scan in scans],
        )


class PostgresTombstones:
    """Orders whose cancellation was requested before they had any shipment."""

    def __init__(self, transaction: Transaction) -> None:
        """Work inside `transaction`."""
        self._transaction = transaction

    async def find(self, order_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return those of `order_ids` that are marked, with the reason."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(
            "SELECT order_id, reason FROM cancellation_tombstones WHERE order_id = ANY($1)",
            list(order_ids),
        )
        return {row["order_id"]: row["reason"] for row in rows}

    async def add(self, reasons: Mapping[UUID, str]) -> None:
        """Mark orders."""
        driver = await self._transaction.driver()
        await driver.execute(
            "INSERT INTO cancellation_tombstones (order_id, reason)"
            " SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
            list(reasons),
            list(reasons.values()),
        )


def _fixed(shipment: Shipment) -> tuple[Any, ...]:
    lines = _write_lines([(line.sku, line.quantity) for line in shipment.lines]).decode()
    return (
        shipment.order_id,
        shipment.warehouse,
        lines,
        shipment.origin.country if shipment.origin else None,
        *_columns(shipment.origin.coordinates if shipment.origin else None),
        shipment.destination.country,
        *_columns(shipment.destination.coordinates),
        shipment.carrier,
        shipment.carrier_service,
        shipment.cost_minor,
        shipment.currency,
        shipment.transit_days,
        shipment.decision_id,
        shipment.planned_at,
        shipment.ready_at,
        shipment.promised_at,
        shipment.plan,
    )


def _moving(shipment: Shipment) -> tuple[Any, ...]:
    return tuple(getattr(shipment, column) for column in _MOVING)


def shipment_of(row: asyncpg.Record) -> Shipment:
    """Return the shipment that a row of `SELECTED` holds."""
    origin_country = row["origin_country"]
    return Shipment(
        id=row["id"],
        order_id=row["order_id"],
        warehouse=row["warehouse"],
        origin=Site(origin_country, coordinates_of(row["origin_latitude"], row["origin_longitude"]))
        if origin_country
        else None,
        destination=Site(
            row["destination_country"],
            coordinates_of(row["destination_latitude"], row["destination_longitude"]),
        ),
        lines=[Line(sku=sku, quantity=quantity) for sku, quantity in _read_lines(row["lines"])],
        carrier=row["carrier"],
        carrier_service=row["carrier_service"],
        cost_minor=row["cost_minor"],
        currency=row["currency"],
        transit_days=row["transit_days"],
        decision_id=row["decision_id"],
        planned_at=row["planned_at"],
        ready_at=row["ready_at"],
        promised_at=row["promised_at"],
        status=Status(row["status"]),
        version=row["version"],
        estimated_delivery_at=row["estimated_delivery_at"],
        tracking_number=row["tracking_number"],
        dispatched_at=row["dispatched_at"],
        last_scanned_at=row["last_scanned_at"],
        delivered_at=row["delivered_at"],
        failed_at=row["failed_at"],
        cancelled_at=row["cancelled_at"],
        reason=row["reason"],
        plan=row["plan"],
    )


def _columns(point: Coordinates | None) -> tuple[float | None, float | None]:
    return (None, None) if point is None else (point.latitude, point.longitude)
