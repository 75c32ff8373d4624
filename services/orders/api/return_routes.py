"""Goods that come back."""

from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from libs.common.events.shapes import SkuQuantity
from libs.common.http.auth import requires
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from services.orders.api.backend import BackendOfApp
from services.orders.api.schemas import (
    ArrivalRequest,
    InspectionRequest,
    LabelRequest,
    ReceiptRequest,
    RequestReturnRequest,
    ReturnResponse,
    ReturnsResponse,
)
from services.orders.domain.order import check_business_time
from services.orders.domain.returns import InspectedUnits, ReceivedUnits, WantedInstead
from services.orders.handlers.ports import Unit
from services.orders.handlers.returns import (
    Receipt,
    Wish,
    find_return,
    inspect_goods,
    label_return,
    receive_goods,
    request_return,
    returns_of,
    take_in,
)

router = APIRouter(prefix="/v1", tags=["returns"])

_CREATED: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.CREATED: {"model": ReturnResponse}}
_RETURN: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.OK: {"model": ReturnResponse}}


@router.post(
    "/orders/{order_id}/returns",
    status_code=HTTPStatus.CREATED,
    dependencies=[requires("orders:write")],
    responses=_CREATED,
)
async def open_return(
    order_id: UUID, body: RequestReturnRequest, write: IdempotentWrite, backend: BackendOfApp
) -> Response:
    """Announce that goods of a shipped order come back."""
    wish = Wish(
        units=[SkuQuantity(sku=line.sku, quantity=line.quantity) for line in body.lines],
        reason=body.reason,
        reason_code=body.reason_code,
        exchange_for=[
            WantedInstead(sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
            for line in body.exchange_for
        ],
        payment_token=body.payment_token,
    )

    async def effect(unit: Unit) -> StoredResponse:
        announced = await request_return(
            order_id,
            wish,
            unit=unit,
            policy=backend.policy,
            now=backend.clock.now(),
        )
        return StoredResponse(HTTPStatus.CREATED, ReturnResponse.of(announced).render())

    return (await backend.write(write, effect)).response()


@router.post("/returns/{return_id}/receipt", dependencies=[requires("returns:write")], responses=_RETURN)
async def receive(return_id: UUID, body: ReceiptRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Take what a warehouse found in a returned parcel; its price is refunded once it was captured."""
    now = backend.clock.now()
    received_at = body.received_at or now
    check_business_time(received_at, now=now, age_max=backend.event_age_max, field="/received_at")
    receipt = Receipt(
        warehouse=body.warehouse,
        received_at=received_at,
        units=[ReceivedUnits(line.sku, line.quantity, line.restock_quantity) for line in body.lines],
    )

    async def effect(unit: Unit) -> StoredResponse:
        received = await receive_goods(
            return_id, receipt=receipt, principal=write.principal, unit=unit, policy=backend.policy, now=now
        )
        return StoredResponse(HTTPStatus.OK, ReturnResponse.of(received).render())

    return (await backend.write(write, effect)).response()


@router.post("/returns/{return_id}/label", dependencies=[requires("orders:write")], responses=_RETURN)
async def label(return_id: UUID, body: LabelRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Note the label that the customer sends the goods with."""

    async def effect(unit: Unit) -> StoredResponse:
        labelled = await label_return(
            return_id, carrier=body.carrier, reference=body.reference, unit=unit, now=backend.clock.now()
        )
        return StoredResponse(HTTPStatus.OK, ReturnResponse.of(labelled).render())

    return (await backend.write(write, effect)).response()


@router.post("/returns/{return_id}/arrival", dependencies=[requires("returns:write")], responses=_RETURN)
async def arrive(return_id: UUID, body: ArrivalRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Note that a returned parcel has arrived; nothing is refunded before it was inspected."""
    now = backend.clock.now()
    received_at = body.received_at or now
    check_business_time(received_at, now=now, age_max=backend.event_age_max, field="/received_at")
    units = [ReceivedUnits(line.sku, line.quantity, 0) for line in body.lines]
    receipt = Receipt(warehouse=body.warehouse, received_at=received_at, units=units)

    async def effect(unit: Unit) -> StoredResponse:
        arrived = await take_in(return_id, receipt=receipt, unit=unit, now=now)
        return StoredResponse(HTTPStatus.OK, ReturnResponse.of(arrived).render())

    return (await backend.write(write, effect)).response()


@router.post("/returns/{return_id}/inspection", dependencies=[requires("returns:write")], responses=_RETURN)
async def inspect(return_id: UUID, body: InspectionRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Decide what becomes of goods that arrived; what is owed for them is refunded, or sent as other goods."""
    found = [
        InspectedUnits(
            sku=line.sku,
            quantity=line.quantity,
            grade=line.grade,
            disposition=line.disposition,
            refund_percent=line.refund_percent,
        )
        for line in body.lines
    ]

    async def effect(unit: Unit) -> StoredResponse:
        inspected = await inspect_goods(
            return_id,
            found,
            principal=write.principal,
            unit=unit,
            policy=backend.policy,
            now=backend.clock.now(),
        )
        return StoredResponse(HTTPStatus.OK, ReturnResponse.of(inspected).render())

    return (await backend.write(write, effect)).response()


@router.get("/orders/{order_id}/returns", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def list_returns(order_id: UUID, backend: BackendOfApp) -> ReturnsResponse:
    """List an order's returns, oldest first."""
    found = await backend.run(lambda unit: returns_of(order_id, unit=unit))
    return ReturnsResponse(items=[ReturnResponse.of(one) for one in found])


@router.get("/returns/{return_id}", dependencies=[requires("orders:read")], responses=_RETURN)
async def get_return(return_id: UUID, backend: BackendOfApp) -> Response:
    """Show a return."""
    found = await backend.run(lambda unit: find_return(return_id, unit=unit))
    return Response(ReturnResponse.of(found).render(), media_type="application/json")
