"""Stock in PostgreSQL: locked by SKU, read and written in sets."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from libs.common.errors import Unavailable
from libs.common.events.base import Envelope
from services.inventory.domain.arrivals import Arrival, ArrivalKey
from services.inventory.domain.stock import Changes, Level, Movement, StockItem
from services.inventory.domain.stock_events import Booked
from services.inventory.domain.stock_policy import NO_POLICY, StockPolicy
from services.inventory.domain.strategies import DailyDemand
from services.inventory.handlers.ports import CountTaken, MoreSkusNeeded
from services.inventory.storage.arrivals import find_arrivals, open_arrivals, save_arrivals, save_numbers
from services.inventory.storage.demand import demand_of

# Held in shared mode by whoever works on stock and exclusively by whoever changes a warehouse, so that no order is
# left waiting by a transaction that did not yet know a warehouse that another one has just opened.
WAREHOUSES_LOCK: Final = 0x57_48_53  # "WHS"

# Long enough for every weekday to count the same, short enough to notice a season.
_DEMAND_DAYS: Final = 28.0

_BEGIN: Final = f"SAVEPOINT locked; SELECT pg_advisory_xact_lock_shared({WAREHOUSES_LOCK})"
_UNDO: Final = "ROLLBACK TO SAVEPOINT locked"

# Sorted, like the lock below it: whoever adds rows waits for others in the same order as whoever locks them.
_ADD_ITEMS: Final = "INSERT INTO stock_items (sku) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
# Two statements: only a snapshot taken after the locks shows what their former holders wrote.
_LOCK_ITEMS: Final = """
SELECT sku, version, safety_stock_units, safety_stock_by_warehouse, backorder_units_max,
       tracks_lots, shelf_life_days_min, has_arrivals, components
FROM stock_items WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE
"""
# With each level the place behind which the SKU's queue has yet to be served; there hardly ever is one.
_LEVELS: Final = """
SELECT sku, warehouse, after_approved_at, after_order_id,
       on_hand, reserved, in_transit, shortfall, counted_at, counted_by, blocked
FROM stock_levels LEFT JOIN backorder_revisits USING (sku) WHERE sku = ANY($1::text[])
"""
# What bundles are made of comes along. Most SKUs that are asked for are sold out: those come back from the index alone.
_UNRESERVED: Final = """
WITH RECURSIVE asked AS (
    SELECT sku, components FROM stock_items WHERE sku = ANY($1::text[])
    UNION
    SELECT part.sku, part.components FROM asked
    CROSS JOIN LATERAL jsonb_object_keys(asked.components) AS key
    JOIN stock_items AS part ON part.sku = key
)
SELECT items.sku, version, safety_stock_units, safety_stock_by_warehouse, backorder_units_max,
       tracks_lots, shelf_life_days_min, has_arrivals, items.components,
       warehouse, on_hand, reserved, in_transit, shortfall, counted_at, counted_by, blocked
FROM asked JOIN stock_items AS items USING (sku)
LEFT JOIN stock_levels ON stock_levels.sku = items.sku AND on_hand > reserved
WHERE (warehouse IS NOT NULL OR items.components IS NOT NULL)
  AND NOT EXISTS (SELECT FROM backorder_revisits WHERE backorder_revisits.sku = items.sku)
"""
# Of those columns, how many make an item.
_ITEM_COLUMNS: Final = 9
_RECORDED: Final = "SELECT event_id FROM stock_movements WHERE event_id = ANY($1::uuid[]) AND leg = 0"
_BOOKED: Final = """
SELECT event_id, kind, sku, warehouse,
       CASE kind WHEN 'adjust' THEN delta_on_hand WHEN 'count' THEN counted
                 ELSE coalesce(picked, abs(delta_on_hand)) END AS units
FROM stock_movements WHERE event_id = ANY($1::uuid[]) AND leg = 0
"""
_UNITS_SINCE: Final = """
SELECT counts.event_id, sum(movements.delta_on_hand)::bigint AS units
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
     AS counts (event_id, sku, warehouse, counted_at)
JOIN stock_movements AS movements
    ON movements.sku = counts.sku
    AND movements.warehouse = counts.warehouse
    AND movements.occurred_at > counts.counted_at
WHERE movements.kind <> 'shortfall'
GROUP BY counts.event_id
"""
_SAVE_LEVELS: Final = """
INSERT INTO stock_levels (sku, warehouse, on_hand, reserved, in_transit, shortfall, counted_at, counted_by, blocked)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::uuid[],
    $9::bigint[]
)
ON CONFLICT (sku, warehouse) DO UPDATE SET
    on_hand = excluded.on_hand,
    reserved = excluded.reserved,
    in_transit = excluded.in_transit,
    shortfall = excluded.shortfall,
    counted_at = excluded.counted_at,
    counted_by = excluded.counted_by,
    blocked = excluded.blocked
"""
_SAVE_VERSIONS: Final = """
UPDATE stock_items SET version = saved.version
FROM unnest($1::text[], $2::bigint[]) AS saved (sku, version) WHERE stock_items.sku = saved.sku
"""
_BUNDLES_OF: Final = "SELECT sku FROM stock_items WHERE components IS NOT NULL AND components ? $1"
_SAVE_COMPONENTS: Final = "UPDATE stock_items SET components = $2::jsonb WHERE sku = $1"
_SAVE_POLICY: Final = """
UPDATE stock_items SET safety_stock_units = $2, safety_stock_by_warehouse = $3::jsonb, backorder_units_max = $4,
    tracks_lots = $5, shelf_life_days_min = $6
WHERE sku = $1
"""
_MOVEMENT_COLUMNS: Final = (
    "event_id",
    "leg",
    "kind",
    "sku",
    "warehouse",
    "delta_on_hand",
    "occurred_at",
    "recorded_at",
    "reference",
    "reason",
    "order_id",
    "transfer_id",
    "sequence",
    "unit_cost_minor",
    "currency",
    "lot",
    "expires_on",
    "counted",
    "picked",
)


class StockEventRaced(Unavailable):
    """Another transaction recorded an event of the same id about another SKU at this moment; try again."""

    code = "stock-event-raced"


class PostgresStock:
    """The stock, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    @asynccontextmanager
    async def locked(self, skus: Collection[str]) -> AsyncIterator[list[StockItem]]:
        """Lock and load SKUs (see `StockStore.locked`)."""
        driver = await self._transaction.driver()
        await driver.execute(_BEGIN)
        wanted = sorted(skus)
        rows = await driver.fetch(_LOCK_ITEMS, wanted)
        if len(rows) < len(wanted):
            # All over again: locked in two goes, they would not be locked in one order.
            await driver.execute(_UNDO)
            await driver.execute(_BEGIN)
            await driver.execute(_ADD_ITEMS, wanted)
            rows = await driver.fetch(_LOCK_ITEMS, wanted)
        items = {row[0]: _item(row) for row in rows}
        for sku, warehouse, after_approved_at, after_order_id, *columns in await driver.fetch(_LEVELS, wanted):
            item = items[sku]
            level = item.levels[warehouse] = Level(*columns)
            level.safety_stock = item.policy.safety_stock_in(warehouse)
            if after_order_id is not None:
                item.unserved_after = (after_approved_at, after_order_id)
        if awaited := [item.sku for item in items.values() if item.has_arrivals]:
            for sku, key, arrival in await open_arrivals(self._transaction, awaited):
                items[sku].arrivals[key] = arrival
        try:
            yield list(items.values())
        except MoreSkusNeeded:
            driver = await self._transaction.driver()
            await driver.execute(_UNDO)
            raise

    async def unreserved(self, skus: Collection[str]) -> list[StockItem]:
        """Load SKUs of which units may be free, without locks (see `StockStore.unreserved`)."""
        driver = await self._transaction.driver()
        items: dict[str, StockItem] = {}
        for row in await driver.fetch(_UNRESERVED, list(skus)):
            item = items.get(row[0])
            if item is None:
                item = items[row[0]] = _item(row[:_ITEM_COLUMNS])
            warehouse, *columns = row[_ITEM_COLUMNS:]
            if warehouse is not None:
                level = item.levels[warehouse] = Level(*columns)
                level.safety_stock = item.policy.safety_stock_in(warehouse)
        return list(items.values())

    async def daily_demand(self, skus: Collection[str], *, until: datetime) -> DailyDemand:
        """Return the mean of the last four weeks by SKU and warehouse."""
        found = await demand_of(self._transaction, skus, until=until, period_days=_DEMAND_DAYS, periods=1)
        rates: dict[str, dict[str, float]] = {}
        for (sku, warehouse), demand in found.items():
            rates.setdefault(sku, {})[warehouse] = demand.per_day
        return rates

    async def recorded(self, event_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the events that are in the ledger."""
        driver = await self._transaction.driver()
        return {row["event_id"] for row in await driver.fetch(_RECORDED, list(event_ids))}

    async def booked(self, event_ids: Collection[UUID]) -> Mapping[UUID, Booked]:
        """Return what was booked first under the ids of events (see `StockStore.booked`)."""
        driver = await self._transaction.driver()
        return {event_id: Booked(*said) for event_id, *said in await driver.fetch(_BOOKED, list(event_ids))}

    async def arrivals(self, keys: Collection[tuple[str, ArrivalKey]]) -> Sequence[tuple[str, ArrivalKey, Arrival]]:
        """Return what is known of expected arrivals."""
        return await find_arrivals(self._transaction, keys)

    async def number_announcements(self, announcements: Collection[Envelope], *, recorded_at: datetime) -> None:
        """Keep the numbers of announcements (see `StockStore.number_announcements`)."""
        await save_numbers(self._transaction, announcements, recorded_at=recorded_at)

    async def units_since(self, counts: Sequence[CountTaken]) -> Mapping[UUID, int]:
        """Return the units that moved after each count; those after which nothing moved are left out."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_UNITS_SINCE, *_columns(counts, 4))
        return {row["event_id"]: row["units"] for row in rows}

    async def bundles_of(self, sku: str) -> list[str]:
        """Return the bundles of which a SKU is a component."""
        driver = await self._transaction.driver()
        return [row["sku"] for row in await driver.fetch(_BUNDLES_OF, sku)]

    async def save_components(self, sku: str, components: Mapping[str, int]) -> None:
        """Write what a locked SKU is made of."""
        driver = await self._transaction.driver()
        await driver.execute(_SAVE_COMPONENTS, sku, msgspec.json.encode(components).decode() if components else None)

    async def save_policy(self, sku: str, policy: StockPolicy) -> None:
        """Write the policy of a locked SKU."""
        driver = await self._transaction.driver()
        by_warehouse = policy.safety_stock_by_warehouse
        await driver.execute(
            _SAVE_POLICY,
            sku,
            policy.safety_stock_units,
            msgspec.json.encode(by_warehouse).decode() if by_warehouse else None,
            policy.backorder_units_max,
            policy.tracks_lots,
            policy.shelf_life_days_min,
        )

    async def save(self, changes: Changes, *, recorded_at: datetime) -> None:
        """
        Write levels, versions and movements.

        :raises StockEventRaced: if an event was recorded meanwhile under another SKU.
        """
        levels = [
            (
                sku,
                warehouse,
                level.on_hand,
                level.reserved,
                level.in_transit,
                level.shortfall,
                level.counted_at,
                level.counted_by,
                level.blocked,
            )
            for sku, warehouse, level in changes.levels
        ]
        write = self._transaction.write
        if levels:
            columns = _columns(levels, 9)
            await write(lambda driver: driver.execute(_SAVE_LEVELS, *columns), rows=len(levels))
        if changes.items:
            versions = _columns([(item.sku, item.version) for item in changes.items], 2)
            await write(lambda driver: driver.execute(_SAVE_VERSIONS, *versions), rows=len(changes.items))
        if changes.arrivals:
            await save_arrivals(self._transaction, changes.arrivals)
        if changes.movements:
            rows = _movement_rows(changes.movements, recorded_at)
            await write(lambda driver: _add_movements(driver, rows), rows=len(rows))


def _movement_rows(movements: Sequence[Movement], recorded_at: datetime) -> list[tuple[object, ...]]:
    return [
        (
            cause.event_id,
            leg,
            kind,
            sku,
            warehouse,
            units,
            occurred_at,
            recorded_at,
            cause.reference,
            cause.reason,
            cause.order_id,
            cause.transfer_id,
            cause.sequence,
            cause.unit_cost_minor,
            cause.currency,
            cause.lot,
            cause.expires_on,
            cause.counted,
            cause.picked,
        )
        for leg, kind, sku, warehouse, units, occurred_at, cause in movements
    ]


async def _add_movements(driver: asyncpg.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    # COPY: half the work of arrays for rows as wide as these.
    try:
        await driver.copy_records_to_table("stock_movements", columns=_MOVEMENT_COLUMNS, records=rows)
    except asyncpg.UniqueViolationError as error:
        raise StockEventRaced("The same event is being recorded for another SKU.") from error


def _item(row: asyncpg.Record | tuple[Any, ...]) -> StockItem:
    sku, version, *policy, has_arrivals, components = row
    return StockItem(sku, version, policy=policy_of(*policy), has_arrivals=has_arrivals, components=components or {})


def policy_of(
    safety_stock_units: int,
    safety_stock_by_warehouse: Mapping[str, int] | None,
    backorder_units_max: int | None,
    tracks_lots: bool,  # noqa: FBT001 - the columns of one row
    shelf_life_days_min: int,
) -> StockPolicy:
    """Read a policy from its columns."""
    has_limits = safety_stock_units or safety_stock_by_warehouse is not None or backorder_units_max is not None
    if not has_limits and not tracks_lots:
        return NO_POLICY
    return StockPolicy(
        safety_stock_units=safety_stock_units,
        safety_stock_by_warehouse=safety_stock_by_warehouse or {},
        backorder_units_max=backorder_units_max,
        tracks_lots=tracks_lots,
        shelf_life_days_min=shelf_life_days_min,
    )


def _columns(rows: Collection[Sequence[object]], width: int) -> list[list[object]]:
    """Turn rows into the arrays that unnest takes."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
