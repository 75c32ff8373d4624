"""Shipments to test with: valid and boring unless said otherwise."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.logistics.domain.geography import Coordinates, Site
from services.logistics.domain.shipment import Line, Shipment

TUESDAY = datetime(2026, 6, 2, 9, 30, tzinfo=UTC)
LONDON = Coordinates(51.51, -0.13)
GLASGOW = Coordinates(55.86, -4.25)


def a_shipment(**changes: Any) -> Shipment:
    """Return a shipment from London to Glasgow, due on the Friday after the Tuesday it was planned."""
    shipment = Shipment(
        id=UUID(int=1),
        order_id=UUID(int=2),
        warehouse="LON",
        origin=Site("GB", LONDON),
        destination=Site("GB", GLASGOW),
        lines=[Line(sku="CRUNCHY-ARMCHAIR", quantity=2)],
        carrier="example-post",
        carrier_service="tracked",
        cost_minor=333,
        currency="GBP",
        transit_days=3,
        decision_id=UUID(int=3),
        planned_at=TUESDAY,
        ready_at=TUESDAY,
        promised_at=datetime(2026, 6, 5, 18, tzinfo=UTC),
        estimated_delivery_at=datetime(2026, 6, 5, 18, tzinfo=UTC),
        version=1,
    )
    return replace(shipment, **changes)
