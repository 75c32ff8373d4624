"""Orders' money: the ledger, settlement, and what people decide about it."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.common.errors import Invalid
from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.fields import Timestamp
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from services.orders.api.backend import Backend, BackendOfApp
from services.orders.api.money_schemas import (
    ActionRequest,
    ActionResponse,
    ActionsResponse,
    LedgerResponse,
    SettlementLineResponse,
    SettlementReportResponse,
    SettlementTotals,
)
from services.orders.domain.order import OrderNotFound
from services.orders.handlers import actions
from services.orders.handlers.ports import Unit
from services.orders.handlers.queries import OrderView
from services.orders.handlers.settlement import OrderMoney, SettlementLine, SettlementState, compare

router = APIRouter(prefix="/v1", tags=["money"])

_PERIOD_MAX: Final = timedelta(days=31)
_LINES_MAX: Final = 500
_AGREED: Final = frozenset({SettlementState.MATCHED, SettlementState.IN_FLIGHT})
_ACTION: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.OK: {"model": ActionResponse}}
_REPORT: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.OK: {"model": SettlementReportResponse}}


class PeriodNotUsable(Invalid):
    """The report's period ends before it begins, or is too long."""

    code: ClassVar[str] = "period-not-usable"


@router.post("/orders/{order_id}/actions", dependencies=[requires("orders:operate")], responses=_ACTION)
async def act(order_id: UUID, body: ActionRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """
    Decide about an order that does not move by itself; the decision is kept with its reason and who made it.

    `retry` asks again for what was refused and gives the stage its time again; `skip` goes on without it;
    `force-compensate` ends the order and gives every penny back; `refund-parcel` and `reship` give up a parcel that
    does not arrive, for its price or for a replacement order.
    """
    request = actions.Request(
        action=body.action,
        reason=body.reason,
        principal=write.principal,
        shipment_id=body.shipment_id,
        refund_minor=body.refund_minor,
    )

    async def effect(unit: Unit) -> StoredResponse:
        done = await actions.act_on_order(order_id, request, unit=unit, policy=backend.policy, now=backend.clock.now())
        return StoredResponse(HTTPStatus.OK, ActionResponse.model_validate(done).model_dump_json().encode())

    return (await backend.write(write, effect)).response()


@router.get("/orders/{order_id}/actions", dependencies=[requires("orders:read")])
async def list_actions(order_id: UUID, backend: BackendOfApp) -> ActionsResponse:
    """List what people have decided about an order."""

    async def read(unit: Unit) -> ActionsResponse:
        await _found(order_id, unit)
        return ActionsResponse(
            items=[ActionResponse.model_validate(one) for one in await unit.actions.of_order(order_id)]
        )

    return await backend.run(read)


@router.get("/orders/{order_id}/ledger", dependencies=[requires("orders:read")])
async def get_ledger(order_id: UUID, backend: BackendOfApp) -> LedgerResponse:
    """Show an order's money in double entry."""

    async def read(unit: Unit) -> LedgerResponse:
        view = await _found(order_id, unit)
        return LedgerResponse.of(order_id, view.currency, await unit.ledger.of_order(order_id))

    return await backend.run(read)


@router.get("/reports/settlement", dependencies=[requires("finance:read")], responses=_REPORT)
async def report_settlement(
    request: Request,
    backend: BackendOfApp,
    since: Annotated[Timestamp, Query(description="Orders received from then on.")],
    until: Annotated[Timestamp, Query(description="And before then; at most 31 days later.")],
    _format: ExportFormat = None,
) -> Response:
    """
    Compare the orders of a period with the ledger and with the payment providers' own books.

    As JSON, totals and the lines that do not agree; as CSV, every line.
    """
    if not timedelta(0) < until - since <= _PERIOD_MAX or since.timestamp() < 0:
        raise PeriodNotUsable("It must be longer than nothing and at most 31 days.", field="until")
    lines = _lines(since, until, backend)
    if wants_csv(request):
        return await csv_response(_COLUMNS, _rows(lines), filename="settlement.csv")
    return JSONResponse((await _summary(since, until, lines)).model_dump(mode="json"))


def _lines(since: datetime, until: datetime, backend: Backend) -> AsyncIterator[list[SettlementLine]]:
    async def read(after: UUID, before: UUID, limit: int) -> Sequence[OrderMoney]:
        return await backend.run(lambda unit: unit.ledger.page(after=after, before=before, limit=limit))

    async def known(provider: str, references: Sequence[str]) -> set[str]:
        return await backend.run(lambda unit: unit.ledger.known(provider, references))

    return compare(since=since, until=until, read=read, known=known, books=backend.provider_books)


_COLUMNS: Final = tuple(SettlementLineResponse.model_fields)


async def _rows(pages: AsyncIterator[list[SettlementLine]]) -> AsyncIterator[list[list[Cell]]]:
    async for page in pages:
        shown = [SettlementLineResponse.of(line) for line in page]
        yield [[getattr(line, column) for column in _COLUMNS] for line in shown]


async def _summary(
    since: datetime, until: datetime, pages: AsyncIterator[list[SettlementLine]]
) -> SettlementReportResponse:
    states: Counter[SettlementState] = Counter()
    totals: dict[tuple[str, str], SettlementTotals] = {}
    disagreeing: list[SettlementLine] = []
    async for page in pages:
        for line in page:
            states[line.state] += 1
            key = (line.provider, line.currency)
            _add(totals.setdefault(key, SettlementTotals(provider=line.provider, currency=line.currency)), line)
            if line.state not in _AGREED and len(disagreeing) <= _LINES_MAX:
                disagreeing.append(line)
    return SettlementReportResponse(
        since=since,
        until=until,
        statuses=dict(states),
        totals=[totals[key] for key in sorted(totals)],
        lines=[SettlementLineResponse.of(line) for line in disagreeing[:_LINES_MAX]],
        has_more_lines=len(disagreeing) > _LINES_MAX,
    )


def _add(total: SettlementTotals, line: SettlementLine) -> None:
    order, charge = line.order, line.charge
    total.drift_minor += line.drift_minor
    if order is not None:
        total.orders += 1
        total.captured_minor += order.captured_minor
        total.refunded_minor += order.refunded_minor
        total.held_minor += order.held_minor
    if charge is not None:
        total.provider_captured_minor += charge.captured_minor
        total.provider_refunded_minor += charge.refunded_minor
        total.provider_held_minor += charge.held_minor


async def _found(order_id: UUID, unit: Unit) -> OrderView:
    view = await unit.views.find(order_id)
    if view is None:
        raise OrderNotFound(order_id)
    return view
