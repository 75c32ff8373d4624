"""Reads of shipments that lock nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.logistics.domain.geography import coordinates_of
from services.logistics.domain.shipment import Scan, Shipment, Status
from services.logistics.handlers.ports import TrackedShipment
from services.logistics.storage.shipments import SELECTED, shipment_of

# Built from constants only.
_FIND: Final = f"SELECT {SELECTED} FROM shipments WHERE id = $1"  # noqa: S608
_PAGE: Final = f"""
SELECT {SELECTED} FROM shipments
WHERE ($1::uuid IS NULL OR order_id = $1)
  AND ($2::text IS NULL OR status = $2)
  AND ($3::timestamptz IS NULL OR (planned_at, id) < ($3, $4))
ORDER BY planned_at DESC, id DESC LIMIT $5
"""  # noqa: S608
_SCANS: Final = """
SELECT shipment_id, scanned_at, place, latitude, longitude
FROM shipment_scans WHERE shipment_id = $1 ORDER BY scanned_at, place
"""
_LIVE: Final = """
SELECT status, count(*) AS shipments FROM shipments
WHERE status IN ('planned', 'dispatched') GROUP BY status
"""


class PostgresShipmentViews:
    """Reads that lock nothing."""

    def __init__(self, transaction: Transaction) -> None:
        """Read inside `transaction`."""
        self._transaction = transaction

    async def find(self, shipment_id: UUID) -> TrackedShipment | None:
        """Return one shipment with its scans."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_FIND, shipment_id)
        if row is None:
            return None
        scans = [_scan(scan) for scan in await driver.fetch(_SCANS, shipment_id)]
        return TrackedShipment(shipment=shipment_of(row), scans=scans)

    async def version(self, shipment_id: UUID) -> int | None:
        """Return the version of one shipment, None if it does not exist."""
        driver = await self._transaction.driver()
        version: int | None = await driver.fetchval("SELECT version FROM shipments WHERE id = $1", shipment_id)
        return version

    async def page(
        self,
        *,
        order_id: UUID | None,
        status: Status | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[Shipment]:
        """Return the shipments planned before `before`, newest first, at most `limit`."""
        driver = await self._transaction.driver()
        moment, shipment_id = before or (None, None)
        rows = await driver.fetch(_PAGE, order_id, status, moment, shipment_id, limit)
        return [shipment_of(row) for row in rows]

    async def live(self) -> Mapping[Status, int]:
        """Return how many shipments are planned and how many are on their way."""
        driver = await self._transaction.driver()
        counts = dict.fromkeys((Status.PLANNED, Status.DISPATCHED), 0)
        for row in await driver.fetch(_LIVE):
            counts[Status(row["status"])] = row["shipments"]
        return counts


def _scan(row: asyncpg.Record) -> Scan:
    return Scan(
        shipment_id=row["shipment_id"],
        scanned_at=row["scanned_at"],
        place=row["place"],
        coordinates=coordinates_of(row["latitude"], row["longitude"]),
    )
