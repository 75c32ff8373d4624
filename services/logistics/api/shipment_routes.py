"""Shipments: where they are, and what happens to them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.errors import DomainError
from libs.common.http.auth import requires
from libs.common.http.idempotency import IdempotentWrite, KeyedWrite, StoredResponse, write_once
from libs.common.http.pagination import (
    PAGE_LIMIT_DEFAULT,
    Cursor,
    Page,
    PageCursor,
    PageLimit,
    page_of,
)
from libs.common.http.sse import LastEventId, ServerEvent, event_stream
from services.logistics.api.dependencies import Backend, OurBackend
from services.logistics.api.shipment_schemas import (
    DeliveryRequest,
    DispatchRequest,
    FailureRequest,
    ScanRequest,
    ScanResponse,
    ShipmentResponse,
    TrackedShipmentResponse,
)
from services.logistics.domain.shipment import Shipment, Status, Step
from services.logistics.handlers.facts import count_movements
from services.logistics.handlers.movements import Movement, ShipmentNotFound, record_movements

router = APIRouter(prefix="/v1/shipments", tags=["shipments"])

_reads = requires("shipments:read")
_writes = requires("shipments:write")


@router.get("", dependencies=[_reads])
async def list_shipments(
    backend: OurBackend,
    order_id: Annotated[UUID | None, Query()] = None,
    status: Annotated[Status | None, Query()] = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[ShipmentResponse]:
    """List shipments, last planned first."""
    before = Cursor.decode(cursor, tuple[datetime, UUID]) if cursor else None

    async def read(transaction: Transaction) -> Sequence[Shipment]:
        views = backend.open_desk(transaction).views
        return await views.page(order_id=order_id, status=status, before=before, limit=limit + 1)

    rows = await backend.database.run(read)
    return page_of(rows, limit=limit, key=lambda one: (one.planned_at, one.id), item=ShipmentResponse.of)


@router.get("/{shipment_id}", dependencies=[_reads])
async def get_shipment(shipment_id: UUID, backend: OurBackend) -> TrackedShipmentResponse:
    """Return a shipment with its scans and its estimated arrival."""
    return await _tracked(backend, shipment_id)


@router.get("/{shipment_id}/events", dependencies=[_reads], response_class=Response)
async def follow_shipment(
    shipment_id: UUID, request: Request, backend: OurBackend, last_event_id: LastEventId = None
) -> Response:
    """
    Follow a shipment: every state it gets to, as server-sent events.

    The data of an event is what `GET /v1/shipments/{id}` answers, its id the shipment's version. States that follow
    each other within a second may come as the last of them, which holds all scans. The stream ends with the way.
    """
    first = await _tracked(backend, shipment_id)
    seen = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdecimal() else 0
    return event_stream(request, _states(backend, first, seen_version=seen))


@router.post("/{shipment_id}/dispatch", dependencies=[_writes], response_model=ShipmentResponse)
async def dispatch_shipment(
    shipment_id: UUID, body: DispatchRequest, backend: OurBackend, write: IdempotentWrite
) -> Response:
    """Let a planned shipment leave its warehouse."""
    movement = Movement(
        shipment_id=shipment_id,
        step=Step.DISPATCHED,
        at=body.dispatched_at,
        tracking_number=body.tracking_number,
    )
    return await _record(backend, write, movement)


@router.post("/{shipment_id}/scans", dependencies=[_writes], response_model=ShipmentResponse)
async def scan_shipment(shipment_id: UUID, body: ScanRequest, backend: OurBackend, write: IdempotentWrite) -> Response:
    """Note that the carrier saw a shipment; its arrival is estimated anew."""
    movement = Movement(
        shipment_id=shipment_id,
        step=Step.SCANNED,
        at=body.scanned_at,
        place=body.place,
        coordinates=body.coordinates,
    )
    return await _record(backend, write, movement)


@router.post("/{shipment_id}/delivery", dependencies=[_writes], response_model=ShipmentResponse)
async def deliver_shipment(
    shipment_id: UUID, body: DeliveryRequest, backend: OurBackend, write: IdempotentWrite
) -> Response:
    """Let a shipment arrive."""
    movement = Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=body.delivered_at)
    return await _record(backend, write, movement)


@router.post("/{shipment_id}/failure", dependencies=[_writes], response_model=ShipmentResponse)
async def fail_shipment(
    shipment_id: UUID, body: FailureRequest, backend: OurBackend, write: IdempotentWrite
) -> Response:
    """Give up delivering a shipment."""
    movement = Movement(shipment_id=shipment_id, step=Step.FAILED, at=body.failed_at, reason=body.reason)
    return await _record(backend, write, movement)


async def _record(backend: Backend, write: KeyedWrite, movement: Movement) -> Response:
    now = backend.clock.now()

    async def effect(transaction: Transaction) -> StoredResponse:
        desk = backend.open_desk(transaction)
        [outcome] = await record_movements(
            [movement],
            shipments=desk.shipments,
            outbox=desk.outbox,
            now=now,
            eta_threshold=backend.eta_threshold,
        )
        if isinstance(outcome, DomainError):
            raise outcome
        transaction.after_commit(partial(count_movements, [outcome]))
        return StoredResponse(200, ShipmentResponse.of(outcome.shipment).model_dump_json().encode())

    return (await write_once(backend.database, write, effect, now=now)).response()


async def _tracked(backend: Backend, shipment_id: UUID) -> TrackedShipmentResponse:
    async def read(transaction: Transaction) -> TrackedShipmentResponse:
        found = await backend.open_desk(transaction).views.find(shipment_id)
        if found is None:
            raise ShipmentNotFound(shipment_id)
        return TrackedShipmentResponse.tracked(found.shipment, [ScanResponse.of(scan) for scan in found.scans])

    return await backend.database.run(read)


async def _states(backend: Backend, state: TrackedShipmentResponse, *, seen_version: int) -> AsyncIterator[ServerEvent]:
    while True:
        if state.version > seen_version:
            seen_version = state.version
            yield ServerEvent(state.model_dump_json(), event=state.status, id=str(state.version))
        if state.status.is_final:
            return
        await asyncio.sleep(backend.stream_poll_seconds)
        # Asking for the version alone keeps a quiet stream at one read of one index a second.
        if await _version(backend, state.id) != seen_version:
            state = await _tracked(backend, state.id)


async def _version(backend: Backend, shipment_id: UUID) -> int | None:
    async def read(transaction: Transaction) -> int | None:
        return await backend.open_desk(transaction).views.version(shipment_id)

    return await backend.database.run(read)
