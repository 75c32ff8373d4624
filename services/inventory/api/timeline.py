"""Why on hand is what it is, over HTTP."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.fields import Timestamp
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SKU_CHARACTERS_MAX
from services.inventory.domain.stock import MovementKind
from services.inventory.domain.timeline import LedgerLine, Timeline, TimelineEntry
from services.inventory.handlers.queries import StockNotFound

Sku = Annotated[str, Path(max_length=SKU_CHARACTERS_MAX)]
Warehouse = Annotated[
    str | None,
    Query(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX, description="Only what moved there."),
]
At = Annotated[
    Timestamp | None,
    Query(description="The state as of this time of the warehouses, by all that is known now; absent for now."),
]
Order = Annotated[Literal["asc", "desc"], Query(description="By the time it happened: first or latest first.")]


class ReceiptCause(BaseModel):
    """Units arrived from a supplier."""

    type: Literal["receipt"] = "receipt"
    reference: str | None
    unit_cost_minor: int | None
    currency: str | None
    lot: str | None
    expires_on: date | None


class PickCause(BaseModel):
    """Units left the shelf; those `packed` for an order are still there and leave with its shipment."""

    type: Literal["pick"] = "pick"
    order_id: UUID | None
    packed: int | None
    reference: str | None


class ShipmentCause(BaseModel):
    """Units left for a customer."""

    type: Literal["shipment"] = "shipment"
    order_id: UUID | None
    shipment_id: str | None


class ReturnCause(BaseModel):
    """Units came back from a customer."""

    type: Literal["return"] = "return"
    order_id: UUID | None
    return_id: str | None


class TransferCause(BaseModel):
    """Units left for another warehouse, or came from one."""

    type: Literal["transfer"] = "transfer"
    transfer_id: UUID | None
    direction: Literal["out", "in"]
    other_warehouse: str | None = Field(description="The other end, as far as it is known.")
    reference: str | None


class CountCause(BaseModel):
    """Somebody counted; a count that a later one has overtaken changes nothing."""

    type: Literal["count"] = "count"
    counted: int
    expected: int = Field(description="What the ledger had for that time when the count was booked.")
    count_id: UUID | None = Field(description="That of the count if it had to be approved: `/v1/counts/{id}`.")
    reason: str | None
    reference: str | None


class HeldCountCause(BaseModel):
    """Somebody counted, and it had to wait for approval; what is booked of it is a movement of its own."""

    type: Literal["held-count"] = "held-count"
    count_id: UUID = Field(description="See `/v1/counts/{id}`.")
    reason: str | None
    reference: str | None


class AlreadyCountedCause(BaseModel):
    """Takes back what a report said that came after a count which had seen it."""

    type: Literal["already-counted"] = "already-counted"
    reference: str | None


class AdjustmentCause(BaseModel):
    """The warehouse corrected its stock."""

    type: Literal["adjustment"] = "adjustment"
    reason: str | None
    reference: str | None
    transfer_id: UUID | None


class WriteOffCause(BaseModel):
    """Units were given up."""

    type: Literal["write-off"] = "write-off"
    reason: str | None
    reference: str | None
    transfer_id: UUID | None


class ShortfallCause(BaseModel):
    """More left than had ever been reported as arrived (positive), or its arrival was reported later (negative)."""

    type: Literal["shortfall"] = "shortfall"
    reference: str | None


MovementCause = (
    ReceiptCause
    | PickCause
    | ShipmentCause
    | ReturnCause
    | TransferCause
    | CountCause
    | HeldCountCause
    | AlreadyCountedCause
    | AdjustmentCause
    | WriteOffCause
    | ShortfallCause
)


class TimelineItem(BaseModel):
    """One movement, why it happened, and what was there after it."""

    id: int
    event_id: UUID
    kind: str
    warehouse: str
    units: int
    cause: Annotated[MovementCause, Field(discriminator="type")]
    occurred_at: datetime = Field(description="When it happened in the warehouse.")
    recorded_at: datetime = Field(description="When it arrived here.")
    delay_seconds: float
    is_late: bool = Field(description="Something that happened later in the same warehouse was recorded before it.")
    on_hand: int = Field(description="In its warehouse, after it.")
    on_hand_total: int = Field(description="In all warehouses that are shown, after it.")


class KindSummary(BaseModel):
    """All movements of one kind."""

    kind: str
    movements: int
    units: int


class OnHandResponse(BaseModel):
    """What was there in one warehouse."""

    warehouse: str
    on_hand: int


class HolderResponse(BaseModel):
    """Units that are held: for an order, by a hold without one, or for a transfer that has been approved."""

    type: Literal["order", "hold", "transfer"]
    id: UUID
    warehouse: str
    units: int
    since: datetime | None


class ReservedResponse(BaseModel):
    """What is held now, explained by the newest holds."""

    units: int
    holds: int
    newest: list[HolderResponse]


class TimelineResponse(Page[TimelineItem]):
    """A SKU's history: `summary` adds up to `on_hand`, whatever page is shown."""

    sku: str
    warehouse: str | None
    at: datetime | None
    on_hand: int
    levels: list[OnHandResponse]
    summary: list[KindSummary]
    reserved: ReservedResponse | None = Field(description="What is held now; absent for a time in the past.")


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the route of the timeline."""
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:read")])
    database, timelines_of = use_cases.database, use_cases.timelines_of

    @router.get("/stock/{sku}/timeline")
    async def show_timeline(  # noqa: PLR0917 - the filters of one list
        sku: Sku,
        warehouse: Warehouse = None,
        at: At = None,
        order: Order = "asc",
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
    ) -> TimelineResponse:
        """Explain a SKU's level: what moved it in the order in which it happened, and what was there after each."""
        beyond = Cursor.decode(cursor, tuple[datetime, int]) if cursor else None
        is_descending = order == "desc"

        async def work(transaction: Transaction) -> Timeline | None:
            return await timelines_of(transaction).timeline(
                sku, warehouse=warehouse, at=at, beyond=beyond, is_descending=is_descending, limit=limit + 1
            )

        found = await database.run(work)
        if found is None:
            raise StockNotFound("No warehouse has ever reported anything about this SKU.")
        entries = found.entries()
        if is_descending:
            entries.reverse()
        shown = entries[:limit]
        last = shown[-1].line if len(entries) > limit else None
        return TimelineResponse(
            sku=sku,
            warehouse=warehouse,
            at=at,
            on_hand=sum(found.on_hand.values()),
            levels=[OnHandResponse(warehouse=code, on_hand=units) for code, units in sorted(found.on_hand.items())],
            summary=[
                KindSummary(kind=kind, movements=movements, units=units)
                for kind, (movements, units) in sorted(found.by_kind().items())
                if movements
            ],
            reserved=_reserved(found),
            items=[_item(entry) for entry in shown],
            next_cursor=Cursor.encode(last.occurred_at, last.id) if last else None,
        )

    return router


def _reserved(timeline: Timeline) -> ReservedResponse | None:
    reserved = timeline.reserved
    if reserved is None:
        return None
    return ReservedResponse(
        units=reserved.units,
        holds=reserved.holders,
        newest=[
            HolderResponse.model_validate(
                {"type": one.holder, "id": one.id, "warehouse": one.warehouse, "units": one.units, "since": one.since}
            )
            for one in reserved.holds
        ],
    )


def _item(entry: TimelineEntry) -> TimelineItem:
    line = entry.line
    return TimelineItem(
        id=line.id,
        event_id=line.event_id,
        kind=line.kind,
        warehouse=line.warehouse,
        units=line.delta_on_hand,
        cause=CAUSES[MovementKind(line.kind)](line),
        occurred_at=line.occurred_at,
        recorded_at=line.recorded_at,
        delay_seconds=max(0.0, (line.recorded_at - line.occurred_at).total_seconds()),
        is_late=entry.is_late,
        on_hand=entry.on_hand,
        on_hand_total=entry.on_hand_total,
    )


def _transfer(line: LedgerLine) -> TransferCause:
    return TransferCause(
        transfer_id=line.transfer_id,
        direction="out" if line.kind == MovementKind.TRANSFER_OUT else "in",
        other_warehouse=line.other_warehouse,
        reference=line.reference,
    )


def _count(line: LedgerLine) -> CountCause | HeldCountCause | AlreadyCountedCause:
    if line.counted is not None:
        return CountCause(
            counted=line.counted,
            expected=line.counted - line.delta_on_hand,
            # What was booked at once is the first leg of its event.
            count_id=line.event_id if line.leg else None,
            reason=line.reason,
            reference=line.reference,
        )
    if line.leg == 0:
        return HeldCountCause(count_id=line.event_id, reason=line.reason, reference=line.reference)
    # Any other movement of this kind belongs to a report of something else, and undoes what a count had seen of it.
    return AlreadyCountedCause(reference=line.reference)


def _receipt(line: LedgerLine) -> ReceiptCause:
    return ReceiptCause(
        reference=line.reference,
        unit_cost_minor=line.unit_cost_minor,
        currency=line.currency,
        lot=line.lot,
        expires_on=line.expires_on,
    )


def _adjustment(line: LedgerLine) -> AdjustmentCause:
    return AdjustmentCause(reason=line.reason, reference=line.reference, transfer_id=line.transfer_id)


def _write_off(line: LedgerLine) -> WriteOffCause:
    return WriteOffCause(reason=line.reason, reference=line.reference, transfer_id=line.transfer_id)


CAUSES: Final[Mapping[MovementKind, Callable[[LedgerLine], MovementCause]]] = {
    MovementKind.RECEIPT: _receipt,
    MovementKind.PICK: lambda line: PickCause(order_id=line.order_id, packed=line.picked, reference=line.reference),
    MovementKind.SHIP: lambda line: ShipmentCause(order_id=line.order_id, shipment_id=line.reference),
    MovementKind.RETURN: lambda line: ReturnCause(order_id=line.order_id, return_id=line.reference),
    MovementKind.ADJUST: _adjustment,
    MovementKind.COUNT: _count,
    MovementKind.TRANSFER_OUT: _transfer,
    MovementKind.TRANSFER_IN: _transfer,
    MovementKind.WRITE_OFF: _write_off,
    MovementKind.SHORTFALL: lambda line: ShortfallCause(reference=line.reference),
}
