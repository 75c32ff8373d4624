"""What rebalancing reads: positions of SKUs in all warehouses, and the proposals that are open."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.demand import StockPair
from services.inventory.domain.rebalancing import Position
from services.inventory.handlers.rebalancing import BY_RULE, OpenProposal
from services.inventory.storage.demand import demand_of

# Held by the one process that proposes, for a page.
_LOCK: Final = f"SELECT pg_try_advisory_xact_lock({0x50_52_4F})"  # "PRO"
_PAGE: Final = "SELECT sku FROM stock_items WHERE sku > $1 ORDER BY sku LIMIT $2"
_LEVELS: Final = """
SELECT sku, warehouse, in_transit,
       greatest(0, on_hand - reserved - blocked
                   - coalesce((safety_stock_by_warehouse ->> warehouse)::bigint, safety_stock_units)) AS available
FROM stock_levels JOIN stock_items USING (sku) JOIN warehouses ON warehouses.code = warehouse
WHERE sku = ANY($1::text[]) AND is_active
"""
# Units that are planned to move and have not left; those of approved transfers are held and not available any more.
_PLANNED: Final = """
SELECT sku, line.source, line.destination, sum(greatest(0, requested - dispatched))::bigint AS units,
       sum(CASE WHEN plan = 'proposed' THEN greatest(0, requested - dispatched) ELSE 0 END)::bigint AS units_not_held
FROM transfer_lines AS line JOIN transfers USING (transfer_id)
WHERE sku = ANY($1::text[]) AND plan IN ('proposed', 'approved') AND NOT is_closed
    AND NOT (is_automatic AND status = 'proposed')
GROUP BY sku, line.source, line.destination
"""
# Orders that can only be served from one place: where they are collected, or, if they may not be split, where most of
# what they want is.
_BACKLOG: Final = """
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT order_id, collect_at FROM backorder_lines JOIN reservations USING (order_id)
    WHERE sku = ANY($1::text[]) AND (collect_at IS NOT NULL OR NOT is_split_allowed)
    LIMIT $2
),
there AS (
    SELECT order_id, code AS warehouse, backorder_lines.sku,
           least(quantity, greatest(0, coalesce(on_hand - reserved - blocked, 0))) AS units
    FROM waiting JOIN backorder_lines USING (order_id)
    JOIN warehouses ON is_active AND (collect_at IS NULL OR collect_at = code)
    LEFT JOIN stock_levels AS level ON (level.sku, level.warehouse) = (backorder_lines.sku, code)
),
served AS (
    SELECT DISTINCT ON (order_id) order_id, warehouse
    FROM (SELECT order_id, warehouse, sum(units) AS units FROM there GROUP BY order_id, warehouse) AS candidates
    ORDER BY order_id, units DESC, warehouse
)
SELECT sku, served.warehouse, sum(quantity)::bigint AS units
FROM served JOIN backorder_lines USING (order_id)
WHERE sku = ANY($1::text[]) GROUP BY sku, served.warehouse
"""
_ORDERS_MAX: Final = 2_000
_OPEN: Final = """
SELECT transfer_id, sku, transfers.source, transfers.destination, requested
FROM transfers JOIN transfer_lines USING (transfer_id)
WHERE is_automatic AND status = 'proposed' AND sku = ANY($1::text[])
"""
# By rule, nobody declines anything: what is not needed any more is withdrawn.
_DECLINED: Final = """
SELECT DISTINCT ON (sku, transfers.source, transfers.destination)
       transfer_id, sku, transfers.source, transfers.destination, requested
FROM transfers JOIN transfer_lines USING (transfer_id)
WHERE is_automatic AND status = 'cancelled' AND decided_by <> $3 AND changed_at > $2 AND sku = ANY($1::text[])
ORDER BY sku, transfers.source, transfers.destination, changed_at DESC
"""
_APPROVABLE: Final = """
SELECT transfer_id FROM transfers
WHERE is_automatic AND status = 'proposed' AND value_minor < $1 AND currency = $2 AND transfer_id > $3
ORDER BY transfer_id LIMIT $4
"""


class PostgresRebalancing:
    """The reads of rebalancing, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def take_turn(self) -> bool:
        """Answer whether nobody else proposes now; nobody will until the transaction ends."""
        driver = await self._transaction.driver()
        return bool(await driver.fetchval(_LOCK))

    async def next_skus(self, *, after_sku: str, limit: int) -> list[str]:
        """Return the next SKUs behind `after_sku`."""
        driver = await self._transaction.driver()
        return [row["sku"] for row in await driver.fetch(_PAGE, after_sku, limit)]

    async def positions(
        self, skus: Collection[str], *, now: datetime, demand_days: float
    ) -> Mapping[str, Sequence[Position]]:
        """Return where each SKU is, as if no proposal by rule were open."""
        driver = await self._transaction.driver()
        wanted = list(skus)
        demand = await demand_of(self._transaction, wanted, until=now, period_days=demand_days, periods=1)
        incoming, outgoing, backlog = defaultdict[StockPair, int](int), defaultdict[StockPair, int](int), {}
        for row in await driver.fetch(_PLANNED, wanted):
            incoming[StockPair(row["sku"], row["destination"])] += row["units"]
            outgoing[StockPair(row["sku"], row["source"])] += row["units_not_held"]
        for row in await driver.fetch(_BACKLOG, wanted, _ORDERS_MAX):
            backlog[StockPair(row["sku"], row["warehouse"])] = row["units"]
        available = {StockPair(row["sku"], row["warehouse"]): row for row in await driver.fetch(_LEVELS, wanted)}
        found = defaultdict[str, list[Position]](list)
        for pair in sorted(available.keys() | backlog.keys()):
            level = available.get(pair)
            found[pair.sku].append(
                Position(
                    warehouse=pair.warehouse,
                    available=level["available"] if level else 0,
                    incoming=incoming[pair] + (level["in_transit"] if level else 0),
                    outgoing=outgoing[pair],
                    per_day=demand[pair].per_day if pair in demand else 0.0,
                    backlog=backlog.get(pair, 0),
                )
            )
        return found

    async def open_proposals(self, skus: Collection[str]) -> list[OpenProposal]:
        """Return the proposals by rule that nobody has decided."""
        driver = await self._transaction.driver()
        return [_proposal(row) for row in await driver.fetch(_OPEN, list(skus))]

    async def declined_proposals(self, skus: Collection[str], *, since: datetime) -> list[OpenProposal]:
        """Return the latest proposals by rule that people have cancelled since then."""
        driver = await self._transaction.driver()
        return [_proposal(row) for row in await driver.fetch(_DECLINED, list(skus), since, BY_RULE)]

    async def approvable(self, *, below_minor: int, currency: str, after: UUID, limit: int) -> list[UUID]:
        """Return open proposals by rule whose units are worth less than `below_minor`."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_APPROVABLE, below_minor, currency, after, limit)
        return [row["transfer_id"] for row in rows]


def _proposal(row: asyncpg.Record) -> OpenProposal:
    return OpenProposal(row["transfer_id"], row["sku"], row["source"], row["destination"], row["requested"])
