"""Reports, from the rows that are kept of costs: any period is the difference of two of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.classes import AbcClass, XyzClass
from services.inventory.domain.costs import IN_TRANSIT
from services.inventory.domain.demand import OBSERVED_DAYS_MIN, DemandByPair
from services.inventory.domain.stock_figures import Amounts, Figures
from services.inventory.handlers.reports import Consumption, Filters, Grouping, Period, Place, SkuClass
from services.inventory.storage.demand import demand_of

# A report that takes longer is refused rather than left to hold up what sells.
_STATEMENT_SECONDS: Final = 5
# Stands for all SKUs or all warehouses; sorts behind '' and is no code of either.
_ALL: Final = "*"

_KEYS: Final = {
    Grouping.LEVEL: "sku, warehouse",
    Grouping.WAREHOUSE: f"'{_ALL}' AS sku, warehouse",
    Grouping.TOTAL: f"'{_ALL}' AS sku, '{_ALL}' AS warehouse",
}
# $1 since, $2 until, $3 sku, $4 warehouse, $5 has units, $6 idle since, $7 and $8 the place, $9 how many.
# `ended` has the last row up to the end of the period, `began` the last before it; between a row and the end of the
# period nothing happened, so that its closing figures count for each of those days.
_FIGURES: Final = """
WITH pairs AS (
    SELECT sku, warehouse FROM stock_levels
    UNION ALL
    SELECT sku, '' FROM stock_items
),
ends AS MATERIALIZED (
    SELECT pairs.sku, pairs.warehouse, ended.day AS ended_on, began.day AS began_on, ended.units, ended.uncosted_units,
           ended.received_units - coalesce(began.received_units, 0) AS received_units,
           ended.sold_units - coalesce(began.sold_units, 0) AS sold_units,
           ended.returned_units - coalesce(began.returned_units, 0) AS returned_units,
           ended.unit_days + ended.units::numeric * ($2::date - ended.day)
               - coalesce(began.unit_days + began.units::numeric * ($1::date - 1 - began.day), 0) AS unit_days,
           ended.empty_days + CASE WHEN ended.units = 0 THEN $2::date - ended.day ELSE 0 END
               - coalesce(began.empty_days + CASE WHEN began.units = 0 THEN $1::date - 1 - began.day ELSE 0 END, 0)
               AS empty_days,
           $2::date - greatest($1::date, ended.first_day) + 1 AS observed_days,
           ended.last_sold_on, ended.last_received_on
    FROM pairs
    JOIN LATERAL (
        SELECT * FROM stock_cost_days AS days
        WHERE days.sku = pairs.sku AND days.warehouse = pairs.warehouse AND days.day <= $2
        ORDER BY days.day DESC LIMIT 1
    ) AS ended ON true
    LEFT JOIN LATERAL (
        SELECT * FROM stock_cost_days AS days
        WHERE days.sku = pairs.sku AND days.warehouse = pairs.warehouse AND days.day < $1
        ORDER BY days.day DESC LIMIT 1
    ) AS began ON true
    WHERE ($3::text IS NULL OR pairs.sku = $3)
        AND ($4::text IS NULL OR pairs.warehouse = $4)
        AND (NOT $5::boolean OR ended.units > 0)
        AND ($6::date IS NULL OR (
            pairs.warehouse <> '' AND greatest(ended.last_sold_on, ended.last_received_on, ended.first_day) < $6
        ))
        AND (pairs.sku, pairs.warehouse) > ($7::text COLLATE "C", $8::text COLLATE "C")
    ORDER BY pairs.sku, pairs.warehouse
    LIMIT $9
),
estimated AS (
    SELECT *, sold_units / greatest(observed_days, {observed_days_min})::numeric AS demand_per_day,
           CASE WHEN warehouse = '' THEN 0
                ELSE empty_days * sold_units / greatest(observed_days - empty_days, {observed_days_min})::numeric
           END AS lost_units
    FROM ends
),
counted AS (
    SELECT {key}, sum(units)::numeric AS units, sum(uncosted_units) AS uncosted_units,
           sum(received_units) AS received_units, sum(sold_units) AS sold_units, sum(returned_units) AS returned_units,
           sum(unit_days) AS unit_days,
           coalesce(sum(empty_days) FILTER (WHERE estimated.warehouse <> ''), 0) AS empty_days,
           sum(demand_per_day) AS demand_per_day, sum(lost_units) AS lost_units,
           max(last_sold_on) AS last_sold_on, max(last_received_on) AS last_received_on
    FROM estimated GROUP BY 1, 2
),
valued AS (
    SELECT {key}, currency, sum(value) AS value, sum(cost_of_goods) AS cost_of_goods, sum(value_days) AS value_days
    FROM (
        SELECT ends.sku, ends.warehouse, ended.currency, ended.value_minor AS value,
               ended.sold_minor - ended.returned_minor
                   - coalesce(began.sold_minor - began.returned_minor, 0) AS cost_of_goods,
               ended.value_days_minor + ended.value_minor * ($2::date - ended.day)
                   - coalesce(began.value_days_minor + began.value_minor * ($1::date - 1 - began.day), 0) AS value_days
        FROM ends
        JOIN stock_cost_values AS ended
            ON ended.sku = ends.sku AND ended.warehouse = ends.warehouse AND ended.day = ends.ended_on
        LEFT JOIN stock_cost_values AS began
            ON began.sku = ends.sku AND began.warehouse = ends.warehouse AND began.day = ends.began_on
            AND began.currency = ended.currency
    ) AS amounts
    GROUP BY 1, 2, 3
)
SELECT counted.*, currency, value, cost_of_goods, value_days
FROM counted LEFT JOIN valued USING (sku, warehouse)
ORDER BY sku, warehouse, currency
"""
_CLASSES: Final = """
SELECT sku, abc, xyz, currency, consumption_minor, consumption_units, variation, classed_at FROM stock_classes
WHERE ($1::text IS NULL OR abc = $1) AND ($2::text IS NULL OR xyz = $2) AND ($3::text IS NULL OR sku = $3)
    AND sku > $4
ORDER BY sku LIMIT $5
"""
_SKUS: Final = "SELECT sku FROM stock_items WHERE sku > $1 ORDER BY sku LIMIT $2"
_CONSUMPTION: Final = """
WITH pairs AS (
    SELECT sku, warehouse FROM stock_levels WHERE sku = ANY($3::text[])
),
ends AS MATERIALIZED (
    SELECT pairs.sku, pairs.warehouse, ended.day AS ended_on, began.day AS began_on,
           ended.sold_units - ended.returned_units
               - coalesce(began.sold_units - began.returned_units, 0) AS units
    FROM pairs
    JOIN LATERAL (
        SELECT * FROM stock_cost_days AS days
        WHERE days.sku = pairs.sku AND days.warehouse = pairs.warehouse AND days.day <= $2
        ORDER BY days.day DESC LIMIT 1
    ) AS ended ON true
    LEFT JOIN LATERAL (
        SELECT * FROM stock_cost_days AS days
        WHERE days.sku = pairs.sku AND days.warehouse = pairs.warehouse AND days.day < $1
        ORDER BY days.day DESC LIMIT 1
    ) AS began ON true
),
amounts AS (
    SELECT ends.sku, ended.currency,
           sum(ended.sold_minor - ended.returned_minor
               - coalesce(began.sold_minor - began.returned_minor, 0)) AS minor
    FROM ends
    JOIN stock_cost_values AS ended
        ON ended.sku = ends.sku AND ended.warehouse = ends.warehouse AND ended.day = ends.ended_on
    LEFT JOIN stock_cost_values AS began
        ON began.sku = ends.sku AND began.warehouse = ends.warehouse AND began.day = ends.began_on
        AND began.currency = ended.currency
    GROUP BY ends.sku, ended.currency
)
SELECT DISTINCT ON (sku) sku, coalesce(currency, '') AS currency, coalesce(minor, 0) AS minor, units
FROM (SELECT sku, sum(units)::bigint AS units FROM ends GROUP BY sku) AS counted LEFT JOIN amounts USING (sku)
ORDER BY sku, minor DESC NULLS LAST, currency
"""
_CLASS_COLUMNS: Final = (
    "sku",
    "abc",
    "xyz",
    "currency",
    "consumption_minor",
    "consumption_units",
    "variation",
    "classed_at",
)


class PostgresReports:
    """The reads, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def figures(
        self, period: Period, filters: Filters, *, by: Grouping, after: Place, limit: int | None
    ) -> list[Figures]:
        """Return figures in the order of SKU and warehouse, those behind `after`."""
        driver = await self._driver()
        rows = await driver.fetch(
            _FIGURES.format(key=_KEYS[by], observed_days_min=int(OBSERVED_DAYS_MIN)),
            period.since,
            period.until,
            filters.sku,
            filters.warehouse,
            filters.has_units,
            filters.idle_since,
            after.sku,
            after.warehouse,
            limit,
        )
        return [
            _figures(list(group), period.days) for _, group in groupby(rows, lambda row: (row["sku"], row["warehouse"]))
        ]

    async def classes(
        self, *, abc: AbcClass | None, xyz: XyzClass | None, sku: str | None, after_sku: str, limit: int
    ) -> list[SkuClass]:
        """Return the classes of SKUs in the order of their codes."""
        driver = await self._driver()
        return [
            SkuClass(**{**dict(row), "abc": AbcClass(row["abc"]), "xyz": XyzClass(row["xyz"])})
            for row in await driver.fetch(_CLASSES, abc, xyz, sku, after_sku, limit)
        ]

    async def _driver(self) -> asyncpg.Connection:
        driver = await self._transaction.driver()
        # A plan for any page would have to be one for the last, and so read all rows before it.
        await driver.execute(
            f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'; SET LOCAL plan_cache_mode = force_custom_plan"
        )
        return driver


class PostgresClassBooks:
    """What classes are made of, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def skus(self, *, after_sku: str, limit: int) -> list[str]:
        """Return SKUs in the order of their codes."""
        driver = await self._transaction.driver()
        return [row["sku"] for row in await driver.fetch(_SKUS, after_sku, limit)]

    async def consumption(self, skus: Collection[str], period: Period) -> Mapping[str, Consumption]:
        """Return what was consumed of SKUs."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_CONSUMPTION, period.since, period.until, list(skus))
        return {row["sku"]: Consumption(row["currency"], row["minor"], row["units"]) for row in rows}

    async def weekly_demand(self, skus: Collection[str], *, until: datetime, weeks: int) -> DemandByPair:
        """Return the demand for SKUs week by week."""
        return await demand_of(self._transaction, skus, until=until, period_days=7, periods=weeks)

    async def save_classes(self, classes: Sequence[SkuClass]) -> None:
        """Replace all classes."""
        driver = await self._transaction.driver()
        await driver.execute("DELETE FROM stock_classes")
        records = [tuple(getattr(one, name) for name in _CLASS_COLUMNS) for one in classes]
        await driver.copy_records_to_table("stock_classes", columns=_CLASS_COLUMNS, records=records)


def _figures(rows: Sequence[asyncpg.Record], days: int) -> Figures:
    first = rows[0]
    return Figures(
        sku=None if first["sku"] == _ALL else first["sku"],
        warehouse=None if first["warehouse"] in {_ALL, IN_TRANSIT} else first["warehouse"],
        in_transit=first["warehouse"] == IN_TRANSIT,
        days=days,
        units=int(first["units"]),
        uncosted_units=first["uncosted_units"],
        received_units=int(first["received_units"]),
        sold_units=int(first["sold_units"]),
        returned_units=int(first["returned_units"]),
        unit_days=first["unit_days"],
        empty_days=int(first["empty_days"]),
        demand_per_day=first["demand_per_day"],
        lost_units=first["lost_units"],
        last_sold_on=first["last_sold_on"],
        last_received_on=first["last_received_on"],
        amounts=[
            Amounts(
                currency=row["currency"],
                value=row["value"],
                cost_of_goods=row["cost_of_goods"],
                value_days=row["value_days"],
            )
            for row in rows
            if row["currency"] is not None
        ],
    )
