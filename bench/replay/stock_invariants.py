"""What must hold of stock, computed from inventory's and orders' tables."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from bench.replay.databases import Databases
from bench.replay.verdict import Verdict

_LEDGER = """
SELECT count(*) AS levels, coalesce(sum(on_hand), 0)::bigint AS units,
       count(*) FILTER (WHERE coalesce(on_hand, 0) <> coalesce(moved, 0)) AS off
FROM stock_levels
FULL JOIN (SELECT sku, warehouse, sum(delta_on_hand) AS moved FROM stock_movements GROUP BY sku, warehouse) AS ledger
    USING (sku, warehouse)
"""
_RESERVED = """
SELECT count(*) AS levels, coalesce(sum(reserved), 0)::bigint AS units,
       count(*) FILTER (WHERE coalesce(reserved, 0) <> coalesce(held, 0)) AS off
FROM stock_levels
FULL JOIN (
    SELECT sku, warehouse, sum(quantity - committed_quantity) AS held
    FROM reservation_lines JOIN reservations USING (order_id)
    WHERE status = 'held' GROUP BY sku, warehouse
) AS live USING (sku, warehouse)
"""
_BOUNDS = """
SELECT count(*) AS levels, count(*) FILTER (WHERE reserved < 0 OR reserved > on_hand OR on_hand < 0) AS off
FROM stock_levels
"""
_HELD = """
SELECT order_id, sum(quantity - committed_quantity)::bigint AS units
FROM reservation_lines WHERE quantity > committed_quantity GROUP BY order_id
"""
# An order may hold stock from its reservation until its last parcel leaves.
_NOT_HOLDING = """
SELECT id FROM orders
WHERE id = ANY($1::uuid[]) AND status NOT IN ('approved', 'backordered', 'reserved', 'confirmed', 'cancelling')
"""
_SHIPPED_BY_INVENTORY = """
SELECT order_id, sku, -sum(delta_on_hand)::bigint AS units
FROM stock_movements WHERE kind = 'ship' GROUP BY order_id, sku
"""
# An order that somebody ended while its parcels were on their way, or about to leave, shipped those all the same.
_SHIPPED_BY_ORDERS = """
SELECT order_id, sku, sum(quantity)::bigint AS units
FROM order_lines JOIN orders ON orders.id = order_id
WHERE status IN ('shipped', 'delivered', 'settled') GROUP BY order_id, sku
UNION ALL
SELECT order_id, part ->> 'sku', sum((part ->> 'quantity')::bigint)::bigint
FROM order_allocations JOIN orders ON orders.id = order_id CROSS JOIN jsonb_array_elements(allocations) AS part
WHERE orders.status = 'cancelled' AND EXISTS (
    SELECT FROM order_shipments AS parcel
    WHERE parcel.order_id = order_allocations.order_id AND parcel.warehouse = part ->> 'warehouse'
        AND parcel.status IN ('dispatched', 'delivered', 'failed', 'lost')
)
GROUP BY order_id, part ->> 'sku'
"""
_RESTOCKED_BY_INVENTORY = """
SELECT order_id, sku, sum(delta_on_hand)::bigint AS units
FROM stock_movements WHERE kind = 'return' GROUP BY order_id, sku
"""
_RESTOCKED_BY_ORDERS = """
SELECT order_id, sku, sum(restocked_quantity)::bigint AS units
FROM return_lines JOIN returns ON returns.id = return_id
WHERE status IN ('received', 'closed') AND restocked_quantity > 0 GROUP BY order_id, sku
"""


async def stock_verdicts(databases: Databases) -> list[Verdict]:
    """Judge what inventory has on hand and holds, by itself and against the orders."""
    inventory, orders = databases["inventory"], databases["orders"]
    return [
        await _levels("Σ ledger = on hand, in every warehouse", _LEDGER, inventory),
        await _levels("Σ live reservations = reserved, in every warehouse", _RESERVED, inventory),
        await _bounds(inventory),
        await _held(inventory, orders),
        await _agreement(
            "every shipped unit left the ledger exactly once",
            await _units(inventory, _SHIPPED_BY_INVENTORY),
            await _units(orders, _SHIPPED_BY_ORDERS),
        ),
        await _agreement(
            "every resold return entered the ledger exactly once",
            await _units(inventory, _RESTOCKED_BY_INVENTORY),
            await _units(orders, _RESTOCKED_BY_ORDERS),
        ),
    ]


async def _levels(invariant: str, query: str, inventory: asyncpg.Connection) -> Verdict:
    [row] = await inventory.fetch(query)
    return Verdict(
        invariant, row["off"] == 0, f"{row['units']:,} units, {row['off']:,} of {row['levels']:,} levels off"
    )


async def _bounds(inventory: asyncpg.Connection) -> Verdict:
    [row] = await inventory.fetch(_BOUNDS)
    return Verdict("0 ≤ reserved ≤ on hand", row["off"] == 0, f"{row['off']:,} of {row['levels']:,} levels outside")


async def _held(inventory: asyncpg.Connection, orders: asyncpg.Connection) -> Verdict:
    units = {row["order_id"]: row["units"] for row in await inventory.fetch(_HELD)}
    stray = [row["id"] for row in await orders.fetch(_NOT_HOLDING, list(units))]
    figures = f"{sum(units.values()):,} units held for {len(units):,} orders, {len(stray):,} of them need none"
    return Verdict("nothing is held for an order that is over", not stray, figures)


async def _agreement(
    invariant: str, booked: Mapping[tuple[UUID, str], int], ordered: Mapping[tuple[UUID, str], int]
) -> Verdict:
    off = sum(booked.get(key, 0) != ordered.get(key, 0) for key in booked.keys() | ordered.keys())
    figures = (
        f"{sum(ordered.values()):,} units by the orders, {sum(booked.values()):,} by the ledger, {off:,} lines off"
    )
    return Verdict(invariant, off == 0, figures)


async def _units(database: asyncpg.Connection, query: str) -> dict[tuple[UUID, str], int]:
    return {(row["order_id"], row["sku"]): row["units"] for row in await database.fetch(query)}
