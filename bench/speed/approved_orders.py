"""Orders that ask for stock: the same for the service and for its limits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from bench.speed.stock_world import PLACES, skus
from libs.common.events.base import Envelope
from libs.common.events.orders import OrderApproved
from libs.common.events.shapes import Destination, SkuQuantity
from libs.common.ids import new_id

_BEGINNING: Final = datetime(2025, 1, 2, tzinfo=UTC)
_UNITS_MAX: Final = 3


class Wanted(NamedTuple):
    """What an order wants, and the warehouse next to it."""

    event_id: UUID
    order_id: UUID
    warehouse: str
    lines: list[tuple[str, int]]
    approved_at: datetime


def wanted_orders(count: int, *, sku_count: int, lines: int, seed: int) -> Iterator[Wanted]:
    """Yield orders of `lines` different SKUs, one to three units of each, that go to where a warehouse is."""
    random = Random(seed)  # noqa: S311 - a draw of data, the same in every run
    names = skus(sku_count)
    warehouses = list(PLACES)
    for number in range(count):
        yield Wanted(
            event_id=new_id(),
            order_id=new_id(),
            warehouse=random.choice(warehouses),
            lines=[(sku, random.randint(1, _UNITS_MAX)) for sku in random.sample(names, lines)],
            approved_at=_BEGINNING + timedelta(milliseconds=number),
        )


def as_event(wanted: Wanted) -> Envelope:
    """Return the event that asks inventory for the stock of an order."""
    latitude, longitude = PLACES[wanted.warehouse]
    return Envelope(
        id=wanted.event_id,
        event=OrderApproved(
            order_id=wanted.order_id,
            customer_id="customer",
            channel="web",
            placed_at=wanted.approved_at,
            lines=[SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in wanted.lines],
            destination=Destination(country="NL", latitude=latitude, longitude=longitude),
        ),
        time=wanted.approved_at,
        source="orders",
        aggregate_version=1,
        correlation_id=str(wanted.order_id),
    )
