"""Boring defaults, so that a test names only what it is about."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsCounted,
    GoodsExpected,
    GoodsPicked,
    GoodsReceived,
    GoodsWrittenOff,
)
from libs.common.events.logistics import ShipmentDispatched
from libs.common.events.orders import OrderApproved, OrderCancelled, OrderRefused, ReturnReceived
from libs.common.events.shapes import Allocation, Destination, SkuQuantity
from services.inventory.domain.warehouses import Warehouse

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
ARMCHAIR = "CRUNCHY-ARMCHAIR"
MIRROR = "OMINOUS-MIRROR"
LAMP = "SMUG-LAMP"

LONDON = Warehouse(code="LON", name="London", country="GB", latitude=51.51, longitude=-0.13)
MANCHESTER = Warehouse(code="MAN", name="Manchester", country="GB", latitude=53.48, longitude=-2.24)
GLASGOW = Warehouse(code="GLA", name="Glasgow", country="GB", latitude=55.86, longitude=-4.25)
ROTTERDAM = Warehouse(code="RTM", name="Rotterdam", country="NL", latitude=51.92, longitude=4.48)
WAREHOUSES = (LONDON, MANCHESTER, GLASGOW, ROTTERDAM)

TO_LONDON = Destination(country="GB", latitude=51.5, longitude=-0.1)


def minutes(number: float) -> datetime:
    """Return the moment so many minutes after noon."""
    return NOON + timedelta(minutes=number)


def envelope(event: Event, *, at: datetime = NOON, event_id: UUID | None = None) -> Envelope:
    """Wrap an event as it comes from the bus; `at` is when its owner published it."""
    return Envelope(id=event_id or uuid4(), event=event, time=at, source="test")


def received(
    quantity: int,
    sku: str = ARMCHAIR,
    *,
    at: str = "LON",
    when: datetime = NOON,
    lot: str | None = None,
    expires_on: date | None = None,
    unit_cost_minor: int | None = None,
) -> GoodsReceived:
    return GoodsReceived(
        sku=sku,
        warehouse=at,
        occurred_at=when,
        quantity=quantity,
        lot=lot,
        expires_on=expires_on,
        unit_cost_minor=unit_cost_minor,
        currency=None if unit_cost_minor is None else "GBP",
    )


def written_off(
    quantity: int, sku: str = ARMCHAIR, *, at: str = "LON", when: datetime = NOON, lot: str | None = None
) -> GoodsWrittenOff:
    return GoodsWrittenOff(sku=sku, warehouse=at, occurred_at=when, quantity=quantity, lot=lot, reason="expired")


def expected(
    quantity: int,
    sku: str = ARMCHAIR,
    *,
    at: str = "LON",
    arrives: datetime,
    reference: str = "PO-1",
    when: datetime = NOON,
) -> GoodsExpected:
    """Return the announcement of goods that arrive in `at` at `arrives`."""
    return GoodsExpected(
        sku=sku, warehouse=at, occurred_at=when, quantity=quantity, expected_at=arrives, reference=reference
    )


def picked(
    quantity: int,
    sku: str = ARMCHAIR,
    *,
    at: str = "LON",
    when: datetime = NOON,
    order_id: UUID | None = None,
    lot: str | None = None,
) -> GoodsPicked:
    return GoodsPicked(sku=sku, warehouse=at, occurred_at=when, quantity=quantity, order_id=order_id, lot=lot)


def adjusted(delta: int, sku: str = ARMCHAIR, *, at: str = "LON", when: datetime = NOON) -> GoodsAdjusted:
    return GoodsAdjusted(sku=sku, warehouse=at, occurred_at=when, delta=delta, reason="breakage")


def counted(units: int, sku: str = ARMCHAIR, *, at: str = "LON", when: datetime = NOON) -> GoodsCounted:
    return GoodsCounted(sku=sku, warehouse=at, occurred_at=when, counted=units)


def approved(
    *lines: tuple[str, int],
    order_id: UUID | None = None,
    to: Destination = TO_LONDON,
    on_shortage: str = "backorder",
    is_split_allowed: bool = True,
    channel: str = "web",
    collect_at: str | None = None,
    hold_id: UUID | None = None,
    remainder_of: UUID | None = None,
    keeps: Sequence[Allocation] = (),
) -> OrderApproved:
    """Return the request to reserve `lines` (one armchair if there are none)."""
    return OrderApproved(
        order_id=order_id or uuid4(),
        customer_id="17850",
        channel=channel,
        placed_at=NOON,
        lines=[SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in lines or ((ARMCHAIR, 1),)],
        destination=to,
        on_shortage=on_shortage,
        is_split_allowed=is_split_allowed,
        collect_at=collect_at,
        hold_id=hold_id,
        remainder_of=remainder_of,
        keeps=list(keeps),
    )


def cancelled(order_id: UUID) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, reason="changed-mind", stage="approved")


def refused(order_id: UUID) -> OrderRefused:
    return OrderRefused(order_id=order_id, reason="payment-declined")


def dispatched(order_id: UUID, *lines: tuple[str, int], at: str = "LON", when: datetime = NOON) -> ShipmentDispatched:
    return ShipmentDispatched(
        shipment_id=uuid4(),
        order_id=order_id,
        warehouse=at,
        lines=[SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in lines],
        dispatched_at=when,
        tracking_number="NP000000001",
    )


def returned(order_id: UUID, *restocked: tuple[str, int], at: str = "LON", when: datetime = NOON) -> ReturnReceived:
    lines = [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in restocked]
    return ReturnReceived(
        return_id=uuid4(), order_id=order_id, warehouse=at, received_at=when, lines=lines, restocked=lines
    )
