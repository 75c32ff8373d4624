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
from services.orders.api.schemas import ReceiptRequest, RequestReturnRequest, ReturnResponse
from services.orders.domain.order import check_business_time
from services.orders.domain.returns import ReceivedUnits
from services.orders.handlers.ports import Unit
from services.orders.handlers.returns import Receipt, find_return, receive_goods, request_return

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

    async def effect(unit: Unit) -> StoredResponse:
        announced = await request_return(
            order_id,
            reason=body.reason,
            wanted=[SkuQuantity(sku=line.sku, quantity=line.quantity) for line in body.lines],
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
        received = await receive_goods(return_id, receipt=receipt, unit=unit, policy=backend.policy, now=now)
        return StoredResponse(HTTPStatus.OK, ReturnResponse.of(received).render())

    return (await backend.write(write, effect)).response()


@router.get("/returns/{return_id}", dependencies=[requires("orders:read")], responses=_RETURN)
async def get_return(return_id: UUID, backend: BackendOfApp) -> Response:
    """Show a return."""
    found = await backend.run(lambda unit: find_return(return_id, unit=unit))
    return Response(ReturnResponse.of(found).render(), media_type="application/json")
