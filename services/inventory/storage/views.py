"""The reads of inventory."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.queries import (
    LevelView,
    MovementView,
    ReservationView,
    ReservedLineView,
    StockView,
)
from services.inventory.storage.stock import policy_of
from services.inventory.storage.warehouses import WAREHOUSE_COLUMNS, warehouse_of

# One statement, and with it one snapshot: a version never stands beside levels of another one.
_STOCK: Final = """
SELECT version, warehouse, on_hand, reserved, greatest(0, on_hand - reserved - withheld) AS available,
       withheld, blocked, in_transit, shortfall, counted_at
FROM stock_items JOIN stock_levels USING (sku) CROSS JOIN LATERAL (
    SELECT least(
        on_hand, blocked + coalesce((safety_stock_by_warehouse ->> warehouse)::bigint, safety_stock_units)
    ) AS withheld
) AS policy
WHERE sku = $1 ORDER BY warehouse
"""
_POLICY: Final = """
SELECT safety_stock_units, safety_stock_by_warehouse, backorder_units_max, tracks_lots, shelf_life_days_min
FROM stock_items WHERE sku = $1
"""
_COMPONENTS: Final = "SELECT components FROM stock_items WHERE sku = $1"
_MOVEMENTS: Final = """
SELECT id, event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at,
       reference, reason, order_id, transfer_id, unit_cost_minor, currency, lot
FROM stock_movements
WHERE sku = $1 AND (occurred_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::bigint, 0))
ORDER BY occurred_at DESC, id DESC LIMIT $4
"""
# A row for each held or committed line, and one without a warehouse for each SKU that is waited for.
_RESERVATION: Final = """
SELECT version, status, approved_at, sku, warehouse, quantity, committed
FROM reservations LEFT JOIN (
    SELECT order_id, sku, warehouse, quantity, committed_quantity AS committed
    FROM reservation_lines WHERE order_id = $1
    UNION ALL
    SELECT order_id, sku, NULL, quantity, 0 FROM backorder_lines WHERE order_id = $1
) AS parts USING (order_id)
WHERE order_id = $1 ORDER BY sku, warehouse
"""
_WAREHOUSES: Final = f"""
SELECT {WAREHOUSE_COLUMNS} FROM warehouses WHERE code > $1 ORDER BY code LIMIT $2
"""  # noqa: S608 - constants only
_WAREHOUSE: Final = f"SELECT {WAREHOUSE_COLUMNS} FROM warehouses WHERE code = $1"  # noqa: S608


class PostgresInventoryViews:
    """The reads, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def stock(self, sku: str) -> StockView | None:
        """Return the levels of a SKU, None if it never had any."""
        driver = await self._transaction.driver()
        rows = [dict(row) for row in await driver.fetch(_STOCK, sku)]
        if not rows:
            return None
        levels = [LevelView(**{name: row[name] for name in row if name != "version"}) for row in rows]
        return StockView(sku=sku, version=rows[0]["version"], levels=levels)

    async def components(self, sku: str) -> Mapping[str, int]:
        """Return what a bundle is made of, nothing if it is none."""
        driver = await self._transaction.driver()
        return await driver.fetchval(_COMPONENTS, sku) or {}

    async def policy(self, sku: str) -> StockPolicy | None:
        """Return the policy of a SKU, None if it was never heard of."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_POLICY, sku)
        return policy_of(*row) if row else None

    async def movements(self, sku: str, *, before: tuple[object, int] | None, limit: int) -> list[MovementView]:
        """Return the ledger of a SKU, latest first."""
        driver = await self._transaction.driver()
        occurred_at, movement_id = before or (None, None)
        rows = await driver.fetch(_MOVEMENTS, sku, occurred_at, movement_id, limit)
        return [MovementView(**dict(row)) for row in rows]

    async def reservation(self, order_id: UUID) -> ReservationView | None:
        """Return an order's reservation."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_RESERVATION, order_id)
        if not rows:
            return None
        return ReservationView(
            order_id=order_id,
            version=rows[0]["version"],
            status=rows[0]["status"],
            approved_at=rows[0]["approved_at"],
            lines=[
                ReservedLineView(
                    sku=row["sku"],
                    warehouse=row["warehouse"],
                    quantity=row["quantity"],
                    committed=row["committed"],
                )
                for row in rows
                if row["warehouse"] is not None
            ],
            wanted=[(row["sku"], row["quantity"]) for row in rows if row["sku"] and row["warehouse"] is None],
        )

    async def warehouses(self, *, after: str, limit: int) -> list[Warehouse]:
        """Return warehouses in the order of their codes, behind `after`."""
        driver = await self._transaction.driver()
        return [warehouse_of(row) for row in await driver.fetch(_WAREHOUSES, after, limit)]

    async def warehouse(self, code: str) -> Warehouse | None:
        """Return one warehouse."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_WAREHOUSE, code)
        return warehouse_of(row) if row else None
