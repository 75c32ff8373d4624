"""What a unit costs on average, over all that was ever paid for it."""

from collections.abc import Collection, Mapping
from typing import Final

from libs.common.db import Transaction
from services.inventory.domain.counts import UnitCost

# Of everything that was received of a SKU, anywhere; if it was paid for in several currencies, in that of most units.
# The condition is that of the index of arrivals.
_UNIT_COSTS: Final = """
SELECT DISTINCT ON (sku) sku, sum(delta_on_hand::numeric * unit_cost_minor) / sum(delta_on_hand) AS minor, currency
FROM stock_movements
WHERE sku = ANY($1::text[]) AND kind = 'receipt' AND delta_on_hand > 0 AND unit_cost_minor IS NOT NULL
GROUP BY sku, currency ORDER BY sku, sum(delta_on_hand) DESC, currency
"""


async def unit_costs_of(transaction: Transaction, skus: Collection[str]) -> Mapping[str, UnitCost]:
    """Return what units of `skus` cost on average, where that is known."""
    driver = await transaction.driver()
    rows = await driver.fetch(_UNIT_COSTS, list(skus))
    return {row["sku"]: UnitCost(row["minor"], row["currency"]) for row in rows}
