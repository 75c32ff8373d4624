"""What the auditor reads."""

from typing import Final

from libs.common.db import Transaction
from services.inventory.handlers.audit import AuditedPage, Drift

# One statement, and with it one snapshot: levels, ledger and reservations of the same moment. Pairs that only one of
# the three knows count with all their units.
_AUDIT: Final = """
WITH page AS MATERIALIZED (
    SELECT sku FROM stock_items WHERE sku > $1 ORDER BY sku LIMIT $2
),
said AS (
    SELECT sku, warehouse, on_hand, reserved, 0 AS booked, 0 AS held FROM page JOIN stock_levels USING (sku)
    UNION ALL
    SELECT sku, warehouse, 0, 0, delta_on_hand, 0 FROM page JOIN stock_movements USING (sku)
    UNION ALL
    SELECT sku, warehouse, 0, 0, 0, quantity - committed_quantity
    FROM page JOIN reservation_lines USING (sku) WHERE quantity > committed_quantity
),
compared AS (
    SELECT abs(sum(on_hand) - sum(booked)) AS ledger, abs(sum(reserved) - sum(held)) AS reservations
    FROM said GROUP BY sku, warehouse
)
SELECT (SELECT max(sku) FROM page) AS last_sku,
       coalesce(sum(ledger), 0)::bigint AS ledger_units,
       coalesce(sum(reservations), 0)::bigint AS reservation_units
FROM compared
"""
_WAITING: Final = "SELECT count(*) FROM reservations WHERE status = 'waiting'"
_SHORTFALL: Final = "SELECT coalesce(sum(shortfall), 0)::bigint FROM stock_levels WHERE shortfall > 0"


class PostgresBooks:
    """The books, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def audit(self, *, after_sku: str, limit: int) -> AuditedPage:
        """Recompute the levels of some SKUs from ledger and reservations."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_AUDIT, after_sku, limit)
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return AuditedPage(Drift(row["ledger_units"], row["reservation_units"]), row["last_sku"])

    async def waiting_orders(self) -> int:
        """Return how many orders wait for stock."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval(_WAITING))

    async def shortfall_units(self) -> int:
        """Return how many units are missing from what was reported as arrived."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval(_SHORTFALL))
