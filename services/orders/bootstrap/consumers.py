"""The role `consumer`: what the saga is told, and the prices of the catalog."""

from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.runtime import Process
from services.orders.bootstrap.parts import consumer_of
from services.orders.consumers import PriceHandler, SagaHandler, erasure_answers, prices, saga
from services.orders.handlers.fulfilment import Policy
from services.orders.settings import OrdersSettings
from services.orders.storage.erasures import PostgresErasures
from services.orders.storage.prices import PostgresPrices
from services.orders.storage.unit import PostgresUnits


def add_consumers(
    process: Process,
    *,
    settings: OrdersSettings,
    database: Database,
    units: PostgresUnits,
    policy: Policy,
    clock: Clock,
) -> None:
    """Add a member of the saga's consumer group, and one of the group that follows the catalog's prices."""
    of_saga = saga(SagaHandler(policy=policy, clock=clock, bind=units.bind))
    for subscription in (
        erasure_answers(of_saga, clock=clock, bind=PostgresErasures),
        prices(PriceHandler(PostgresPrices)),
    ):
        consumer = consumer_of(subscription, settings, database, clock=clock)
        process.components.append(consumer)
        process.watchdogs.append(consumer.check_progress)
