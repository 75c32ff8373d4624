"""Promises, risks and delays: of one order, of all that need attention, and what causes them."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.orders.api.insight_desk import Desk, PeriodOfQuery
from services.orders.domain.delays import BEFORE_CONFIRMATION, CAUSES, PARTS, STAGES, Stage, WorkCalendar, attribute
from services.orders.domain.order import OrderNotFound, OrderStatus
from services.orders.handlers.insight_queries import Row

router = APIRouter(prefix="/v1", tags=["delays"])

_GROUPS_MAX: Final = 1_000
_BEGINNING: Final = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
_POINTS: Final = ("confirmation", "dispatch")

GroupBy = Literal["warehouse", "carrier", "country", "channel", "category", "week", "day"]
DelayStatus = Literal["unconfirmed", "open", "at-risk", "late", "delivered", "delivered-late", "ended"]


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageDelayResponse(_Response):
    """How long a stage took, what is typical of it, and its share of the lateness."""

    stage: Stage
    seconds: float | None = Field(default=None, description="Absent while the stage is not over.")
    typical_seconds: float | None = Field(default=None, description="The median when the promise was made.")
    excess_seconds: float | None = None
    share_seconds: float | None = Field(default=None, description="What of the lateness this stage answers for.")


class DelayResponse(_Response):
    """What an order was promised and how it stands."""

    order_id: UUID
    status: OrderStatus
    delay_status: DelayStatus
    warehouse: str | None = None
    carrier: str | None = None
    promised_by: datetime | None = None
    ship_by: datetime | None = None
    expected_at: datetime | None = Field(default=None, description="When goods that it waits for should be there.")
    probability_late: float | None = None
    probability_late_at_confirmation: float | None = None
    dispatched_at: datetime | None = None
    delivered_at: datetime | None = None
    lateness_seconds: float | None = Field(default=None, description="By how much it is late, so far if it is open.")
    promise_share_seconds: float | None = Field(
        default=None, description="What no stage answers for: the promise left less room than is typical."
    )
    stages: list[StageDelayResponse]


class QueuedDelayResponse(_Response):
    """An open order that is late, or probably will be."""

    order_id: UUID
    status: OrderStatus
    delay_status: Literal["late", "at-risk"]
    ship_by: datetime
    promised_by: datetime
    probability_late: float
    is_dispatched: bool
    warehouse: str | None = None
    carrier: str | None = None
    channel: str
    country: str


class DelayGroupResponse(_Response):
    """Deliveries of one warehouse, carrier, country, channel, category, week or day, and what made them late."""

    value: str
    delivered: int
    late: int
    late_ratio: float
    lateness_seconds: float
    shares_seconds: dict[str, float] = Field(description="By stage; they add up to the lateness.")


class DelayReportResponse(_Response):
    """What caused lateness, the most of it first."""

    by: GroupBy
    items: list[DelayGroupResponse]


class ReliabilityBinResponse(_Response):
    """Orders with a probability of being late within a tenth, and what became of them."""

    lower: float
    upper: float
    orders: int
    predicted_ratio: float
    observed_ratio: float


class CalibrationResponse(_Response):
    """
    How good the probabilities were, of orders whose promise is due.

    The Brier score is their mean squared error (0 is perfect); `reference_score` is that of always saying the share
    that was late.
    """

    point: Literal["confirmation", "dispatch"]
    orders: int
    late: int
    brier_score: float | None = None
    reference_score: float | None = None
    bins: list[ReliabilityBinResponse]


class CalibrationReportResponse(_Response):
    """The probabilities made at confirmation, and those made at dispatch."""

    items: list[CalibrationResponse]


@router.get("/orders/{order_id}/delay", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def get_delay(order_id: UUID, desk: Desk) -> DelayResponse:
    """Show what an order was promised, how likely it is late, and which stages took long. It follows by seconds."""
    row = await desk.read(lambda reads: reads.journey(order_id))
    if row is None:
        raise OrderNotFound(order_id)
    return _delay(row, now=desk.clock.now() + row["shift"], calendar=desk.calendar)


@router.get("/delays/queue", dependencies=[requires("reports:read")], response_model_exclude_none=True)
async def list_delays(
    desk: Desk,
    warehouse: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[QueuedDelayResponse]:
    """List open orders that are late or at risk, by the time by which they have to leave, the most urgent first."""
    after = Cursor.decode(cursor, tuple[datetime, UUID]) if cursor else _BEGINNING
    if after[0].tzinfo is None:
        after = (after[0].replace(tzinfo=UTC), after[1])
    now = desk.clock.now()
    rows = await desk.read(lambda reads: reads.queue(now=now, after=after, warehouse=warehouse, limit=limit + 1))
    return page_of(rows, limit=limit, key=lambda row: (row["ship_by"], row["order_id"]), item=_queued)


@router.get("/reports/delays", dependencies=[requires("reports:read")], response_model=DelayReportResponse)
async def report_delays(
    request: Request,
    desk: Desk,
    period: PeriodOfQuery,
    by: GroupBy = "warehouse",
    export: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
) -> Response | DelayReportResponse:
    """Sum up what made deliveries late, the most lateness first; also as CSV."""
    rows = await desk.read(
        lambda reads: reads.late_report(first=period.since, last=period.until, by=by, limit=_GROUPS_MAX)
    )
    groups = [_group(row) for row in rows]
    if wants_csv(request):
        columns = [by, "delivered", "late", "late_ratio", "lateness_seconds", *(f"{cause}_seconds" for cause in CAUSES)]
        cells: Sequence[Sequence[Cell]] = [
            [
                group.value,
                group.delivered,
                group.late,
                group.late_ratio,
                group.lateness_seconds,
                *(group.shares_seconds[cause] for cause in CAUSES),
            ]
            for group in groups
        ]
        return await csv_response(columns, _one_page(cells), filename=f"delays-by-{by}.csv")
    return DelayReportResponse(by=by, items=groups)


@router.get("/reports/calibration", dependencies=[requires("reports:read")], response_model_exclude_none=True)
async def report_calibration(desk: Desk, period: PeriodOfQuery) -> CalibrationReportResponse:
    """Compare the probabilities of being late with what happened, by tenths."""
    rows = await desk.read(lambda reads: reads.calibration(first=period.since, last=period.until))
    return CalibrationReportResponse(
        items=[_calibration(point, [row for row in rows if row["point"] == point]) for point in _POINTS]
    )


async def _one_page(rows: Sequence[Sequence[Cell]]) -> AsyncIterator[Sequence[Sequence[Cell]]]:
    yield rows


def _delay(row: Row, *, now: datetime, calendar: WorkCalendar) -> DelayResponse:
    spent = dict(zip(STAGES, row["stage_seconds"] or [None] * len(STAGES), strict=True))
    typical = dict(zip(STAGES, row["typical_seconds"] or [None] * len(STAGES), strict=True))
    is_open = row["rescore_at"] is not None
    lateness: float | None = row["lateness_seconds"]
    shares: dict[str, float] = {}
    if row["late_shares"] is not None:
        shares = dict(zip(CAUSES, row["late_shares"], strict=True))
    elif is_open and row["promised_by"] < now:
        lateness = (now - row["promised_by"]).total_seconds()
        running = dict(spent)
        if row["dispatched_at"] is not None:
            running[Stage.CARRIER] = max(0.0, (now - row["dispatched_at"]).total_seconds())
        else:
            before = timedelta(seconds=sum(spent[stage] or 0.0 for stage in BEFORE_CONFIRMATION))
            start = calendar.handling_start(row["placed_at"] + before)
            running[Stage.PICK] = max(0.0, (now - start).total_seconds())
        shares = attribute(
            lateness,
            seconds={stage: seconds for stage, seconds in running.items() if seconds is not None},
            typical_seconds={stage: seconds for stage, seconds in typical.items() if seconds is not None},
            allowance_seconds=row["allowance_seconds"],
        )
    return DelayResponse(
        order_id=row["order_id"],
        status=OrderStatus(row["status"]),
        delay_status=_delay_status(row, lateness, is_open=is_open, now=now),
        warehouse=row["warehouse"] or None,
        carrier=row["carrier"] or None,
        promised_by=row["promised_by"],
        ship_by=row["ship_by"],
        expected_at=row["expected_at"],
        probability_late=row["probability_late"],
        probability_late_at_confirmation=row["probability_at_confirmation"],
        dispatched_at=row["dispatched_at"],
        delivered_at=row["delivered_at"],
        lateness_seconds=lateness,
        promise_share_seconds=shares.get("promise"),
        stages=[_stage(stage, spent[stage], typical[stage], shares.get(stage.value)) for stage in PARTS],
    )


def _delay_status(row: Row, lateness: float | None, *, is_open: bool, now: datetime) -> DelayStatus:
    if row["promised_by"] is None:
        if row["expected_at"] is not None and row["expected_at"] + row["shift"] < now:
            # The goods that it was told to wait for have not come.
            return "late"
        return "ended" if row["status"] in {"refused", "cancelled"} else "unconfirmed"
    if row["delivered_at"] is not None:
        return "delivered-late" if lateness else "delivered"
    if not is_open:
        return "ended"
    if lateness:
        return "late"
    return "at-risk" if row["is_at_risk"] else "open"


def _stage(stage: Stage, seconds: float | None, typical: float | None, share: float | None) -> StageDelayResponse:
    excess = max(0.0, seconds - typical) if seconds is not None and typical is not None else None
    return StageDelayResponse(
        stage=stage, seconds=seconds, typical_seconds=typical, excess_seconds=excess, share_seconds=share or None
    )


def _queued(row: Row) -> QueuedDelayResponse:
    return QueuedDelayResponse(
        order_id=row["order_id"],
        status=OrderStatus(row["status"]),
        delay_status="late" if row["is_late"] else "at-risk",
        ship_by=row["ship_by"],
        promised_by=row["promised_by"],
        probability_late=row["probability_late"],
        is_dispatched=row["dispatched_at"] is not None,
        warehouse=row["warehouse"] or None,
        carrier=row["carrier"] or None,
        channel=row["channel"],
        country=row["country"],
    )


def _group(row: Row) -> DelayGroupResponse:
    return DelayGroupResponse(
        value=row["value"],
        delivered=row["delivered"],
        late=row["late"],
        late_ratio=row["late"] / row["delivered"],
        lateness_seconds=row["lateness_seconds"],
        shares_seconds={cause: row[cause] for cause in CAUSES},
    )


def _calibration(point: Literal["confirmation", "dispatch"], rows: Sequence[Row]) -> CalibrationResponse:
    orders = sum(row["orders"] for row in rows)
    late = sum(row["late"] for row in rows)
    return CalibrationResponse(
        point=point,
        orders=orders,
        late=late,
        brier_score=sum(row["squared_error_sum"] for row in rows) / orders if orders else None,
        reference_score=late / orders * (1 - late / orders) if orders else None,
        bins=[
            ReliabilityBinResponse(
                lower=row["bin"] / 10,
                upper=(row["bin"] + 1) / 10,
                orders=row["orders"],
                predicted_ratio=row["probability_sum"] / row["orders"],
                observed_ratio=row["late"] / row["orders"],
            )
            for row in rows
        ],
    )
