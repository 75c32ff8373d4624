"""Which orders were placed under their channels' own numbers."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db import Transaction
from services.orders.handlers.ports import ImportRow, KnownImport

# The rows come in the order of their keys, so that two imports wait for each other instead of deadlocking.
_CLAIM = """
INSERT INTO imported_orders (channel, reference, order_id, content_hash, imported_at)
SELECT entry.channel, entry.reference, entry.order_id, entry.content_hash, $5
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[])
    WITH ORDINALITY AS entry (channel, reference, order_id, content_hash, position)
ORDER BY entry.position
ON CONFLICT (channel, reference) DO NOTHING
RETURNING order_id
"""
_FIND = """
SELECT channel, reference, order_id, content_hash
FROM imported_orders
JOIN unnest($1::text[], $2::text[]) AS entry (channel, reference) USING (channel, reference)
"""
_UNCLAIM = "DELETE FROM imported_orders WHERE order_id = ANY($1::uuid[])"


class PostgresImportedOrders:
    """The imports, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def claim(self, rows: Sequence[ImportRow], *, now: datetime) -> Sequence[KnownImport | None]:
        """Note imports (see `ImportedOrders.claim`)."""
        driver = await self._transaction.driver()
        ordered = sorted(rows, key=lambda row: row.key)
        keys = [row.key for row in ordered]
        claimed = await driver.fetch(
            _CLAIM,
            [channel for channel, _ in keys],
            [reference for _, reference in keys],
            [row.order.id for row in ordered],
            [row.content_hash for row in ordered],
            now,
        )
        if len(claimed) == len(rows):
            return [None] * len(rows)
        new = {row["order_id"] for row in claimed}
        repeated = [row.key for row in ordered if row.order.id not in new]
        found = await driver.fetch(
            _FIND, [channel for channel, _ in repeated], [reference for _, reference in repeated]
        )
        known = {(row["channel"], row["reference"]): KnownImport(row["order_id"], row["content_hash"]) for row in found}
        return [None if row.order.id in new else known[row.key] for row in rows]

    async def unclaim(self, order_ids: Sequence[UUID]) -> None:
        """Forget imports of this transaction (see `ImportedOrders.unclaim`)."""
        driver = await self._transaction.driver()
        await driver.execute(_UNCLAIM, list(order_ids))
