"""Demand, read from the ledger."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from libs.common.db import Transaction
from services.inventory.domain.demand import Demand, DemandByPair, StockPair

# One range of the ledger's index for each SKU. Whether a pair is older than the window is asked once for each pair.
_DEMAND: Final = """
WITH moved AS MATERIALIZED (
    SELECT sku, warehouse, occurred_at,
           CASE WHEN kind IN ('ship', 'pick') THEN -delta_on_hand ELSE 0 END AS units,
           floor(extract(epoch FROM $3 - occurred_at) / $4::float8)::int AS age
    FROM stock_movements
    WHERE sku = ANY($1::text[]) AND occurred_at > $2 AND occurred_at <= $3
),
periods AS (
    SELECT sku, warehouse, age, sum(units)::bigint AS units, min(occurred_at) AS first_at
    FROM moved GROUP BY sku, warehouse, age
),
pairs AS (
    SELECT sku, warehouse, min(first_at) AS first_at,
           array_agg(age) FILTER (WHERE units > 0) AS ages, array_agg(units) FILTER (WHERE units > 0) AS units
    FROM periods GROUP BY sku, warehouse HAVING max(units) > 0
)
SELECT sku, warehouse, ages, units,
       CASE WHEN EXISTS (
           SELECT FROM stock_movements AS older
           WHERE older.sku = pairs.sku AND older.warehouse = pairs.warehouse AND older.occurred_at <= $2
       ) THEN $2 ELSE first_at END AS observed_since
FROM pairs
"""


async def demand_of(
    transaction: Transaction, skus: Collection[str], *, until: datetime, period_days: float, periods: int
) -> DemandByPair:
    """Return the demand for `skus` in the `periods` of `period_days` each that end at `until`, by event time."""
    driver = await transaction.driver()
    since = until - timedelta(days=period_days * periods)
    period_seconds = timedelta(days=period_days).total_seconds()
    found: dict[StockPair, Demand] = {}
    for row in await driver.fetch(_DEMAND, list(skus), since, until, period_seconds):
        units = [0] * periods
        for age, quantity in zip(row["ages"], row["units"], strict=True):
            units[periods - 1 - min(age, periods - 1)] += quantity
        found[StockPair(row["sku"], row["warehouse"])] = Demand(
            units=tuple(units),
            observed_days=(until - row["observed_since"]) / timedelta(days=1),
        )
    return found
