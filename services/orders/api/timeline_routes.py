"""An order's way: as a list, and as a stream that can be resumed."""

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.errors import Invalid
from libs.common.http.auth import requires
from libs.common.http.sse import LastEventId, ServerEvent, event_stream
from services.orders.api.backend import Backend, BackendOfApp
from services.orders.api.schemas import StageResponse, TimelineResponse
from services.orders.domain.order import TERMINAL, OrderNotFound
from services.orders.handlers.ports import Unit
from services.orders.handlers.queries import TimelineEntry

router = APIRouter(prefix="/v1/orders", tags=["orders"])

# More stages than any order has; a larger id is none of ours.
_SEQUENCE_MAX = 1_000_000


@router.get("/{order_id}/timeline", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def get_timeline(order_id: UUID, backend: BackendOfApp) -> TimelineResponse:
    """List the stages that an order entered, with what led to each."""
    entries = await backend.run(lambda unit: _entries(order_id, 0, unit))
    return TimelineResponse(items=[StageResponse.of(entry) for entry in entries])


@router.get("/{order_id}/events", dependencies=[requires("orders:read")], response_class=Response)
async def follow(
    order_id: UUID, request: Request, backend: BackendOfApp, last_event_id: LastEventId = None
) -> Response:
    """
    Follow an order as server-sent events; the id of each is its number in the timeline.

    The stream ends with the last stage. Asked again after that, the answer is 204, at which browsers stop asking.
    """
    after = _sequence_of(last_event_id)
    known = await backend.run(lambda unit: _entries(order_id, 0, unit))
    if known[-1].stage in TERMINAL and known[-1].sequence <= after:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return event_stream(request, _stages(order_id, after, backend))


async def _stages(order_id: UUID, after: int, backend: Backend) -> AsyncIterator[ServerEvent]:
    position = after
    while True:
        for entry in await backend.run(lambda unit: unit.views.timeline(order_id, after=position)):  # noqa: B023
            position = entry.sequence
            data = StageResponse.of(entry).model_dump_json(exclude_none=True)
            yield ServerEvent(data=data, event=f"order.{entry.stage}", id=str(entry.sequence))
            if entry.stage in TERMINAL:
                return
        if await backend.follower.moved(order_id, after=position) is None:
            return


async def _entries(order_id: UUID, after: int, unit: Unit) -> Sequence[TimelineEntry]:
    entries = await unit.views.timeline(order_id, after=after)
    if not entries:
        raise OrderNotFound(order_id)
    return entries


def _sequence_of(last_event_id: str | None) -> int:
    if last_event_id is None:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdecimal() and int(last_event_id) <= _SEQUENCE_MAX):
        raise Invalid("The id is not one of this stream.", field="Last-Event-ID")
    return int(last_event_id)
