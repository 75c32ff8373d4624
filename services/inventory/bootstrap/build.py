"""Puts a process together for the roles it was asked for."""

from typing import Final

from libs.common.clock import SystemClock
from libs.common.db import Database
from libs.common.http.health import Health
from libs.common.outbox import relay_of
from libs.common.runtime import Process
from services.inventory.bootstrap.adapters import NAME, Adapters
from services.inventory.bootstrap.api import build_api
from services.inventory.bootstrap.auditor import build_auditor
from services.inventory.bootstrap.consumers import build_assortment_follower, build_consumers
from services.inventory.bootstrap.jobs import build_jobs
from services.inventory.bootstrap.policies import allocation_policy_of, alternatives_policy_of
from services.inventory.domain.counts import CountLimits
from services.inventory.handlers.assortment import Assortment
from services.inventory.settings import InventorySettings

# Whatever tells an order that it is short may do so in one of these.
_NAMING_ALTERNATIVES: Final = frozenset({"api", "consumer", "jobs"})


def build(settings: InventorySettings, roles: frozenset[str]) -> Process:
    """Construct what `roles` need; nothing connects before it runs."""
    clock = SystemClock()
    health = Health()
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=f"{NAME}-{'-'.join(sorted(roles))}",
        pool_size=settings.database_pool_size,
    )
    process = Process(health=health, closers=[database.dispose])
    health.add("database", database.is_reachable)
    relay = relay_of(NAME, settings, clock) if "relay" in roles else None
    if relay is not None:
        process.components.append(relay)
    adapters = Adapters(
        database=database,
        clock=clock,
        wake_relay=relay.wake if relay else None,
        allocation=allocation_policy_of(settings),
        count_limits=CountLimits(
            units=settings.count_limit_units,
            share=settings.count_limit_share,
            value_minor=settings.count_limit_value_minor,
        ),
        assortment=Assortment(alternatives_policy_of(settings)),
        refuses_unknown_skus=settings.refuses_unknown_skus,
    )
    if (settings.alternatives_max or settings.refuses_unknown_skus) and roles & _NAMING_ALTERNATIVES:
        process.components.append(build_assortment_follower(settings, adapters.assortment))
    if "api" in roles:
        process.components.extend(build_api(settings, adapters, health))
    if "consumer" in roles:
        for consumer in build_consumers(settings, adapters):
            process.components.append(consumer)
            process.watchdogs.append(consumer.check_progress)
    if "jobs" in roles:
        process.components.extend(build_jobs(settings, adapters))
    if "auditor" in roles:
        process.components.extend(build_auditor(settings, adapters))
    return process
