"""What the ageing report reads: a page of SKUs at a time, so that no statement reads the whole ledger."""

from collections.abc import Sequence
from typing import Final

from libs.common.db import Transaction
from services.inventory.domain.ageing import Layer

_LAST: Final = "SELECT max(sku) FROM (SELECT sku FROM stock_items WHERE sku > $1 ORDER BY sku LIMIT $2) AS page"
# What is on hand of a SKU without lots is what came last: arrivals from the latest back, until they make it up. A
# layer costs what was paid for it, else what the SKU costs on average.
_LAYERS: Final = """
WITH levels AS MATERIALIZED (
    SELECT sku, warehouse, on_hand, tracks_lots FROM stock_items JOIN stock_levels USING (sku)
    WHERE sku > $1 AND sku <= $2 AND on_hand > 0 AND ($3::text IS NULL OR warehouse = $3)
),
costs AS (
    SELECT DISTINCT ON (sku) sku, sum(delta_on_hand::numeric * unit_cost_minor) / sum(delta_on_hand) AS minor, currency
    FROM stock_movements
    WHERE sku > $1 AND sku <= $2 AND kind = 'receipt' AND unit_cost_minor IS NOT NULL
    GROUP BY sku, currency ORDER BY sku, sum(delta_on_hand) DESC, currency
),
arrivals AS (
    SELECT sku, warehouse, on_hand, occurred_at, delta_on_hand AS units, unit_cost_minor::numeric AS minor, currency,
           sum(delta_on_hand) OVER (PARTITION BY sku, warehouse ORDER BY occurred_at DESC, id DESC)
               - delta_on_hand AS newer
    FROM levels JOIN stock_movements USING (sku, warehouse)
    WHERE NOT tracks_lots AND kind IN ('receipt', 'return', 'transfer-in') AND delta_on_hand > 0
),
layers AS (
    SELECT sku, warehouse, least(units, on_hand - newer)::bigint AS units, occurred_at AS received_at,
           NULL::text AS lot, NULL::date AS expires_on, minor, currency
    FROM arrivals WHERE newer < on_hand
    UNION ALL
    SELECT sku, warehouse, (on_hand - coalesce(arrived.units, 0))::bigint, NULL, NULL, NULL, NULL, NULL
    FROM levels LEFT JOIN (
        SELECT sku, warehouse, sum(units) AS units FROM arrivals GROUP BY sku, warehouse
    ) AS arrived USING (sku, warehouse)
    WHERE NOT tracks_lots AND on_hand > coalesce(arrived.units, 0)
    UNION ALL
    SELECT sku, warehouse, units, received_at, nullif(lot, ''), expires_on, NULL, NULL
    FROM levels JOIN stock_lots USING (sku, warehouse) WHERE tracks_lots
)
SELECT sku, warehouse, units, received_at, lot, expires_on,
       coalesce(layers.minor, costs.minor) AS minor,
       CASE WHEN layers.minor IS NULL THEN costs.currency ELSE layers.currency END AS currency
FROM layers LEFT JOIN costs USING (sku)
ORDER BY sku, warehouse, expires_on NULLS LAST, received_at NULLS LAST, lot
"""


class PostgresAgeing:
    """The layers of stock, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def layers(self, *, warehouse: str | None, after_sku: str, limit: int) -> tuple[Sequence[Layer], str | None]:
        """Return the layers of the next `limit` SKUs, and the last of these; None if there are no more SKUs."""
        driver = await self._transaction.driver()
        last_sku = await driver.fetchval(_LAST, after_sku, limit)
        if last_sku is None:
            return [], None
        return [Layer(*row) for row in await driver.fetch(_LAYERS, after_sku, last_sku, warehouse)], last_sku
