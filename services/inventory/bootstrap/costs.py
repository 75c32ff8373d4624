"""The jobs about what stock costs: they keep it up to date, and measure it."""

from datetime import timedelta
from typing import Final

from libs.common.pacing import WorkPace
from libs.common.runtime import Component, PeriodicJob
from services.inventory import metrics
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.domain.stock_figures import holding_cost, turnover, whole_minor
from services.inventory.handlers.costs import keep_costs
from services.inventory.handlers.reports import CLASS_WEEKS, Filters, Grouping, Period, Place, class_skus
from services.inventory.settings import InventorySettings
from services.inventory.storage.costs import PostgresCosts
from services.inventory.storage.ledger_feed import SettledLedger
from services.inventory.storage.reports import PostgresClassBooks, PostgresReports

# Whatever follows the ledger leaves the time to those who write it.
FOLLOWERS_PACE: Final = WorkPace(share_max=0.1)
# The figures of stock that are metrics: how often they are measured, and over which periods.
_FIGURES_SECONDS: Final = 60.0
_YEAR: Final = 365
_MONTH: Final = 28
_IN_TRANSIT: Final = "in_transit"


def build_cost_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what keeps costs up to date, and measures them."""
    cost_ledger = SettledLedger()

    async def keep_costs_of_changes() -> int:
        async with adapters.database.transaction() as transaction:
            await keep_costs(PostgresCosts(transaction, cost_ledger))
        # Never at once again: costs may be late by seconds, orders may not.
        return 0

    async def class_all_skus() -> int:
        now = adapters.clock.now()
        until = now.date()
        period = Period(since=until - timedelta(weeks=CLASS_WEEKS) + timedelta(days=1), until=until)
        async with adapters.database.transaction() as transaction:
            metrics.show_classes(
                [(one.abc, one.xyz) for one in await class_skus(PostgresClassBooks(transaction), period, now=now)]
            )
        return 0

    async def measure_stock() -> int:
        await show_stock_figures(settings, adapters)
        return 0

    return [
        PeriodicJob("costs", keep_costs_of_changes, every_seconds=settings.cost_interval_seconds, pace=FOLLOWERS_PACE),
        PeriodicJob("classes", class_all_skus, every_seconds=settings.class_interval_seconds),
        PeriodicJob("stock-figures", measure_stock, every_seconds=_FIGURES_SECONDS),
    ]


async def show_stock_figures(settings: InventorySettings, adapters: Adapters) -> None:
    """Measure what stock is worth, how it turns and how long it lasts, by warehouse."""
    until = adapters.clock.now().date()
    year, month, today = (Period(since=until - timedelta(days=days - 1), until=until) for days in (_YEAR, _MONTH, 1))
    idle = Filters(has_units=True, idle_since=until - timedelta(days=settings.dead_stock_days - 1))
    async with adapters.database.transaction() as transaction:
        reports = PostgresReports(transaction)
        backlog_skus = await PostgresCosts(transaction, SettledLedger()).backlog_skus()
        in_year, in_month, dead = [
            await reports.figures(period, filters, by=Grouping.WAREHOUSE, after=Place(), limit=None)
            for period, filters in ((year, Filters()), (month, Filters()), (today, idle))
        ]
    metrics.inventory_cost_backlog_skus.set(backlog_skus)
    # Of what is gone there shall be nothing rather than the last figure.
    for gauge in (metrics.inventory_stock_turnover_ratio, metrics.inventory_stock_cover_days):
        gauge.clear()
    metrics.inventory_dead_stock_value_minor.clear()
    for one in in_year:
        warehouse = one.warehouse or _IN_TRANSIT
        metrics.inventory_stock_uncosted_units.labels(warehouse).set(float(one.uncosted_units))
        for amounts in one.amounts:
            labels = (warehouse, amounts.currency)
            cost = holding_cost(amounts, one.days, yearly_rate=settings.holding_cost_yearly_rate)
            metrics.inventory_stock_value_minor.labels(*labels).set(whole_minor(amounts.value))
            metrics.inventory_stock_holding_cost_minor.labels(*labels).set(whole_minor(cost))
            if (ratio := turnover(amounts, one.days)) is not None:
                metrics.inventory_stock_turnover_ratio.labels(*labels).set(float(ratio))
    for one in in_month:
        if one.warehouse is not None:
            metrics.inventory_lost_sales_units.labels(one.warehouse).set(float(one.lost_units))
            if (days := one.days_of_cover) is not None:
                metrics.inventory_stock_cover_days.labels(one.warehouse).set(float(days))
    for one in dead:
        for amounts in one.amounts:
            labels = (one.warehouse or _IN_TRANSIT, amounts.currency)
            metrics.inventory_dead_stock_value_minor.labels(*labels).set(whole_minor(amounts.value))
