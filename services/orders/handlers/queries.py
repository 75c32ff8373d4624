"""What is read of orders: plain values, no states to decide by."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from libs.common.events.shapes import Shortage
from services.orders.domain.charges import Charge
from services.orders.domain.findings import OrderFinding
from services.orders.domain.order import NewOrder, OnShortage, OrderLine, OrderStatus
from services.orders.domain.state import OrderState


class ShipmentView(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel of an order."""

    shipment_id: UUID
    warehouse: str | None
    status: str


class LinkedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that came of another."""

    order_id: UUID
    channel: str


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order as it is shown.

    `version` counts its published events, `revision` every change of anything shown here.
    """

    id: UUID
    version: int
    revision: int
    status: OrderStatus
    status_reason: str | None
    deadline_at: datetime | None
    customer_id: str
    channel: str
    reference: str | None
    currency: str
    total_minor: int
    placed_at: datetime
    received_at: datetime
    authorised_minor: int
    captured_minor: int
    refunded_minor: int
    voided_minor: int
    lines: tuple[OrderLine, ...]
    shipments: tuple[ShipmentView, ...] = ()
    findings: tuple[OrderFinding, ...] = ()
    on_shortage: OnShortage = "backorder"
    expected_at: datetime | None = None
    origin_id: UUID | None = None
    linked_orders: tuple[LinkedOrder, ...] = ()
    charges: tuple[Charge, ...] = ()
    # What it waits for, or was refused for, and what could be had instead.
    shortages: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """A stage that an order entered, and what led there."""

    sequence: int
    stage: OrderStatus
    entered_at: datetime
    cause: str
    cause_id: UUID | None
    detail: str | None
    shortages: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order is: enough to tell whether there is anything new to show."""

    order_id: UUID
    status: OrderStatus
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders to list, newest first, older than `before_id`."""

    status: OrderStatus | None = None
    customer_id: str | None = None
    before_id: UUID | None = None


class OrderViews(Protocol):
    """The read side."""

    async def find(self, order_id: UUID) -> OrderView | None:
        """Return an order."""
        ...

    async def page(self, wanted: OrderFilter, *, limit: int) -> Sequence[OrderView]:
        """Return orders, newest first."""
        ...

    async def timeline(self, order_id: UUID, *, after: int = 0) -> Sequence[TimelineEntry]:
        """Return the stages that an order entered after the one numbered `after`."""
        ...

    async def progress(self, order_ids: Collection[UUID]) -> Sequence[Progress]:
        """Return how far orders are."""
        ...


def view_of_new(order: NewOrder, state: OrderState) -> OrderView:
    """Show an order that was placed in this transaction, without reading it back."""
    facts = order.facts
    return OrderView(
        id=order.id,
        version=state.version,
        revision=1,
        status=state.status,
        status_reason=state.status_reason,
        deadline_at=state.deadline_at,
        customer_id=facts.customer_id,
        channel=facts.channel,
        reference=facts.reference,
        currency=facts.currency,
        total_minor=facts.total_minor,
        placed_at=facts.placed_at,
        received_at=facts.received_at,
        authorised_minor=0,
        captured_minor=0,
        refunded_minor=0,
        voided_minor=0,
        lines=order.lines,
        findings=order.findings,
        on_shortage=facts.on_shortage,
        charges=order.charges,
    )
