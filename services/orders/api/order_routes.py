"""Placing, reading and calling off orders."""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from libs.common.events.shapes import Destination
from libs.common.http.auth import requires
from libs.common.http.entity_tags import IfNoneMatch, entity_tag, is_current
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from libs.common.ids import new_id
from libs.common.telemetry.tracing import current_correlation_id, current_traceparent
from services.orders.api.backend import Backend, BackendOfApp, Placement
from services.orders.api.order_content import content_hash
from services.orders.api.quick_order import QuickLine, QuickOrder
from services.orders.api.schemas import (
    CancellationRequest,
    LineRequest,
    OrderResponse,
    PlaceOrderRequest,
    WaitingRequest,
)
from services.orders.domain.order import (
    TERMINAL,
    Address,
    NewOrder,
    OnShortage,
    OrderFacts,
    OrderLine,
    OrderNotFound,
    OrderStatus,
    PaymentMethodNotOffered,
    PaymentTerms,
    ReviewInputs,
    check_business_time,
)
from services.orders.domain.shares import price
from services.orders.handlers.cancellation import cancel_order
from services.orders.handlers.ports import Unit
from services.orders.handlers.queries import OrderFilter, OrderView
from services.orders.handlers.waiting import wait_on

router = APIRouter(prefix="/v1", tags=["orders"])

_WAIT_SECONDS_MAX: Final = 10
_WAIT: Final = re.compile(r"(?:^|[\s,;])wait=(\d{1,4})(?:$|[\s,;])")
# What a storefront that waits wants to know: can it be had. A held order only a person moves.
_ANSWERED: Final = TERMINAL | {OrderStatus.HELD, OrderStatus.BACKORDERED, OrderStatus.CONFIRMED}
_ORDER: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.OK: {"model": OrderResponse}}

Prefer = Annotated[
    str | None,
    Header(max_length=200, description="`wait=N`: answer when the order is confirmed or not, N ≤ 10 seconds."),
]


class _OrderId(msgspec.Struct):
    id: UUID


@router.post(
    "/orders",
    status_code=HTTPStatus.CREATED,
    dependencies=[requires("orders:write")],
    responses={
        HTTPStatus.CREATED: {"model": OrderResponse},
        HTTPStatus.OK: {
            "model": OrderResponse,
            "description": "The channel has sent this order before.",
        },
    },
)
async def place_order(
    body: PlaceOrderRequest, write: IdempotentWrite, backend: BackendOfApp, prefer: Prefer = None
) -> Response:
    """
    Place an order. Once this is answered the order is durable and will reach an end by itself.

    A channel's `reference` is of one order, whether it comes this way or by a file: the same order again is answered
    with the one that is there (200), another one under its reference is refused (409 `reference-reused`).
    """
    order = new_order(
        body,
        now=backend.clock.now(),
        age_max=backend.event_age_max,
        on_shortage=backend.shortage_policy.choose(body.on_shortage, body.channel),
        payment_methods=backend.payment_methods,
    )
    content = None if body.reference is None else content_hash(body)
    answer = await backend.placements.submit(Placement(write, order, content))
    order_id = msgspec.json.decode(answer.body, type=_OrderId).id
    wait_seconds = _wait_seconds(prefer)
    if wait_seconds:
        answer = StoredResponse(answer.status, await _settled_view(order_id, wait_seconds, backend), answer.replayed)
    response = answer.response()
    response.headers["Location"] = f"/v1/orders/{order_id}"
    if wait_seconds:
        response.headers["Preference-Applied"] = f"wait={wait_seconds}"
    return response


@router.get("/orders/{order_id}", dependencies=[requires("orders:read")], responses=_ORDER)
async def get_order(
    order_id: UUID,
    backend: BackendOfApp,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show an order."""
    view = await backend.run(lambda unit: found_order(order_id, unit))
    etag = entity_tag(view.revision)
    if is_current(if_none_match, view.revision):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return Response(OrderResponse.of(view).render(), media_type="application/json", headers={"ETag": etag})


@router.get("/orders", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def list_orders(
    backend: BackendOfApp,
    status: OrderStatus | None = None,
    customer_id: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[OrderResponse]:
    """List orders, newest first."""
    before_id = Cursor.decode(cursor, tuple[UUID])[0] if cursor else None
    wanted = OrderFilter(status=status, customer_id=customer_id, before_id=before_id)
    views = await backend.run(lambda unit: unit.views.page(wanted, limit=limit + 1))
    return page_of(views, limit=limit, key=lambda view: (view.id,), item=OrderResponse.of)


@router.post(
    "/orders/{order_id}/cancellation",
    dependencies=[requires("orders:write")],
    responses={**_ORDER, HTTPStatus.ACCEPTED: {"model": OrderResponse, "description": "Logistics was asked first."}},
)
async def cancel(order_id: UUID, body: CancellationRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Call an order off: at once, or (202) as soon as logistics has stopped its parcels."""

    async def effect(unit: Unit) -> StoredResponse:
        status = await cancel_order(
            order_id, reason=body.reason, unit=unit, policy=backend.policy, now=backend.clock.now()
        )
        code = HTTPStatus.ACCEPTED if status is OrderStatus.CANCELLING else HTTPStatus.OK
        return StoredResponse(code, OrderResponse.of(await found_order(order_id, unit)).render())

    return (await backend.write(write, effect)).response()


@router.post("/orders/{order_id}/waiting", dependencies=[requires("orders:write")], responses=_ORDER)
async def prolong_wait(order_id: UUID, body: WaitingRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Wait on for the goods of a backordered order, as long again, because the customer wants to."""

    async def effect(unit: Unit) -> StoredResponse:
        await wait_on(order_id, reason=body.reason, unit=unit, policy=backend.policy, now=backend.clock.now())
        return StoredResponse(HTTPStatus.OK, OrderResponse.of(await found_order(order_id, unit)).render())

    return (await backend.write(write, effect)).response()


async def found_order(order_id: UUID, unit: Unit) -> OrderView:
    """Return an order, for an answer."""
    view = await unit.views.find(order_id)
    if view is None:
        raise OrderNotFound(order_id)
    return view


async def _settled_view(order_id: UUID, wait_seconds: int, backend: Backend) -> bytes:
    """Wait until the order is answered or the time is over, and show it as it is then."""
    after = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_seconds):
            while (progress := await backend.follower.moved(order_id, after=after)) is not None:
                if progress.status in _ANSWERED:
                    break
                after = progress.sequence
    view = await backend.run(lambda unit: found_order(order_id, unit))
    return OrderResponse.of(view).render()


def _wait_seconds(prefer: str | None) -> int:
    found = _WAIT.search(prefer) if prefer else None
    return min(int(found.group(1)), _WAIT_SECONDS_MAX) if found else 0


def new_order(
    body: PlaceOrderRequest | QuickOrder,
    *,
    now: datetime,
    age_max: timedelta,
    on_shortage: OnShortage,
    payment_methods: Mapping[str, PaymentTerms],
    is_traced: bool = True,
) -> NewOrder:
    """
    Make an order of a request that is well formed; it goes on in the request's trace unless it is one of many.

    :raises DomainError: if it cannot be meant, naming the field.
    """
    payment_terms = payment_methods.get(body.payment.method)
    if payment_terms is None:
        raise PaymentMethodNotOffered(payment_methods)
    placed_at = body.placed_at or now
    check_business_time(placed_at, now=now, age_max=age_max, field="/placed_at")
    wanted: Sequence[LineRequest | QuickLine] = body.lines
    lines = tuple(
        OrderLine(line=number, sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
        for number, line in enumerate(wanted, start=1)
    )
    charges = (
        *(one.charge() for one in body.discounts),
        *(one.charge() for one in body.shipping),
        *(one.charge() for one in body.taxes),
    )
    priced = price(lines, charges, currency=body.currency, total_minor=body.total_minor)
    order_id = new_id()
    ship_to = body.ship_to
    facts = OrderFacts(
        customer_id=body.customer_id,
        channel=body.channel,
        reference=body.reference,
        currency=body.currency,
        total_minor=priced.total_minor,
        placed_at=placed_at,
        received_at=now,
        destination=Destination(
            country=ship_to.country, latitude=coarse(ship_to.latitude), longitude=coarse(ship_to.longitude)
        ),
        on_shortage=on_shortage,
        is_split_allowed=body.is_split_allowed,
        correlation_id=(current_correlation_id() if is_traced else None) or str(order_id),
        traceparent=current_traceparent() if is_traced else None,
        collect_at=body.collect_at,
        hold_id=body.hold_id,
    )
    address = Address(
        name=ship_to.name,
        address_lines=tuple(ship_to.address_lines),
        city=ship_to.city,
        postal_code=ship_to.postal_code,
    )
    return NewOrder(
        id=order_id,
        facts=facts,
        lines=priced.lines,
        charges=priced.charges,
        address=address,
        payment_token=body.payment.token,
        payment_terms=payment_terms,
        review=ReviewInputs(billing_country=body.payment.billing_country, email_hash=body.email_hash),
    )


def coarse(degrees: float | None) -> float | None:
    """Round to about 11 km: enough to choose a warehouse, too little to find a door."""
    return None if degrees is None else round(degrees, 1)
