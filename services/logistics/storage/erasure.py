"""Erasing the parcels of a person; what they cost, weighed and how long they took stays."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from libs.common.erasure import affected, erase_answers, erase_decisions
from libs.common.privacy import ERASED

_SHIPMENTS: Final = """
UPDATE shipments
SET destination_latitude = NULL, destination_longitude = NULL,
    tracking_number = CASE WHEN tracking_number IS NOT NULL THEN $2 END,
    reason = CASE WHEN reason IS NOT NULL THEN $2 END
WHERE order_id = ANY($1::uuid[])
RETURNING id
"""
# Two scans of one moment differ by their place.
_SCANS: Final = """
UPDATE shipment_scans SET place = $2 || '-' || place_number, latitude = NULL, longitude = NULL
FROM (
    SELECT ctid AS scan, row_number() OVER (PARTITION BY shipment_id, scanned_at ORDER BY place) AS place_number
    FROM shipment_scans WHERE shipment_id = ANY($1::uuid[])
) AS numbered
WHERE shipment_scans.ctid = scan
"""
_TOMBSTONES: Final = "UPDATE cancellation_tombstones SET reason = $2 WHERE order_id = ANY($1::uuid[])"


async def erase_parcels(transaction: Transaction, order_ids: Sequence[UUID]) -> int:
    """Forget where the parcels of orders went and what they were called on their way; return how many rows said so."""
    driver = await transaction.driver()
    orders = list(order_ids)
    shipments = [row["id"] for row in await driver.fetch(_SHIPMENTS, orders, ERASED)]
    scans = affected(await driver.execute(_SCANS, shipments, ERASED))
    tombstones = affected(await driver.execute(_TOMBSTONES, orders, ERASED))
    subjects = [*(f"order:{one}" for one in orders), *(f"shipment:{one}" for one in shipments)]
    decisions = await erase_decisions(transaction, subjects)
    answers = await erase_answers(transaction, [*orders, *shipments])
    return len(shipments) + scans + tombstones + decisions + answers
