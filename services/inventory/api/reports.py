"""Reports on stock, its value and its movement: JSON by pages, or the whole table as CSV."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.errors import Invalid
from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from libs.common.http.period import PERIOD_DAYS_MAX, Since, Until, period_of
from libs.common.http.query import IN_DIGITS, IsoDate
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.classes import AbcClass, XyzClass
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SKU_CHARACTERS_MAX
from services.inventory.domain.stock_figures import (
    DAYS_PER_YEAR,
    Amounts,
    Figures,
    average_value,
    days_of_stock,
    holding_cost,
    ratio,
    rounded,
    turnover,
    unit_cost,
    whole_minor,
)
from services.inventory.handlers.reports import Filters, Grouping, Period, Place, SkuClass

_EXPORT_ROWS: Final = 1_000
_IDLE_DAYS_DEFAULT: Final = 90

Sku = Annotated[str | None, Query(min_length=1, max_length=SKU_CHARACTERS_MAX)]
WarehouseCode = Annotated[str | None, Query(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]
By = Annotated[Grouping, Query(description="What a row stands for: a SKU in a warehouse (level), a warehouse, or all.")]
AsOf = Annotated[IsoDate | None, Query(description="At the end of which day (UTC); the default is today.")]


class _Row(BaseModel):
    sku: str | None = Field(description="null where the row stands for all SKUs.")
    warehouse: str | None = Field(description="null where it stands for all, or for none: see is_in_transit.")
    is_in_transit: bool = Field(description="On its way between warehouses.")
    units: int


class ValueAmount(BaseModel):
    """The value in one currency."""

    currency: str
    value_minor: int
    unit_cost_minor: Decimal | None = Field(description="The weighted average; null if no unit has a cost.")


class StockValueRow(_Row):
    """What stock is worth at its weighted average cost."""

    uncosted_units: int = Field(
        description="Of the units, those of unknown cost; they are worth nothing here. To the nearest whole unit."
    )
    amounts: list[ValueAmount]


class TurnoverAmount(BaseModel):
    """How stock turned, in one currency."""

    currency: str
    cost_of_goods_minor: int
    average_value_minor: int
    turnover: Decimal | None = Field(description="Cost of goods sold over average value; null without stock.")
    turnover_yearly: Decimal | None
    days_of_stock: Decimal | None = Field(description="Null without sales.")
    holding_cost_minor: int


class TurnoverRow(_Row):
    """How stock turned in a period."""

    days: int
    sold_units: int
    returned_units: int
    received_units: int
    average_units: Decimal
    amounts: list[TurnoverAmount]


class CoverRow(_Row):
    """How long stock lasts, and what being out of it may have cost."""

    days: int
    sold_units: int
    demand_per_day: Decimal
    days_of_cover: Decimal | None = Field(description="Null without demand.")
    empty_days: int = Field(description="Days that ended with none, added up over the SKUs and warehouses of the row.")
    lost_units: Decimal = Field(description="Estimate: what those days would have sold at the rate of the others.")


class DeadStockRow(_Row):
    """Stock that has neither sold nor come in for long."""

    idle_days: int
    last_sold_on: date | None
    last_received_on: date | None
    amounts: list[ValueAmount]


class SkuClassRow(BaseModel):
    """How much a SKU matters, and how steady its demand is."""

    sku: str
    abc_class: Literal["A", "B", "C"]
    xyz_class: Literal["X", "Y", "Z"]
    currency: str = Field(description="In which it was compared; empty if nothing it sold had a cost.")
    consumption_minor: int
    consumption_units: int
    variation: Decimal | None = Field(description="Coefficient of variation of weekly demand; null without demand.")
    classed_at: datetime


class _Table(NamedTuple):
    """Which part of a report is wanted, and as what."""

    request: Request
    sku: str | None
    warehouse: str | None
    limit: int
    cursor: str | None


async def _table(
    request: Request,
    *,
    sku: Sku = None,
    warehouse: WarehouseCode = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
    _format: ExportFormat = None,
) -> _Table:
    return _Table(request, sku, warehouse, limit, cursor)


Table = Annotated[_Table, Depends(_table)]


def router_of(use_cases: UseCases) -> APIRouter:  # noqa: C901 - a report each
    """Return the routes of reports."""
    router = APIRouter(prefix="/v1/reports", dependencies=[requires("finance:read")])

    def today() -> date:
        return use_cases.clock.now().date()

    async def figures_of(
        period: Period, filters: Filters, *, by: Grouping, after: Place, limit: int | None
    ) -> list[Figures]:
        async def work(transaction: Transaction) -> list[Figures]:
            return await use_cases.reports_of(transaction).figures(period, filters, by=by, after=after, limit=limit)

        return await use_cases.database.run(work)

    async def answer(
        table: _Table, row_of: Callable[[Figures], Any], *, period: Period, filters: Filters, by: Grouping
    ) -> Any:
        # Sums are few and take all rows anyway; only rows of single SKUs are paged.
        is_paged = by is Grouping.LEVEL

        async def read(after: Place, count: int) -> list[Figures]:
            return await figures_of(period, filters, by=by, after=after, limit=count if is_paged else None)

        if wants_csv(table.request):
            return await _export(table.request, lambda after: read(after, _EXPORT_ROWS), row_of, is_paged=is_paged)
        place = Place(*Cursor.decode(table.cursor, tuple[str, str])) if table.cursor else Place()
        found = await read(place, table.limit + 1)
        if not is_paged:
            return Page(items=[row_of(one) for one in found])
        return page_of(found, limit=table.limit, key=lambda one: tuple(_place_of(one)), item=row_of)

    @router.get("/stock-value", response_model=Page[StockValueRow])
    async def report_stock_value(table: Table, as_of: AsOf = None, by: By = Grouping.LEVEL) -> Any:
        """Report what stock is worth at its weighted average cost, at the end of a day."""
        period = _day(as_of, today())
        filters = Filters(sku=table.sku, warehouse=table.warehouse, has_units=True)
        return await answer(table, _stock_value, period=period, filters=filters, by=by)

    @router.get("/turnover", response_model=Page[TurnoverRow])
    async def report_turnover(
        table: Table, since: Since = None, until: Until = None, by: By = Grouping.WAREHOUSE
    ) -> Any:
        """Report how often stock turned in a period, and what it cost to hold it."""
        return await answer(
            table,
            lambda figures: _turnover(figures, use_cases.holding_cost_yearly_rate),
            period=_period(since, until, today()),
            filters=Filters(sku=table.sku, warehouse=table.warehouse),
            by=by,
        )

    @router.get("/cover", response_model=Page[CoverRow])
    async def report_cover(table: Table, since: Since = None, until: Until = None, by: By = Grouping.LEVEL) -> Any:
        """Report how long stock lasts at the demand of a period, and the days on which there was none."""
        return await answer(
            table,
            _cover,
            period=_period(since, until, today()),
            filters=Filters(sku=table.sku, warehouse=table.warehouse),
            by=by,
        )

    @router.get("/dead-stock", response_model=Page[DeadStockRow])
    async def report_dead_stock(
        table: Table,
        idle_days: Annotated[int, Query(ge=1, le=PERIOD_DAYS_MAX), IN_DIGITS] = _IDLE_DAYS_DEFAULT,
        as_of: AsOf = None,
        by: By = Grouping.LEVEL,
    ) -> Any:
        """Report stock of which nothing was sold and nothing came in for so many days."""
        period = _day(as_of, today())
        idle_since = period.until - timedelta(days=idle_days - 1)
        return await answer(
            table,
            lambda figures: _dead_stock(figures, period.until),
            period=period,
            filters=Filters(sku=table.sku, warehouse=table.warehouse, has_units=True, idle_since=idle_since),
            by=by,
        )

    @router.get("/classes", response_model=Page[SkuClassRow])
    async def report_classes(
        request: Request,
        *,
        abc_class: AbcClass | None = None,
        xyz_class: XyzClass | None = None,
        sku: Sku = None,
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
        _format: ExportFormat = None,
    ) -> Any:
        """Report the ABC and XYZ classes of SKUs, by what the last 52 weeks consumed of them."""

        async def read(after_sku: str, count: int) -> list[SkuClass]:
            async def work(transaction: Transaction) -> list[SkuClass]:
                return await use_cases.reports_of(transaction).classes(
                    abc=abc_class, xyz=xyz_class, sku=sku, after_sku=after_sku, limit=count
                )

            return await use_cases.database.run(work)

        if wants_csv(request):
            return await _export_classes(lambda after: read(after, _EXPORT_ROWS))
        (after,) = Cursor.decode(cursor, tuple[str]) if cursor else ("",)
        return page_of(await read(after, limit + 1), limit=limit, key=lambda one: (one.sku,), item=_sku_class)

    return router


def _period(since: date | None, until: date | None, today: date) -> Period:
    days = period_of(since, until, today=today)
    _check_has_come(days.until, today, field="until")
    return Period(since=days.since, until=days.until)


def _day(as_of: date | None, today: date) -> Period:
    day = as_of or today
    _check_has_come(day, today, field="as_of")
    if day.toordinal() <= PERIOD_DAYS_MAX:
        raise Invalid("The day is too early.", field="as_of")
    return Period(since=day, until=day)


def _check_has_come(day: date, today: date, *, field: str) -> None:
    # Somewhere it is tomorrow already.
    if day > today + timedelta(days=1):
        raise Invalid("The day has not come yet.", field=field)


def _place_of(figures: Figures) -> Place:
    return Place(figures.sku or "", figures.warehouse or "")


async def _export(
    request: Request,
    read: Callable[[Place], Awaitable[list[Figures]]],
    row_of: Callable[[Figures], BaseModel],
    *,
    is_paged: bool,
) -> Response:
    name = request.url.path.rpartition("/")[2]
    columns = _COLUMNS[name]

    async def pages() -> AsyncIterator[Sequence[Sequence[Cell]]]:
        after = Place()
        while True:
            found = await read(after)
            yield [cells for one in found for cells in _cells(row_of(one), columns)]
            if not is_paged or len(found) < _EXPORT_ROWS:
                return
            after = _place_of(found[-1])

    return await csv_response(columns, pages(), filename=f"{name}.csv")


async def _export_classes(read: Callable[[str], Awaitable[list[SkuClass]]]) -> Response:
    columns = list(SkuClassRow.model_fields)

    async def pages() -> AsyncIterator[Sequence[Sequence[Cell]]]:
        after = ""
        while True:
            found = await read(after)
            yield [[getattr(_sku_class(one), name) for name in columns] for one in found]
            if len(found) < _EXPORT_ROWS:
                return
            after = found[-1].sku

    return await csv_response(columns, pages(), filename="classes.csv")


def _columns_of(row: type[BaseModel], amount: type[BaseModel] | None) -> list[str]:
    own = [name for name in row.model_fields if name != "amounts"]
    return own + (list(amount.model_fields) if amount else [])


_COLUMNS: Final = {
    "stock-value": _columns_of(StockValueRow, ValueAmount),
    "turnover": _columns_of(TurnoverRow, TurnoverAmount),
    "cover": _columns_of(CoverRow, None),
    "dead-stock": _columns_of(DeadStockRow, ValueAmount),
}


def _cells(row: BaseModel, columns: Sequence[str]) -> Iterator[list[Cell]]:
    """Yield a line for each currency, or one without any."""
    content = dict(row)
    for amount in content.pop("amounts", None) or [None]:
        line = content | (dict(amount) if amount is not None else {})
        yield [line.get(name) for name in columns]


def _row(figures: Figures) -> dict[str, Any]:
    return {
        "sku": figures.sku,
        "warehouse": figures.warehouse,
        "is_in_transit": figures.in_transit,
        "units": figures.units,
    }


def _value_amount(amounts: Amounts, figures: Figures) -> ValueAmount:
    return ValueAmount(
        currency=amounts.currency,
        value_minor=whole_minor(amounts.value),
        unit_cost_minor=unit_cost(amounts, figures),
    )


def _stock_value(figures: Figures) -> StockValueRow:
    return StockValueRow(
        **_row(figures),
        uncosted_units=round(figures.uncosted_units),
        amounts=[_value_amount(one, figures) for one in figures.amounts],
    )


def _turnover(figures: Figures, yearly_rate: Decimal) -> TurnoverRow:
    days = figures.days
    return TurnoverRow(
        **_row(figures),
        days=days,
        sold_units=figures.sold_units,
        returned_units=figures.returned_units,
        received_units=figures.received_units,
        average_units=figures.average_units,
        amounts=[
            TurnoverAmount(
                currency=one.currency,
                cost_of_goods_minor=whole_minor(one.cost_of_goods),
                average_value_minor=whole_minor(average_value(one, days)),
                turnover=turnover(one, days),
                turnover_yearly=ratio(one.cost_of_goods * DAYS_PER_YEAR, average_value(one, days) * days),
                days_of_stock=days_of_stock(one),
                holding_cost_minor=whole_minor(holding_cost(one, days, yearly_rate=yearly_rate)),
            )
            for one in figures.amounts
        ],
    )


def _cover(figures: Figures) -> CoverRow:
    return CoverRow(
        **_row(figures),
        days=figures.days,
        sold_units=figures.sold_units,
        demand_per_day=rounded(figures.demand_per_day),
        days_of_cover=figures.days_of_cover,
        empty_days=figures.empty_days,
        lost_units=rounded(figures.lost_units),
    )


def _dead_stock(figures: Figures, until: date) -> DeadStockRow:
    latest = max((day for day in (figures.last_sold_on, figures.last_received_on) if day), default=None)
    return DeadStockRow(
        **_row(figures),
        idle_days=(until - latest).days if latest else figures.days,
        last_sold_on=figures.last_sold_on,
        last_received_on=figures.last_received_on,
        amounts=[_value_amount(one, figures) for one in figures.amounts],
    )


def _sku_class(one: SkuClass) -> SkuClassRow:
    return SkuClassRow(
        sku=one.sku,
        abc_class=one.abc.value,
        xyz_class=one.xyz.value,
        currency=one.currency,
        consumption_minor=whole_minor(one.consumption_minor),
        consumption_units=one.consumption_units,
        variation=None if one.variation is None else rounded(Decimal(one.variation)),
        classed_at=one.classed_at,
    )
