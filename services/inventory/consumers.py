"""Which events inventory consumes, in which group, and what it does with them."""

from collections.abc import Callable, Sequence
from typing import Final

from libs.common.db import Transaction
from libs.common.events.base import Envelope
from libs.common.events.logistics import ShipmentDispatched
from libs.common.events.orders import (
    OrderApproved,
    OrderCancelled,
    OrderEditRequested,
    OrderRefused,
    ReturnInspected,
    ReturnReceived,
)
from libs.common.events.topics import INVENTORY_WAREHOUSE, LOGISTICS_SHIPMENT, ORDERS_ORDER, ORDERS_RETURN
from libs.common.messaging.consumer import Refusals, Subscription
from services.inventory import metrics
from services.inventory.domain.stock_events import REPORTS
from services.inventory.handlers.order_events import apply_order_events
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.stock_events import apply_stock_events

RESERVATIONS_GROUP: Final = "inventory.reservations"
INTAKE_GROUP: Final = "inventory.intake"
# Larger batches gain little and hold their locks for longer: a quarter of a second, behind a backlog.
_ORDER_EVENTS_MAX: Final = 4_000
_STOCK_EVENTS_MAX: Final = 4_000

ToolsOf = Callable[[Transaction], Tools]


def reservations_subscription(tools_of: ToolsOf) -> Subscription:
    """Follow orders from approval to shipment and return."""

    async def handle(batch: Sequence[Envelope], transaction: Transaction) -> None:
        desk = await apply_order_events(batch, tools=tools_of(transaction))
        transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))

    return Subscription(
        group=RESERVATIONS_GROUP,
        topics=(ORDERS_ORDER, LOGISTICS_SHIPMENT, ORDERS_RETURN),
        events=(
            OrderApproved,
            OrderEditRequested,
            OrderCancelled,
            OrderRefused,
            ShipmentDispatched,
            ReturnReceived,
            ReturnInspected,
        ),
        handle=handle,
        batch_records_max=_ORDER_EVENTS_MAX,
        # By the reservation, and by the ledger what was shipped or came back.
        recognises_duplicates=True,
    )


def intake_subscription(tools_of: ToolsOf, *, event_age_years_max: int) -> Subscription:
    """Take in what warehouses produce to the bus themselves."""

    async def handle(batch: Sequence[Envelope], transaction: Transaction) -> Refusals:
        applied = await apply_stock_events(batch, tools=tools_of(transaction), age_years_max=event_age_years_max)

        def count() -> None:
            metrics.count_outcomes(applied.outcomes, sold_out=applied.sold_out)
            metrics.count_stock_events(applied.tally(batch), way_in="kafka")

        transaction.after_commit(count)
        return applied.refusals(batch)

    return Subscription(
        group=INTAKE_GROUP,
        topics=(INVENTORY_WAREHOUSE,),
        events=REPORTS,
        handle=handle,
        unknown_types="dead-letter",
        batch_records_max=_STOCK_EVENTS_MAX,
        # By the ledger, as it must for events that come over HTTP.
        recognises_duplicates=True,
    )
