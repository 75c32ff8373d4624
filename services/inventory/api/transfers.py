"""Transfers over HTTP."""

from collections.abc import Awaitable, Callable, Container
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.events.shapes import SkuQuantity
from libs.common.http.auth import requires
from libs.common.http.entity_tags import IfMatch, entity_tag, versions_of
from libs.common.http.fields import Label, Timestamp
from libs.common.http.idempotency import IdempotentWrite, KeyedWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory import metrics
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.plausibility import (
    CODE_CHARACTERS_MAX,
    SKU_CHARACTERS_MAX,
    UNITS_MAX,
)
from services.inventory.domain.transfers import LINES_MAX, TransferNotFound, TransferStatus
from services.inventory.handlers import transfers as use
from services.inventory.handlers.desk import Desk
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.stock_events import StockEventsApplied
from services.inventory.handlers.transfer_views import TransferFilter, TransferPlace, TransferView

Code = Annotated[str, StringConstraints(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=SKU_CHARACTERS_MAX)]
Quantity = Annotated[int, Field(ge=1, le=UNITS_MAX)]


class _Body(BaseModel):
    # A misspelt field is a mistake to be told of, and "5" is no number.
    model_config = ConfigDict(extra="forbid", strict=True)


class WantedLine(_Body):
    """Units to move of one SKU."""

    sku: Sku
    quantity: Quantity


class ProposeTransferRequest(_Body):
    """Units that should be moved."""

    source: Code
    destination: Code
    lines: list[WantedLine] = Field(min_length=1, max_length=LINES_MAX)
    expected_at: Timestamp | None = Field(default=None, description="When they should arrive.")
    reason: Label | None = None


class CancelTransferRequest(_Body):
    """Why nothing is to be moved."""

    reason: Label


class CloseTransferRequest(_Body):
    """Why what left and what arrived differ, and what becomes of what is missing."""

    reason: Label
    missing: Literal["write-off", "return-to-source"] = "write-off"


class MovedLineRequest(_Body):
    """Units that left or arrived."""

    id: UUID | None = Field(
        default=None, strict=False, description="The event's own id, if the warehouse may report it as well."
    )
    sku: Sku
    quantity: Quantity


class MoveRequest(_Body):
    """What left or arrived; without lines, all that is still to leave or to arrive."""

    lines: list[MovedLineRequest] | None = Field(default=None, min_length=1, max_length=LINES_MAX)
    occurred_at: Timestamp | None = Field(default=None, description="Absent for now.")
    reference: Label | None = None


class TransferLineResponse(BaseModel):
    """Units of one SKU: what left and was found is in transit, received, returned or written off."""

    sku: str
    source: str | None
    destination: str
    requested: int
    held: int
    dispatched: int
    in_transit: int
    received: int
    returned: int
    written_off: int
    found: int


class TransferResponse(BaseModel):
    """A transfer as it is."""

    id: UUID
    version: int = Field(description="Counts the changes from 1; the ETag of the resource.")
    status: TransferStatus
    source: str | None
    destination: str | None
    is_automatic: bool
    is_planned: bool = Field(description="Not so if it came into being by a warehouse's report.")
    expected_at: datetime | None
    dispatched_at: datetime | None = Field(description="When the first units left.")
    received_at: datetime | None = Field(description="When the last units arrived.")
    reason: str | None
    proposed_by: str | None
    decided_by: str | None
    decision_id: UUID | None
    value_minor: int | None = Field(description="What the units are worth, where it is known.")
    currency: str | None
    created_at: datetime
    changed_at: datetime
    lines: list[TransferLineResponse]


async def versions_known(if_match: IfMatch = None) -> Container[int] | None:
    """Return the versions that the caller knows, None for any."""
    return None if if_match is None else versions_of(if_match)


KnownVersions = Annotated[Container[int] | None, Depends(versions_known)]


def router_of(use_cases: UseCases) -> APIRouter:  # noqa: C901 - a route each
    """Return the routes of transfers."""
    router = APIRouter(prefix="/v1/transfers")
    database, transfers_of, clock = use_cases.database, use_cases.transfers_of, use_cases.clock
    reads, writes, moves = requires("stock:read"), requires("transfers:write"), requires("stock:write")

    async def answer(transaction: Transaction, transfer_id: UUID, status: HTTPStatus) -> StoredResponse:
        found = await transfers_of(transaction).view(transfer_id)
        if found is None:
            raise TransferNotFound("There is no transfer of this id.")
        return StoredResponse(status, _response(found).model_dump_json().encode())

    async def carry_out(
        write: KeyedWrite, transfer_id: UUID, work: Callable[[Tools], Awaitable[Desk | StockEventsApplied | None]]
    ) -> Response:
        async def effect(transaction: Transaction) -> StoredResponse:
            done = await work(use_cases.tools_of(transaction))
            if done is not None:
                transaction.after_commit(lambda: metrics.count_outcomes(done.outcomes, sold_out=done.sold_out))
            return await answer(transaction, transfer_id, HTTPStatus.OK)

        return (await use_cases.write(write, effect)).response()

    @router.post("", status_code=HTTPStatus.CREATED, response_model=TransferResponse, dependencies=[writes])
    async def propose_transfer(body: ProposeTransferRequest, write: IdempotentWrite) -> Response:
        """Propose to move units; nothing is held or moved before it is approved."""
        planned = use.PlannedTransfer(
            source=body.source,
            destination=body.destination,
            lines=[SkuQuantity(sku=line.sku, quantity=line.quantity) for line in body.lines],
            expected_at=body.expected_at,
            reason=body.reason,
        )

        async def effect(transaction: Transaction) -> StoredResponse:
            tools = use_cases.tools_of(transaction)
            transfer_id = await use.propose_transfer(planned, tools=tools, by=write.principal)
            transaction.after_commit(lambda: metrics.count_transfer_proposal("proposed", is_automatic=False))
            return await answer(transaction, transfer_id, HTTPStatus.CREATED)

        return (await use_cases.write(write, effect)).response()

    @router.get("", dependencies=[reads])
    async def list_transfers(
        status: Annotated[TransferStatus | None, Query()] = None,
        warehouse: Annotated[Code | None, Query(description="Either end.")] = None,
        sku: Annotated[Sku | None, Query()] = None,
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
    ) -> Page[TransferResponse]:
        """List transfers, the newest first."""
        before = TransferPlace(*Cursor.decode(cursor, tuple[datetime, UUID])) if cursor else None
        wanted = TransferFilter(status=status, warehouse=warehouse, sku=sku)

        async def work(transaction: Transaction) -> list[TransferView]:
            return await transfers_of(transaction).page(wanted, before=before, limit=limit + 1)

        found = await database.run(work)
        return page_of(found, limit=limit, key=lambda one: (one.created_at, one.transfer.transfer_id), item=_response)

    @router.get("/{transfer_id}", dependencies=[reads])
    async def show_transfer(transfer_id: UUID, response: Response) -> TransferResponse:
        """Show one transfer."""

        async def work(transaction: Transaction) -> TransferView | None:
            return await transfers_of(transaction).view(transfer_id)

        found = await database.run(work)
        if found is None:
            raise TransferNotFound("There is no transfer of this id.")
        response.headers["ETag"] = entity_tag(found.transfer.version)
        return _response(found)

    @router.post("/{transfer_id}/approve", response_model=TransferResponse, dependencies=[writes])
    async def approve_transfer(transfer_id: UUID, write: IdempotentWrite, versions: KnownVersions) -> Response:
        """Approve a transfer: its units are held at the source until they leave."""
        request = use.Request(transfer_id=transfer_id, by=write.principal, versions=versions)
        return await carry_out(write, transfer_id, lambda tools: use.approve_transfer(request, tools=tools))

    @router.post("/{transfer_id}/cancel", response_model=TransferResponse, dependencies=[writes])
    async def cancel_transfer(
        transfer_id: UUID, body: CancelTransferRequest, write: IdempotentWrite, versions: KnownVersions
    ) -> Response:
        """Cancel a transfer of which nothing has left."""
        request = use.Request(transfer_id=transfer_id, by=write.principal, versions=versions)
        return await carry_out(
            write, transfer_id, lambda tools: use.cancel_transfer(request, reason=body.reason, tools=tools)
        )

    @router.post("/{transfer_id}/dispatch", response_model=TransferResponse, dependencies=[moves])
    async def dispatch_transfer(
        transfer_id: UUID, write: IdempotentWrite, versions: KnownVersions, body: MoveRequest | None = None
    ) -> Response:
        """Let units leave the source, with the effect of its report `transfer.dispatched`."""
        request = use.Request(transfer_id=transfer_id, by=write.principal, versions=versions)
        return await carry_out(
            write,
            transfer_id,
            lambda tools: use.dispatch_transfer(
                request, _moved(body, clock.now()), tools=tools, age_years_max=use_cases.event_age_years_max
            ),
        )

    @router.post("/{transfer_id}/receive", response_model=TransferResponse, dependencies=[moves])
    async def receive_transfer(
        transfer_id: UUID, write: IdempotentWrite, versions: KnownVersions, body: MoveRequest | None = None
    ) -> Response:
        """Let units arrive at the destination, with the effect of its report `transfer.received`."""
        request = use.Request(transfer_id=transfer_id, by=write.principal, versions=versions)
        return await carry_out(
            write,
            transfer_id,
            lambda tools: use.receive_transfer(
                request, _moved(body, clock.now()), tools=tools, age_years_max=use_cases.event_age_years_max
            ),
        )

    @router.post("/{transfer_id}/close", response_model=TransferResponse, dependencies=[writes])
    async def close_transfer(
        transfer_id: UUID, body: CloseTransferRequest, write: IdempotentWrite, versions: KnownVersions
    ) -> Response:
        """Settle what differs between what left and what arrived, and end the transfer."""
        request = use.Request(transfer_id=transfer_id, by=write.principal, versions=versions)
        return await carry_out(
            write,
            transfer_id,
            lambda tools: use.close_transfer(request, reason=body.reason, missing=body.missing, tools=tools),
        )

    return router


def _moved(body: MoveRequest | None, now: datetime) -> use.Moved:
    if body is None:
        return use.Moved(at=now)
    lines = None
    if body.lines is not None:
        lines = [use.MovedLine(sku=one.sku, quantity=one.quantity, event_id=one.id) for one in body.lines]
    return use.Moved(at=body.occurred_at or now, lines=lines, reference=body.reference)


def _response(view: TransferView) -> TransferResponse:
    one = view.transfer
    lines: list[dict[str, Any]] = [
        {
            "sku": key.sku,
            "source": line.source,
            "destination": key.destination,
            "requested": line.requested,
            "held": line.held,
            "dispatched": line.dispatched,
            "in_transit": line.in_transit,
            "received": line.received,
            "returned": line.returned,
            "written_off": line.written_off,
            "found": line.found,
        }
        for key, line in sorted(one.lines.items())
    ]
    return TransferResponse(
        id=one.transfer_id,
        version=one.version,
        status=one.status,
        source=one.from_warehouse,
        destination=one.to_warehouse,
        is_automatic=one.is_automatic,
        is_planned=one.plan is not None,
        expected_at=one.expected_at,
        dispatched_at=one.dispatched_at,
        received_at=one.received_at,
        reason=one.reason,
        proposed_by=one.proposed_by,
        decided_by=one.decided_by,
        decision_id=one.decision_id,
        value_minor=one.value_minor,
        currency=one.currency,
        created_at=view.created_at,
        changed_at=view.changed_at,
        lines=[TransferLineResponse(**line) for line in lines],
    )
