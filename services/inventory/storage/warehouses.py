"""Warehouses in PostgreSQL."""

from datetime import datetime
from typing import Final

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.warehouses import Warehouse, WarehouseKind
from services.inventory.storage.stock import WAREHOUSES_LOCK

WAREHOUSE_COLUMNS: Final = (
    "code, version, name, country, latitude, longitude, priority, is_active, kind, ships_orders, is_collection_point"
)
_ALL: Final = f"SELECT {WAREHOUSE_COLUMNS} FROM warehouses ORDER BY code"  # noqa: S608 - constants only
_ONE: Final = f"SELECT {WAREHOUSE_COLUMNS} FROM warehouses WHERE code = $1"  # noqa: S608
_LOCK: Final = f"SELECT pg_advisory_xact_lock({WAREHOUSES_LOCK})"
_SAVE: Final = """
INSERT INTO warehouses (code, version, name, country, latitude, longitude, priority, is_active, changed_at,
                        kind, ships_orders, is_collection_point)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (code) DO UPDATE SET
    version = excluded.version,
    name = excluded.name,
    country = excluded.country,
    latitude = excluded.latitude,
    longitude = excluded.longitude,
    priority = excluded.priority,
    is_active = excluded.is_active,
    changed_at = excluded.changed_at,
    kind = excluded.kind,
    ships_orders = excluded.ships_orders,
    is_collection_point = excluded.is_collection_point
"""
_WAITED_FOR: Final = """
SELECT sku FROM stock_levels
WHERE warehouse = $1 AND on_hand > reserved
    AND EXISTS (SELECT FROM backorder_lines WHERE backorder_lines.sku = stock_levels.sku)
"""


class PostgresWarehouses:
    """The warehouses, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def all(self) -> list[Warehouse]:
        """Return every warehouse, in the order of their codes."""
        driver = await self._transaction.driver()
        return [warehouse_of(row) for row in await driver.fetch(_ALL)]

    async def lock(self, code: str) -> Warehouse | None:
        """Load one warehouse and keep stock and warehouses from all others."""
        driver = await self._transaction.driver()
        await driver.execute(_LOCK)
        row = await driver.fetchrow(_ONE, code)
        return warehouse_of(row) if row else None

    async def save(self, warehouse: Warehouse, *, changed_at: datetime) -> None:
        """Write a warehouse."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE,
            warehouse.code,
            warehouse.version,
            warehouse.name,
            warehouse.country,
            warehouse.latitude,
            warehouse.longitude,
            warehouse.priority,
            warehouse.is_active,
            changed_at,
            warehouse.kind,
            warehouse.ships_orders,
            warehouse.is_collection_point,
        )

    async def skus_waited_for(self, code: str) -> list[str]:
        """Return the SKUs that orders wait for and that this warehouse has."""
        driver = await self._transaction.driver()
        return [row["sku"] for row in await driver.fetch(_WAITED_FOR, code)]


def warehouse_of(row: asyncpg.Record) -> Warehouse:
    """Read a warehouse from a row of its columns."""
    columns = dict(row)
    return Warehouse(kind=WarehouseKind(columns.pop("kind")), **columns)
