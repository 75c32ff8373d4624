"""The history of a SKU in PostgreSQL."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import text

from libs.common.db import Transaction
from services.inventory.domain.timeline import Hold, KindTotal, LedgerLine, Reserved, Timeline

_HOLDS_SHOWN_MAX: Final = 50

# All statements see one snapshot: what is summed up is what is listed.
_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_KNOWN: Final = "SELECT EXISTS (SELECT FROM stock_levels WHERE sku = $1)"
# A page is one range of the ledger's index, forwards or backwards.
_LINES: Final = """
SELECT id, event_id, leg, kind, warehouse, delta_on_hand, occurred_at, recorded_at, reference, reason, order_id,
       transfer_id, unit_cost_minor, currency, lot, expires_on, counted, picked,
       CASE kind WHEN 'transfer-out' THEN (
           SELECT min(destination) FROM transfer_lines AS line
           WHERE line.transfer_id = movements.transfer_id AND line.sku = movements.sku
               AND line.source = movements.warehouse
       ) WHEN 'transfer-in' THEN (
           SELECT min(source) FROM transfer_lines AS line
           WHERE line.transfer_id = movements.transfer_id AND line.sku = movements.sku
               AND line.destination = movements.warehouse
       ) END AS other_warehouse
FROM stock_movements AS movements
WHERE sku = $1 AND ($2::text IS NULL OR warehouse = $2) AND occurred_at <= $3
    AND (occurred_at, id) {comparison} ($4, $5)
ORDER BY occurred_at {direction}, id {direction} LIMIT $6
"""
_LATER: Final = _LINES.format(comparison=">", direction="ASC")
_EARLIER: Final = _LINES.format(comparison="<", direction="DESC")
_TOTALS: Final = """
SELECT warehouse, kind,
       count(*) FILTER (WHERE occurred_at <= $3) AS movements,
       coalesce(sum(delta_on_hand) FILTER (WHERE occurred_at <= $3), 0)::bigint AS units,
       coalesce(sum(delta_on_hand) FILTER (WHERE (occurred_at, id) < ($4, $5)), 0)::bigint AS opening,
       min(recorded_at) FILTER (WHERE (occurred_at, id) > ($6, $7)) AS recorded_after
FROM stock_movements
WHERE sku = $1 AND ($2::text IS NULL OR warehouse = $2)
GROUP BY warehouse, kind ORDER BY warehouse, kind
"""
_HOLDS: Final = """
SELECT holder, id, warehouse, units, since, count(*) OVER () AS holders, sum(units) OVER ()::bigint AS all_units
FROM (
    SELECT CASE WHEN expires_at IS NULL THEN 'order' ELSE 'hold' END AS holder, order_id AS id, warehouse,
           quantity - committed_quantity AS units, approved_at AS since
    FROM reservation_lines JOIN reservations USING (order_id)
    WHERE sku = $1 AND quantity > committed_quantity
    UNION ALL
    SELECT 'transfer', transfer_id, transfer_lines.source, held, created_at
    FROM transfer_lines JOIN transfers USING (transfer_id) WHERE sku = $1 AND held > 0
) AS holds
WHERE $2::text IS NULL OR warehouse = $2
ORDER BY since DESC NULLS LAST, id, warehouse LIMIT $3
"""


class TimelineKey(NamedTuple):
    """Where a movement stands in a SKU's history."""

    occurred_at: datetime
    id: int


_BEFORE_ALL: Final = TimelineKey(datetime(1, 1, 2, tzinfo=UTC), 0)
_AFTER_ALL: Final = TimelineKey(datetime(9999, 12, 30, tzinfo=UTC), 0)


class PostgresTimelines:
    """The histories, in a transaction that has not done anything else."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def timeline(
        self,
        sku: str,
        *,
        warehouse: str | None,
        at: datetime | None,
        beyond: tuple[datetime, int] | None,
        is_descending: bool,
        limit: int,
    ) -> Timeline | None:
        """
        Return the page of a SKU's history beyond a movement, None if nothing was ever reported of it.

        The lines are in the order of their times even where the page was asked for from the end.
        """
        # The driver's first statement comes after this one.
        await self._transaction.connection.execute(_SNAPSHOT)
        driver = await self._transaction.driver()
        if not await driver.fetchval(_KNOWN, sku):
            return None
        until = at or _AFTER_ALL.occurred_at
        start = TimelineKey(*beyond) if beyond else (_AFTER_ALL if is_descending else _BEFORE_ALL)
        statement = _EARLIER if is_descending else _LATER
        rows = await driver.fetch(statement, sku, warehouse, until, *start, limit)
        lines = [LedgerLine(**dict(row)) for row in (reversed(rows) if is_descending else rows)]
        first = TimelineKey(lines[0].occurred_at, lines[0].id) if lines else start
        last = TimelineKey(lines[-1].occurred_at, lines[-1].id) if lines else start
        totals = await driver.fetch(_TOTALS, sku, warehouse, until, *first, *last)
        return Timeline(
            lines=lines,
            totals=[KindTotal(**dict(row)) for row in totals],
            reserved=await self._reserved(sku, warehouse) if at is None else None,
        )

    async def _reserved(self, sku: str, warehouse: str | None) -> Reserved:
        driver = await self._transaction.driver()
        rows = await driver.fetch(_HOLDS, sku, warehouse, _HOLDS_SHOWN_MAX)
        return Reserved(
            units=rows[0]["all_units"] if rows else 0,
            holders=rows[0]["holders"] if rows else 0,
            holds=[
                Hold(
                    holder=row["holder"],
                    id=row["id"],
                    warehouse=row["warehouse"],
                    units=row["units"],
                    since=row["since"],
                )
                for row in rows
            ],
        )
