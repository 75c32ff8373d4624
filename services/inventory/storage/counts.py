"""Counts that wait for approval, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.counts import CountFinding, CountStatus, HeldCount, UnitCost
from services.inventory.storage.unit_costs import unit_costs_of

_COLUMNS: Final = (
    "event_id",
    "sku",
    "warehouse",
    "counted_at",
    "counted",
    "expected",
    "value_minor",
    "currency",
    "reference",
    "reason",
    "counted_by",
    "lot",
    "held_because",
    "held_at",
    "status",
    "decided_at",
    "decided_by",
    "decision_reason",
    "booked_units",
)
_HELD: Final = ", ".join(_COLUMNS)
_LAPSE: Final = """
UPDATE held_counts SET status = 'lapsed', decided_at = $5
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) AS later (sku, warehouse, counted_at, event_id)
WHERE held_counts.status = 'pending'
    AND held_counts.sku = later.sku
    AND held_counts.warehouse = later.warehouse
    AND (held_counts.counted_at, held_counts.event_id) < (later.counted_at, later.event_id)
"""
_FIND: Final = f"SELECT {_HELD} FROM held_counts WHERE event_id = $1"  # noqa: S608 - constants
_DECIDE: Final = """
UPDATE held_counts
SET status = $2, decided_at = $3, decided_by = $4, decision_reason = $5, booked_units = $6 WHERE event_id = $1
"""
_LIST: Final = f"""
SELECT {_HELD} FROM held_counts
WHERE ($1::text IS NULL OR status = $1) AND (held_at, event_id) > ($2, $3)
ORDER BY held_at, event_id LIMIT $4
"""  # noqa: S608 - constants
_PENDING: Final = """
SELECT currency, count(*) AS counts, sum(abs(value_minor)) AS value_minor, min(held_at) AS oldest
FROM held_counts WHERE status = 'pending' GROUP BY currency
"""


class PostgresCounts:
    """The counts that wait, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def unit_costs(self, skus: Collection[str]) -> Mapping[str, UnitCost]:
        """Return what units of `skus` cost on average, where that is known."""
        return await unit_costs_of(self._transaction, skus)

    async def record(self, findings: Sequence[CountFinding], *, recorded_at: datetime) -> None:
        """Keep what was held back, and let what these counts have overtaken lapse."""
        driver = await self._transaction.driver()
        held = [one for one in findings if one.held_because is not None]
        if held:
            await driver.copy_records_to_table(
                "held_counts",
                columns=_COLUMNS[:15],
                records=[
                    (
                        one.event_id,
                        one.sku,
                        one.warehouse,
                        one.counted_at,
                        one.counted,
                        one.expected,
                        one.value_minor,
                        one.currency,
                        one.reference,
                        one.reason,
                        one.counted_by,
                        one.lot,
                        one.held_because,
                        recorded_at,
                        CountStatus.PENDING,
                    )
                    for one in held
                ],
            )
        if booked := [one for one in findings if one.held_because is None]:
            await self._lapse(driver, booked, recorded_at)

    async def find(self, event_id: UUID) -> HeldCount | None:
        """Return a count that was held back."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_FIND, event_id)
        return _held_count(row) if row else None

    async def decide(self, count: HeldCount) -> None:
        """Write what was decided; a count that is believed overtakes those that were taken before it."""
        driver = await self._transaction.driver()
        await driver.execute(
            _DECIDE,
            count.event_id,
            count.status,
            count.decided_at,
            count.decided_by,
            count.decision_reason,
            count.booked_units,
        )
        if count.status is CountStatus.APPROVED and count.decided_at is not None:
            await self._lapse(driver, [count], count.decided_at)

    async def list(
        self, *, status: CountStatus | None, after: tuple[datetime, UUID], limit: int
    ) -> Sequence[HeldCount]:
        """Return counts that were held back, the oldest first, behind the (time, id) given."""
        driver = await self._transaction.driver()
        return [_held_count(row) for row in await driver.fetch(_LIST, status, *after, limit)]

    async def pending(self) -> Sequence[tuple[str | None, int, Decimal | None, datetime]]:
        """Return by currency of their value how many counts wait, that value, and since when the oldest does."""
        driver = await self._transaction.driver()
        return [tuple(row) for row in await driver.fetch(_PENDING)]

    @staticmethod
    async def _lapse(
        driver: asyncpg.Connection, booked: Sequence[CountFinding | HeldCount], lapsed_at: datetime
    ) -> None:
        await driver.execute(
            _LAPSE,
            [one.sku for one in booked],
            [one.warehouse for one in booked],
            [one.counted_at for one in booked],
            [one.event_id for one in booked],
            lapsed_at,
        )


def _held_count(row: asyncpg.Record) -> HeldCount:
    return HeldCount(**{**dict(row), "status": CountStatus(row["status"])})
