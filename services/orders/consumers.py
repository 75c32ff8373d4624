"""Which events of other services move orders, and how the saga hears them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.decisions import DecisionLog
from libs.common.erasure import beside
from libs.common.events import inventory, logistics, orders
from libs.common.events.base import Envelope, Event
from libs.common.events.customers import CustomerErased
from libs.common.events.outbox import Outbox
from libs.common.events.topics import (
    CATALOG_PRODUCT,
    INVENTORY_RESERVATION,
    LOGISTICS_SHIPMENT,
    ORDERS_ERASURE,
    ORDERS_ORDER,
    ORDERS_PAYMENT,
    ORDERS_RETURN,
)
from libs.common.messaging.consumer import Subscription
from services.orders.domain import messages as on
from services.orders.domain.webhooks import TOLD, TOLD_TOPICS
from services.orders.handlers.edits import advance_edited
from services.orders.handlers.erasures import Erasures, note_answers
from services.orders.handlers.fulfilment import Addressed, Policy, advance_orders
from services.orders.handlers.insights import Following, Journeys
from services.orders.handlers.ports import Unit
from services.orders.handlers.prices import PRODUCT_EVENTS, Prices, follow_catalog
from services.orders.handlers.webhooks import Webhooks, enqueue_events

SAGA: Final = "orders.saga"
NOTIFICATIONS: Final = "orders.notifications"
INSIGHTS: Final = "orders.insights"
PRICES: Final = "orders.prices"

# Nobody waits for what is told and learned afterwards.
_AFTERWARDS_SECONDS: Final = 1.0
_AFTERWARDS_RECORDS_MAX: Final = 4_000

_MESSAGES: Final[Mapping[type[Event], Callable[[Any, int], on.Message]]] = {
    inventory.StockReserved: lambda event, version: on.StockReserved(tuple(event.allocations), version),
    inventory.StockBackordered: lambda event, version: on.StockBackordered(tuple(event.shortages), version),
    inventory.StockPartlyReserved: lambda event, version: on.StockPartlyReserved(
        tuple(event.allocations), tuple(event.missing), version, tuple(event.shortages)
    ),
    inventory.StockChanged: lambda event, version: on.StockChanged(
        event.edit_id, "", (), version, tuple(event.allocations)
    ),
    inventory.StockChangeRefused: lambda event, version: on.StockChangeRefused(
        event.edit_id, event.reason, version, tuple(event.shortages)
    ),
    inventory.StockRejected: lambda event, _: on.StockRejected(event.reason, tuple(event.shortages)),
    logistics.ShipmentPlanned: lambda event, _: on.ShipmentPlanned(event.shipment_id, event.warehouse),
    logistics.ShipmentDispatched: lambda event, _: on.ShipmentDispatched(
        event.shipment_id, event.warehouse, event.dispatched_at
    ),
    logistics.ShipmentDelivered: lambda event, _: on.ShipmentDelivered(event.shipment_id, event.delivered_at),
    logistics.ShipmentFailed: lambda event, _: on.ShipmentFailed(event.shipment_id, event.reason),
    logistics.ShipmentCancelled: lambda event, _: on.ShipmentCancelled(event.shipment_id),
}


class SagaHandler:
    """Applies a batch of the saga's group: all its orders are loaded, moved and stored together."""

    def __init__(self, *, policy: Policy, clock: Clock, bind: Callable[[Transaction], Unit]) -> None:
        """`bind` makes the unit of a batch's transaction."""
        self._policy = policy
        self._clock = clock
        self._bind = bind

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        """Apply the whole batch or raise."""
        messages = [_addressed(envelope) for envelope in batch]
        is_about_edits = any(isinstance(one.message, on.StockChanged | on.StockChangeRefused) for one in messages)
        advance = advance_edited if is_about_edits else advance_orders
        await advance(messages, unit=self._bind(transaction), policy=self._policy, now=self._clock.now())


class PriceHandler:
    """Follows what the catalog asks."""

    def __init__(self, bind: Callable[[Transaction], Prices]) -> None:
        """`bind` makes the history of a batch's transaction."""
        self._bind = bind

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        """Follow the whole batch or raise."""
        await follow_catalog(batch, prices=self._bind(transaction))


class NotificationHandler:
    """Queues what the service has published for those who asked to be told."""

    def __init__(self, *, clock: Clock, bind: Callable[[Transaction], Webhooks]) -> None:
        """`bind` makes the webhooks of a batch's transaction."""
        self._clock = clock
        self._bind = bind

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        """Queue the whole batch or raise."""
        await enqueue_events(batch, webhooks=self._bind(transaction), now=self._clock.now())


# Enough to notice every order, and few enough to cost each little: one of them follows the placing of an order.
_FOLLOWED: Final[tuple[type[Event], ...]] = (
    orders.OrderHeldForReview,
    orders.OrderBackordered,
    orders.OrderConfirmed,
    orders.OrderRefused,
    orders.OrderCancelled,
    orders.OrderShipped,
    orders.OrderDelivered,
    orders.OrderSettled,
    orders.RefundIssued,
    orders.ReturnRequested,
    logistics.ShipmentPlanned,
    logistics.ShipmentScanned,
)


class InsightHandler:
    """Follows orders on their way."""

    def __init__(
        self,
        following: Following,
        *,
        clock: Clock,
        bind: Callable[[Transaction], Journeys],
        outbox: Callable[[Transaction], Outbox],
        decisions: Callable[[Transaction], DecisionLog],
    ) -> None:
        """`bind`, `outbox` and `decisions` make what a batch's transaction writes to."""
        self._following = following
        self._clock = clock
        self._bind = bind
        self._outbox = outbox
        self._decisions = decisions

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        """Follow the whole batch or raise."""
        await self._following.follow(
            batch,
            journeys=self._bind(transaction),
            outbox=self._outbox(transaction),
            decisions=self._decisions(transaction),
            now=self._clock.now(),
        )


def insights(handler: InsightHandler) -> Subscription:
    """Return what is followed; a journey is made anew from what it is about, so duplicates change nothing."""
    return Subscription(
        group=INSIGHTS,
        topics=(ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN, LOGISTICS_SHIPMENT),
        events=_FOLLOWED,
        handle=handler,
        recognises_duplicates=True,
        batch_records_max=_AFTERWARDS_RECORDS_MAX,
        batch_records_plenty=_AFTERWARDS_RECORDS_MAX,
        batch_interval_seconds=_AFTERWARDS_SECONDS,
    )


def notifications(handler: NotificationHandler) -> Subscription:
    """Return what notifications listen to; a delivery is one for each event, so the inbox need not remember it."""
    return Subscription(
        group=NOTIFICATIONS,
        topics=TOLD_TOPICS,
        events=TOLD,
        handle=handler,
        recognises_duplicates=True,
        batch_records_max=_AFTERWARDS_RECORDS_MAX,
        batch_records_plenty=_AFTERWARDS_RECORDS_MAX,
        batch_interval_seconds=_AFTERWARDS_SECONDS,
    )


def prices(handler: PriceHandler) -> Subscription:
    """Return what the history of prices is made of; versions say what it knows already, so it has no inbox."""
    return Subscription(
        group=PRICES, topics=(CATALOG_PRODUCT,), events=PRODUCT_EVENTS, handle=handler, recognises_duplicates=True
    )


def erasure_answers(
    subscription: Subscription, *, clock: Clock, bind: Callable[[Transaction], Erasures]
) -> Subscription:
    """Let a group note besides what services have erased."""

    async def handle(batch: Sequence[Envelope], transaction: Transaction) -> None:
        answers = [envelope.event for envelope in batch if isinstance(envelope.event, CustomerErased)]
        await note_answers(answers, erasures=bind(transaction), now=clock.now())

    return beside(subscription, topic=ORDERS_ERASURE, event=CustomerErased, handle=handle)


def saga(handler: SagaHandler) -> Subscription:
    """Return what the saga listens to."""
    return Subscription(
        group=SAGA,
        topics=(INVENTORY_RESERVATION, LOGISTICS_SHIPMENT),
        events=tuple(_MESSAGES),
        handle=handler,
    )


def _addressed(envelope: Envelope) -> Addressed:
    event: Any = envelope.event
    return Addressed(event.order_id, _MESSAGES[type(event)](event, envelope.aggregate_version or 0), envelope)
