"""Lots in PostgreSQL: read from the ledger, kept as what was last folded from it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from services.inventory.domain.lots import Lot, LotLine
from services.inventory.domain.stock import MovementKind
from services.inventory.handlers.ports import Held, LotBalance

# A correction made because a report came late says nothing about lots.
_LINES: Final = """
SELECT sku, warehouse, event_id, leg, kind, delta_on_hand, occurred_at, order_id, lot, expires_on, counted, picked
FROM stock_movements
WHERE sku = ANY($1::text[]) AND kind <> 'shortfall' AND (kind <> 'count' OR counted IS NOT NULL)
"""
_DELETE: Final = "DELETE FROM stock_lots WHERE sku = ANY($1::text[])"
_COLUMNS: Final = ("sku", "warehouse", "lot", "units", "expires_on", "usable_until", "received_at", "is_blocked")
_TO_BLOCK: Final = """
SELECT DISTINCT sku FROM (
    SELECT sku FROM stock_lots WHERE usable_until < $1 AND NOT is_blocked ORDER BY usable_until LIMIT $2
) AS due
"""
_OF_SKU: Final = """
SELECT sku, warehouse, lot, units, expires_on, received_at, usable_until, is_blocked
FROM stock_lots WHERE sku = $1 ORDER BY warehouse, expires_on NULLS LAST, lot
"""
# Who holds units of the levels that an order holds: they are served from the lots in the sequence of their approval.
_HOLDERS: Final = """
SELECT lines.sku, lines.warehouse, lines.order_id, lines.quantity - lines.committed_quantity AS units
FROM reservation_lines AS lines
JOIN reservation_lines AS own USING (sku, warehouse)
JOIN reservations ON reservations.order_id = lines.order_id
WHERE own.order_id = $1 AND own.quantity > own.committed_quantity AND lines.quantity > lines.committed_quantity
ORDER BY lines.sku, lines.warehouse, reservations.approved_at, lines.order_id
"""
_OF_ORDER: Final = """
SELECT sku, warehouse, lot, units, expires_on, received_at, usable_until, is_blocked
FROM stock_lots JOIN reservation_lines AS own USING (sku, warehouse)
WHERE own.order_id = $1 AND own.quantity > own.committed_quantity AND NOT is_blocked
ORDER BY sku, warehouse, expires_on NULLS LAST, lot
"""


class PostgresLots:
    """The lots, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def lines(self, skus: Collection[str]) -> Mapping[str, Mapping[str, Sequence[LotLine]]]:
        """Return the recorded ledger of `skus`, by SKU and warehouse."""
        driver = await self._transaction.driver()
        found: dict[str, dict[str, list[LotLine]]] = {}
        for sku, warehouse, event_id, leg, kind, *rest in await driver.fetch(_LINES, list(skus)):
            line = LotLine(event_id, leg, MovementKind(kind), *rest)
            found.setdefault(sku, {}).setdefault(warehouse, []).append(line)
        return found

    async def replace(self, skus: Collection[str], lots: Iterable[LotBalance]) -> None:
        """Write what is there of the lots of `skus`; there is nothing besides."""
        driver = await self._transaction.driver()
        await driver.execute(_DELETE, list(skus))
        await driver.copy_records_to_table(
            "stock_lots",
            columns=_COLUMNS,
            records=[
                (
                    one.sku,
                    one.warehouse,
                    one.lot.lot,
                    one.lot.units,
                    one.lot.expires_on,
                    one.usable_until,
                    one.lot.received_at,
                    one.is_blocked,
                )
                for one in lots
            ],
        )

    async def to_block(self, today: date, *, limit: int) -> set[str]:
        """Return SKUs of which units may not be promised any more since `today`, or before."""
        driver = await self._transaction.driver()
        return {row["sku"] for row in await driver.fetch(_TO_BLOCK, today, limit)}

    async def of_sku(self, sku: str) -> Sequence[LotBalance]:
        """Return the lots of a SKU by warehouse, the first to expire first."""
        driver = await self._transaction.driver()
        return [_balance(*row) for row in await driver.fetch(_OF_SKU, sku)]

    async def holders_beside(self, order_id: UUID) -> Sequence[Held]:
        """Return who holds units of the levels that an order holds units of, itself included, first approved first."""
        driver = await self._transaction.driver()
        return [Held(**dict(row)) for row in await driver.fetch(_HOLDERS, order_id)]

    async def of_order(self, order_id: UUID) -> Sequence[LotBalance]:
        """Return the lots that may be promised of the levels that an order holds units of, first to expire first."""
        driver = await self._transaction.driver()
        return [_balance(*row) for row in await driver.fetch(_OF_ORDER, order_id)]


def _balance(  # noqa: PLR0917 - the columns of one row
    sku: str,
    warehouse: str,
    lot: str,
    units: int,
    expires_on: date | None,
    received_at: datetime | None,
    usable_until: date | None,
    is_blocked: bool,  # noqa: FBT001
) -> LotBalance:
    return LotBalance(
        sku=sku,
        warehouse=warehouse,
        lot=Lot(lot, units, expires_on, received_at),
        usable_until=usable_until,
        is_blocked=is_blocked,
    )
