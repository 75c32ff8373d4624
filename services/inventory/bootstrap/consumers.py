"""The role `consumer`, and what follows the catalog for every role that names alternatives."""

from libs.common.erasure import erasing
from libs.common.events.topics import CATALOG_PRODUCT
from libs.common.messaging.consumer import Consumer, Subscription
from libs.common.messaging.follower import Follower
from services.inventory.bootstrap.adapters import NAME, Adapters
from services.inventory.consumers import intake_subscription, reservations_subscription
from services.inventory.handlers.assortment import PRODUCT_EVENTS, Assortment
from services.inventory.settings import InventorySettings
from services.inventory.storage.erasure import erase_destinations


def build_consumers(settings: InventorySettings, adapters: Adapters) -> list[Consumer]:
    """Construct the members of each consumer group: while one waits for the database, another decides."""
    subscriptions: tuple[Subscription, ...] = (
        erasing(
            reservations_subscription(adapters.tools_of),
            service=NAME,
            erase=lambda request, transaction: erase_destinations(transaction, request.order_ids),
            outbox=lambda transaction: adapters.tools_of(transaction).outbox,
        ),
        intake_subscription(adapters.tools_of, event_age_years_max=settings.event_age_years_max),
    )
    return [
        Consumer(
            subscription,
            service=NAME,
            database=adapters.database,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.kafka_topic_prefix,
            clock=adapters.clock,
        )
        for subscription in subscriptions
        for _ in range(settings.consumer_members)
    ]


def build_assortment_follower(settings: InventorySettings, assortment: Assortment) -> Follower:
    """Construct what keeps the copy of the catalog; nobody waits for it, so that a shop without one loses nothing."""
    return Follower(
        topics=(CATALOG_PRODUCT,),
        events=PRODUCT_EVENTS,
        apply=assortment.apply,
        forget=assortment.forget,
        on_caught_up=assortment.complete,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        client_id=f"{NAME}-assortment",
    )
