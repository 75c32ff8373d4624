"""Figures of the order process, from sums by day, never from the orders themselves; each currency by itself."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.query import IN_DIGITS
from services.orders.api.insight_desk import Desk, PeriodOfQuery
from services.orders.domain.delays import Stage
from services.orders.domain.durations import counted_quantile
from services.orders.handlers.insight_queries import Row

router = APIRouter(prefix="/v1/reports", tags=["reports"], dependencies=[requires("reports:read")])

_ROWS_MAX: Final = 5_000

OrdersBy = Literal["all", "day", "week", "month", "channel", "country"]
StagesBy = Literal["all", "day", "week", "month", "warehouse", "carrier", "country", "channel"]
Outcome = Literal["cancelled", "refused", "returned"]


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class FunnelResponse(_Response):
    """How far orders came: each count is of orders that reached the step, whatever became of them."""

    value: str = Field(description="The day, week, channel …; empty for all together.")
    orders: int
    held: int
    backordered: int
    confirmed: int
    refused: int
    cancelled: int
    shipped: int
    delivered: int
    settled: int
    returned: int
    confirmed_ratio: float
    delivered_ratio: float
    cancelled_ratio: float
    returned_ratio: float = Field(description="Of those that were delivered.")


class FunnelReportResponse(_Response):
    """Orders by how far they came."""

    by: OrdersBy
    items: list[FunnelResponse]


class RevenueResponse(_Response):
    """Money of orders in one currency, in minor units."""

    value: str
    currency: str
    orders: int
    ordered_minor: int = Field(description="The totals of all orders placed.")
    captured_minor: int
    refunded_minor: int
    revenue_minor: int = Field(description="Captured less refunded.")
    average_order_minor: int = Field(description="Of an order placed, rounded.")


class RevenueReportResponse(_Response):
    """Money by currency."""

    by: OrdersBy
    items: list[RevenueResponse]


class ReasonResponse(_Response):
    """Orders that ended for one reason, in one currency; for returns the amounts are refunds."""

    reason: str
    currency: str
    orders: int
    amount_minor: int


class ReasonReportResponse(_Response):
    """Why orders were cancelled, refused or returned, the most frequent reason first."""

    outcome: Outcome
    items: list[ReasonResponse]


class CycleTimeResponse(_Response):
    """How long one stage took; quantiles are exact to the width of a bucket, 12 %."""

    value: str
    stage: Stage
    orders: int
    mean_seconds: float
    p50_seconds: float
    p90_seconds: float
    p95_seconds: float


class CycleTimeReportResponse(_Response):
    """How long each stage took, in the order of the stages."""

    by: StagesBy
    items: list[CycleTimeResponse]


class CohortResponse(_Response):
    """What customers who first ordered in `cohort` did in `month`, `age_months` later."""

    cohort: date
    month: date
    age_months: int
    currency: str
    customers: int
    orders: int
    revenue_minor: int
    retained_ratio: float | None = Field(default=None, description="Of the customers in the cohort's first month.")


class CohortReportResponse(_Response):
    """Customers by the month of their first order."""

    items: list[CohortResponse]


@router.get("/funnel", response_model=FunnelReportResponse)
async def report_funnel(
    request: Request,
    desk: Desk,
    period: PeriodOfQuery,
    by: OrdersBy = "all",
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | FunnelReportResponse:
    """Count how far orders came; also as CSV."""
    rows = await desk.read(lambda reads: reads.funnel(first=period.since, last=period.until, by=by, limit=_ROWS_MAX))
    items = [_funnel(row) for row in rows]
    if wants_csv(request):
        return await _table(FunnelResponse, items, by=by, filename="funnel.csv")
    return FunnelReportResponse(by=by, items=items)


@router.get("/revenue", response_model=RevenueReportResponse)
async def report_revenue(
    request: Request,
    desk: Desk,
    period: PeriodOfQuery,
    by: OrdersBy = "all",
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | RevenueReportResponse:
    """Sum up what was ordered, captured and refunded, each currency by itself; also as CSV."""
    rows = await desk.read(lambda reads: reads.revenue(first=period.since, last=period.until, by=by, limit=_ROWS_MAX))
    items = [_revenue(row) for row in rows]
    if wants_csv(request):
        return await _table(RevenueResponse, items, by=by, filename="revenue.csv")
    return RevenueReportResponse(by=by, items=items)


@router.get("/reasons", response_model=ReasonReportResponse)
async def report_reasons(
    request: Request,
    *,
    desk: Desk,
    period: PeriodOfQuery,
    outcome: Outcome = "cancelled",
    limit: Annotated[int, Query(ge=1, le=_ROWS_MAX), IN_DIGITS] = 100,
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | ReasonReportResponse:
    """Count why orders were cancelled, refused or returned; also as CSV."""
    rows = await desk.read(
        lambda reads: reads.reasons(first=period.since, last=period.until, outcome=outcome, limit=limit)
    )
    items = [ReasonResponse(**{**row, "amount_minor": int(row["amount_minor"])}) for row in rows]
    if wants_csv(request):
        return await _table(ReasonResponse, items, by=None, filename=f"{outcome}.csv")
    return ReasonReportResponse(outcome=outcome, items=items)


@router.get("/cycle-times", response_model=CycleTimeReportResponse)
async def report_cycle_times(
    request: Request,
    desk: Desk,
    period: PeriodOfQuery,
    by: StagesBy = "all",
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | CycleTimeReportResponse:
    """Show how long each stage took; also as CSV."""
    rows = await desk.read(
        lambda reads: reads.cycle_times(first=period.since, last=period.until, by=by, limit=_ROWS_MAX)
    )
    items = [_cycle_time(row) for row in rows]
    if wants_csv(request):
        return await _table(CycleTimeResponse, items, by=by, filename="cycle-times.csv")
    return CycleTimeReportResponse(by=by, items=items)


@router.get("/cohorts", response_model=CohortReportResponse, response_model_exclude_none=True)
async def report_cohorts(
    request: Request,
    desk: Desk,
    period: PeriodOfQuery,
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | CohortReportResponse:
    """Follow customers by the month of their first order, for cohorts that began in the period; also as CSV."""
    rows = await desk.read(lambda reads: reads.cohorts(first=period.since, last=period.until))
    items = _cohorts(rows)
    if wants_csv(request):
        return await _table(CohortResponse, items, by=None, filename="cohorts.csv")
    return CohortReportResponse(items=items)


async def _table(model: type[BaseModel], items: Sequence[BaseModel], *, by: str | None, filename: str) -> Response:
    names = list(model.model_fields)
    cells: list[list[Cell]] = [[getattr(item, name) for name in names] for item in items]

    async def pages() -> AsyncIterator[list[list[Cell]]]:
        yield cells

    return await csv_response([by if by and name == "value" else name for name in names], pages(), filename=filename)


def _funnel(row: Row) -> FunnelResponse:
    orders, delivered = row["orders"], row["delivered"]
    return FunnelResponse(
        **row,
        confirmed_ratio=row["confirmed"] / orders,
        delivered_ratio=delivered / orders,
        cancelled_ratio=row["cancelled"] / orders,
        returned_ratio=row["returned"] / delivered if delivered else 0.0,
    )


def _revenue(row: Row) -> RevenueResponse:
    ordered: Decimal = row["ordered_minor"]
    return RevenueResponse(
        value=row["value"],
        currency=row["currency"],
        orders=row["orders"],
        ordered_minor=int(ordered),
        captured_minor=int(row["captured_minor"]),
        refunded_minor=int(row["refunded_minor"]),
        revenue_minor=int(row["captured_minor"] - row["refunded_minor"]),
        average_order_minor=round(ordered / row["orders"]),
    )


def _cycle_time(row: Row) -> CycleTimeResponse:
    took = dict(zip(row["buckets"], row["counts"], strict=True))
    return CycleTimeResponse(
        value=row["value"],
        stage=Stage(row["stage"]),
        orders=row["orders"],
        mean_seconds=row["seconds"] / row["orders"],
        p50_seconds=counted_quantile(took, 0.5),
        p90_seconds=counted_quantile(took, 0.9),
        p95_seconds=counted_quantile(took, 0.95),
    )


def _cohorts(rows: Sequence[Row]) -> list[CohortResponse]:
    first = {(row["cohort"], row["currency"]): row["customers"] for row in rows if row["month"] == row["cohort"]}
    return [
        CohortResponse(
            cohort=row["cohort"],
            month=row["month"],
            age_months=(row["month"].year - row["cohort"].year) * 12 + row["month"].month - row["cohort"].month,
            currency=row["currency"],
            customers=row["customers"],
            orders=row["orders"],
            revenue_minor=int(row["revenue_minor"]),
            retained_ratio=row["customers"] / began if (began := first.get((row["cohort"], row["currency"]))) else None,
        )
        for row in rows
    ]
