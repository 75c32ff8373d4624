"""What the ageing report reads: a page of SKUs at a time, and of each no further back than its stock reaches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from libs.common.db import Transaction
from services.inventory.domain.ageing import Layer
from services.inventory.storage.unit_costs import unit_costs_of

_LAST: Final = "SELECT max(sku) FROM (SELECT sku FROM stock_items WHERE sku > $1 ORDER BY sku LIMIT $2) AS page"
_LEVELS: Final = """
SELECT sku, warehouse, on_hand FROM stock_items JOIN stock_levels USING (sku)
WHERE sku > $1 AND sku <= $2 AND on_hand > 0 AND ($3::text IS NULL OR warehouse = $3) AND NOT tracks_lots
"""
_LOTS: Final = """
SELECT sku, warehouse, units, received_at, nullif(lot, ''), expires_on
FROM stock_items JOIN stock_levels USING (sku) JOIN stock_lots USING (sku, warehouse)
WHERE sku > $1 AND sku <= $2 AND on_hand > 0 AND ($3::text IS NULL OR warehouse = $3) AND tracks_lots
"""
# What is on hand of a SKU without lots is what came last: arrivals from the latest back, until they make it up.
_ARRIVALS: Final = """
SELECT sku, warehouse, least(units, on_hand - newer)::bigint AS units, occurred_at, unit_cost_minor::numeric, currency
FROM (
    SELECT sku, warehouse, on_hand, occurred_at, delta_on_hand AS units, unit_cost_minor, currency,
           sum(delta_on_hand) OVER (PARTITION BY sku, warehouse ORDER BY occurred_at DESC, id DESC)
               - delta_on_hand AS newer
    FROM stock_movements
    JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS levels (sku, warehouse, on_hand) USING (sku, warehouse)
    WHERE sku = ANY($1::text[]) AND occurred_at > $4
        AND kind IN ('receipt', 'return', 'transfer-in') AND delta_on_hand > 0
) AS arrivals
WHERE newer < on_hand
"""
# How far back arrivals are looked for that make up what is there: most stock is young, and what is not has few.
_LOOK_BACK_DAYS: Final = (60, 365)
_BEFORE_ALL: Final = datetime(1, 1, 2, tzinfo=UTC)


class _Level(NamedTuple):
    sku: str
    warehouse: str
    on_hand: int


class PostgresAgeing:
    """The layers of stock, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def layers(
        self, *, warehouse: str | None, after_sku: str, limit: int, now: datetime
    ) -> tuple[Sequence[Layer], str | None]:
        """Return the layers of the next `limit` SKUs, and the last of these; None if there are no more SKUs."""
        driver = await self._transaction.driver()
        last_sku = await driver.fetchval(_LAST, after_sku, limit)
        if last_sku is None:
            return [], None
        page = after_sku, last_sku, warehouse
        layers = [Layer(*row) for row in await driver.fetch(_LOTS, *page)]
        levels = [_Level(*row) for row in await driver.fetch(_LEVELS, *page)]
        for days in _LOOK_BACK_DAYS:
            found, levels = await self._made_up(levels, since=now - timedelta(days=days))
            layers += found
        layers += await self._arrivals(levels, since=_BEFORE_ALL)
        layers += _unexplained(levels, layers)
        return sorted(await self._with_costs(layers), key=_place_of), last_sku

    async def _made_up(self, levels: Sequence[_Level], *, since: datetime) -> tuple[list[Layer], list[_Level]]:
        """Return the layers of the levels that arrivals `since` then make up, and the other levels."""
        layers = await self._arrivals(levels, since=since)
        others = {(one.sku, one.warehouse) for one in _unexplained(levels, layers)}
        return (
            [one for one in layers if (one.sku, one.warehouse) not in others],
            [one for one in levels if (one.sku, one.warehouse) in others],
        )

    async def _arrivals(self, levels: Sequence[_Level], *, since: datetime) -> list[Layer]:
        if not levels:
            return []
        driver = await self._transaction.driver()
        skus, warehouses, on_hand = (list(column) for column in zip(*levels, strict=True))
        return [
            Layer(sku, warehouse, units, received_at, unit_cost_minor=minor, currency=currency)
            for sku, warehouse, units, received_at, minor, currency in await driver.fetch(
                _ARRIVALS, skus, warehouses, on_hand, since
            )
        ]

    async def _with_costs(self, layers: Sequence[Layer]) -> list[Layer]:
        """Let what nobody told the cost of cost what its SKU does on average."""
        costs = await unit_costs_of(self._transaction, {one.sku for one in layers if one.unit_cost_minor is None})
        return [
            one._replace(unit_cost_minor=cost.minor, currency=cost.currency)
            if one.unit_cost_minor is None and (cost := costs.get(one.sku)) is not None
            else one
            for one in layers
        ]


def _unexplained(levels: Iterable[_Level], layers: Iterable[Layer]) -> list[Layer]:
    """Return the units of `levels` beyond those of their `layers`."""
    units = Counter[tuple[str, str]]()
    for one in layers:
        units[one.sku, one.warehouse] += one.units
    return [
        Layer(sku, warehouse, on_hand - units[sku, warehouse])
        for sku, warehouse, on_hand in levels
        if on_hand > units[sku, warehouse]
    ]


def _place_of(layer: Layer) -> tuple[str, str, bool, date, bool, datetime, str]:
    """Order the layers of a level: what expires first, then what came first; what is not known comes last."""
    return (
        layer.sku,
        layer.warehouse,
        layer.expires_on is None,
        layer.expires_on or date.max,
        layer.received_at is None,
        layer.received_at or _BEFORE_ALL,
        layer.lot or "",
    )
