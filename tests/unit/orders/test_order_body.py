"""An order is written as its model writes it."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.events.shapes import Shortage
from libs.common.ids import new_id
from services.orders.api.order_body import render_order
from services.orders.api.schemas import OrderResponse
from services.orders.domain.charges import Charge, ChargeKind
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
from services.orders.domain.order import OrderLine, OrderStatus
from services.orders.handlers.queries import LinkedOrder, OrderView, ShipmentView

NOW = datetime(2026, 11, 23, 1, 2, 3, 400_000, UTC)
PLAIN = OrderView(
    id=new_id(),
    version=2,
    revision=1,
    status=OrderStatus.APPROVED,
    status_reason=None,
    deadline_at=NOW + timedelta(minutes=2),
    customer_id='Zoë "Z" \\ \u2028',
    channel="web",
    reference=None,
    currency="GBP",
    total_minor=1_500,
    placed_at=NOW.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
    received_at=NOW.replace(microsecond=0),
    authorised_minor=0,
    captured_minor=0,
    refunded_minor=0,
    voided_minor=0,
    lines=(
        OrderLine(line=1, sku="A", quantity=2, unit_price_minor=500),
        OrderLine(line=2, sku="B", quantity=1, unit_price_minor=0, returned_quantity=1, charged_minor=500),
    ),
)
CHANGES: list[dict[str, Any]] = [
    {},
    {"status": OrderStatus.CANCELLED, "status_reason": "mind-changed", "deadline_at": None, "reference": "r-1"},
    {"origin_id": new_id(), "expected_at": NOW, "on_shortage": "refuse", "captured_minor": 7},
    {"shipments": (ShipmentView(shipment_id=new_id(), warehouse=None, status="planned"),)},
    {"shortages": (Shortage(sku="A", requested=2, available=1),)},
    {"linked_orders": (LinkedOrder(order_id=new_id(), channel="remainder"),)},
    {"charges": (Charge(kind=ChargeKind.SHIPPING, code="standard", amount_minor=499),)},
    {
        "findings": (
            OrderFinding(
                kind=FindingKind.PRICE_UNKNOWN,
                line=1,
                sku="A",
                expected_minor=None,
                offered_minor=500,
                consequence=Consequence.ACCEPT,
            ),
        )
    },
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: ",".join(changes) or "plain")
def test_is_written_as_the_model_writes_it(changes: dict[str, Any]) -> None:
    view = replace(PLAIN, **changes)

    assert render_order(view).decode() == OrderResponse.of(view).render().decode()
