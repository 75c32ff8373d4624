"""What the recommender learns from, and the topics it keeps copies of."""

from collections.abc import Awaitable, Callable, Sequence

from libs.common.db import Transaction
from libs.common.erasure import beside
from libs.common.events.base import Envelope
from libs.common.events.catalog import (
    ProductChanged,
    ProductDelisted,
    ProductListed,
    ProductPriceChanged,
)
from libs.common.events.customers import CustomerErasureRequested
from libs.common.events.inventory import StockLevelChanged
from libs.common.events.topics import (
    CATALOG_PRODUCT,
    INVENTORY_STOCK,
    ORDERS_CUSTOMER,
    ORDERS_ORDER,
    STOREFRONT_BEHAVIOUR,
)
from libs.common.messaging.consumer import Subscription
from libs.common.messaging.follower import Follower
from libs.common.privacy import Pseudonyms
from services.recommender import metrics
from services.recommender.domain.people import with_known_people
from services.recommender.domain.shelf import Shelf
from services.recommender.handlers.learning import LEARNED_FROM, learn
from services.recommender.handlers.ports import Counts

BEHAVIOUR_GROUP = "recommender.behaviour"
# A large order has 1,225 pairs and each is written twice: a hundred of them must fit into one transaction.
_TRANSACTION_EVENTS_MAX = 100
# Most of an order's events teach nothing.
_BATCH_RECORDS_MAX = 2_000
# A click shows in what is recommended within a moment, not within an instant.
_BATCH_INTERVAL_SECONDS = 0.4
# What is sold out goes from the recommendations as soon.
_STOCK_INTERVAL_SECONDS = 0.25

_PRODUCT_EVENTS = (ProductListed, ProductChanged, ProductPriceChanged, ProductDelisted)


def behaviour_subscription(
    counts_in: Callable[[Transaction], Counts],
    *,
    pseudonyms: Pseudonyms | None = None,
    erase: Callable[[CustomerErasureRequested, Transaction], Awaitable[None]] | None = None,
) -> Subscription:
    """Return the subscription that counts behaviour and orders, and forgets people."""
    known = pseudonyms or Pseudonyms.local()

    async def handle(batch: Sequence[Envelope], transaction: Transaction) -> None:
        events = [with_known_people(envelope.event, known) for envelope in batch]
        await learn(events, counts=counts_in(transaction))

    async def forget(batch: Sequence[Envelope], transaction: Transaction) -> None:
        for envelope in batch:
            if erase is not None and isinstance(envelope.event, CustomerErasureRequested):
                await erase(envelope.event, transaction)

    group = Subscription(
        group=BEHAVIOUR_GROUP,
        topics=(STOREFRONT_BEHAVIOUR, ORDERS_ORDER),
        events=LEARNED_FROM,
        handle=handle,
        transaction_events_max=_TRANSACTION_EVENTS_MAX,
        batch_records_max=_BATCH_RECORDS_MAX,
        batch_records_plenty=_BATCH_RECORDS_MAX,
        batch_interval_seconds=_BATCH_INTERVAL_SECONDS,
    )
    if erase is None:
        return group
    return beside(group, topic=ORDERS_CUSTOMER, event=CustomerErasureRequested, handle=forget)


def stock_follower(shelf: Shelf, *, bootstrap_servers: str, topic_prefix: str) -> Follower:
    """Return the follower that keeps the shelf's stock."""
    known = metrics.followed_skus.labels("stock")

    def apply(envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, StockLevelChanged):
            units = sum(level.on_hand - level.reserved for level in event.levels)
            shelf.set_available(event.sku, units, version=envelope.aggregate_version or 0)
            known.set(shelf.stocked_skus)

    return Follower(
        topics=(INVENTORY_STOCK,),
        events=(StockLevelChanged,),
        apply=apply,
        bootstrap_servers=bootstrap_servers,
        topic_prefix=topic_prefix,
        client_id="recommender-stock",
        interval_seconds=_STOCK_INTERVAL_SECONDS,
    )


def listing_follower(shelf: Shelf, *, bootstrap_servers: str, topic_prefix: str) -> Follower:
    """Return the follower that keeps what is listed."""
    known = metrics.followed_skus.labels("listed")

    def apply(envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, _PRODUCT_EVENTS):
            shelf.set_listed(event.sku, is_listed=event.is_listed, version=envelope.aggregate_version or 0)
            known.set(shelf.listed_skus)

    return Follower(
        topics=(CATALOG_PRODUCT,),
        events=_PRODUCT_EVENTS,
        apply=apply,
        bootstrap_servers=bootstrap_servers,
        topic_prefix=topic_prefix,
        client_id="recommender-listing",
    )
