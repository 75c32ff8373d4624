"""Waiting until nothing moves any more: then the databases can be compared with each other."""

import asyncio
import math
from dataclasses import dataclass

import asyncpg
from aiokafka.errors import KafkaError

from bench.replay.bus import consumer_lag
from bench.replay.databases import open_databases
from bench.replay.progress import Steps
from bench.replay.settings import ReplaySettings
from bench.replay.topology import GROUPS, PUBLISHERS
from libs.common.clock import Clock

# What it looks like when PostgreSQL or Kafka is away: expected while a test kills them.
FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError)

# Parcels take days of compressed time, and payments that answer late a minute or so.
TIMEOUT_SECONDS = 300.0
_LOOK_SECONDS = 1.0
# An event between two services is for a moment in no outbox and behind no group's position.
_QUIET_LOOKS_MIN = 3

# Stages that end by themselves within the simulated days; the others rest until somebody acts.
_MOVING_ORDERS = """
SELECT count(*) FROM orders
WHERE status NOT IN ('settled', 'refused', 'cancelled', 'backordered', 'held')
"""
# A refund is owed until the provider has carried it out.
_OPEN_PAYMENTS = "SELECT count(*) FROM payment_commands WHERE status IN ('waiting', 'pending')"
_OUTBOX = "SELECT count(*) FROM outbox_events"


@dataclass(frozen=True, slots=True)
class Movement:
    """What is still under way."""

    orders: int
    payments: int
    outbox_events: int
    lag_records: int

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is."""
        return self.total == 0

    @property
    def total(self) -> int:
        """Return how much it is, of whatever kind."""
        return self.orders + self.payments + self.outbox_events + self.lag_records

    def __str__(self) -> str:
        return (
            f"{self.orders:,} orders and {self.payments:,} payments under way,"
            f" {self.outbox_events:,} events in outboxes, {self.lag_records:,} records of lag"
        )


async def wait_until_quiet(
    settings: ReplaySettings,
    *,
    steps: Steps,
    clock: Clock,
    timeout_seconds: float = TIMEOUT_SECONDS,
    is_patient: bool = False,
) -> Movement:
    """
    Return as soon as nothing moves, or what still moves when the time is up; a server may be away for a while.

    Who is patient begins to count the time anew whenever what moves has become less: a backlog that a slow machine
    works off takes as long as it takes.
    """
    gives_up_at = clock.monotonic_seconds() + timeout_seconds
    quiet_looks, least = 0, math.inf
    with steps.step("Waiting for the last parcels") as step:
        while True:
            is_time_up = clock.monotonic_seconds() >= gives_up_at
            try:
                movement = await _look(settings)
            except FAULTS as fault:
                if is_time_up:
                    raise
                quiet_looks = 0
                step.note(f"the stack does not answer ({type(fault).__name__})")
            else:
                if is_patient and movement.total < least:
                    least = movement.total
                    gives_up_at = clock.monotonic_seconds() + timeout_seconds
                    is_time_up = False
                quiet_looks = quiet_looks + 1 if movement.is_quiet else 0
                if quiet_looks >= _QUIET_LOOKS_MIN or is_time_up:
                    return movement
                step.note(str(movement))
            await asyncio.sleep(_LOOK_SECONDS)


async def _look(settings: ReplaySettings) -> Movement:
    lag = await consumer_lag(
        {name: group.topics for name, group in GROUPS.items()},
        bootstrap_servers=settings.quayside_kafka_bootstrap_servers,
        topic_prefix=settings.quayside_kafka_topic_prefix,
    )
    # Opened for each look: whatever was killed meanwhile, the next look finds it again.
    async with open_databases(settings) as databases:
        return Movement(
            orders=await databases["orders"].fetchval(_MOVING_ORDERS),
            payments=await databases["orders"].fetchval(_OPEN_PAYMENTS),
            outbox_events=sum([await databases[name].fetchval(_OUTBOX) for name in PUBLISHERS]),
            lag_records=sum(lag.values()),
        )
