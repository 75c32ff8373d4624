"""Puts a process together for the roles it was asked for."""

from collections.abc import Callable

from libs.common.clock import SystemClock
from libs.common.http.health import Health
from libs.common.outbox import relay_of
from libs.common.runtime import Process
from services.orders.bootstrap.api import add_api
from services.orders.bootstrap.consumers import add_consumers
from services.orders.bootstrap.erasures import add_erasing
from services.orders.bootstrap.insights import add_insights
from services.orders.bootstrap.jobs import add_jobs
from services.orders.bootstrap.notifications import add_notifications
from services.orders.bootstrap.parts import NAME, data_keys, database_of
from services.orders.bootstrap.policies import policy_of
from services.orders.settings import OrdersSettings
from services.orders.storage.erasures import PostgresErasureUnits
from services.orders.storage.unit import PostgresUnits


def build(settings: OrdersSettings, roles: frozenset[str]) -> Process:
    """Put together the parts that `roles` need; nothing connects before it runs."""
    clock = SystemClock()
    database = database_of(settings, NAME, settings.database_pool_size)
    process = Process(health=Health(clock=clock), closers=[database.dispose])
    process.health.add("database", database.is_reachable)
    wake_relay: Callable[[], None] | None = None
    if "relay" in roles:
        relay = relay_of(NAME, settings, clock)
        wake_relay = relay.wake
        process.components.append(relay)
    pseudonyms = data_keys(settings).pseudonyms
    units = PostgresUnits(database, clock=clock, pseudonyms=pseudonyms, wake_relay=wake_relay)
    erasure_units = PostgresErasureUnits(database, clock=clock, wake_relay=wake_relay)
    policy = policy_of(settings)
    if "jobs" in roles:
        policy = add_jobs(process, settings=settings, database=database, units=units, policy=policy, clock=clock)
        add_erasing(process, settings=settings, units=erasure_units, pseudonyms=pseudonyms, clock=clock)
    if "consumer" in roles:
        add_consumers(process, settings=settings, database=database, units=units, policy=policy, clock=clock)
    if "notifications" in roles:
        add_notifications(process, settings=settings, database=database, clock=clock)
    if "insights" in roles:
        add_insights(process, settings=settings, database=database, clock=clock)
    if "api" in roles:
        add_api(
            process,
            settings=settings,
            database=database,
            units=units,
            erasure_units=erasure_units,
            pseudonyms=pseudonyms,
            policy=policy,
            clock=clock,
        )
    return process
