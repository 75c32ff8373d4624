"""What must hold of events: none lost on its way to the bus, none with no effect, none with two."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import asyncpg

from bench.replay.bus import TopicReading
from bench.replay.databases import Databases
from bench.replay.topology import AGGREGATES, GROUPS, PUBLISHERS, Aggregate
from bench.replay.verdict import Verdict
from libs.common.events.topics import INVENTORY_WAREHOUSE, ORDERS_ORDER

_OUTBOX = "SELECT count(*) FROM outbox_events"
_ASKED_FOR = "SELECT order_id::text FROM reservations"
_BOOKED = "SELECT DISTINCT event_id FROM stock_movements"
_INBOX = "SELECT event_id FROM inbox_events WHERE consumer_group = $1"
# By what an event did and not by the ledger's key: a second effect under another number would show.
_BOOKED_TWICE = """
SELECT count(*) FROM (
    SELECT event_id FROM stock_movements WHERE kind <> 'shortfall'
    GROUP BY event_id, kind, sku, warehouse HAVING count(*) > 1
) AS twice
"""


async def event_verdicts(
    databases: Databases, *, readings: Mapping[str, TopicReading], lag: Mapping[str, int], dead_letters: int
) -> list[Verdict]:
    """Judge the bus against the databases on both of its sides."""
    return [
        await _outboxes(databases),
        _gaps(readings),
        await _versions(databases, readings),
        await _covered(databases, readings),
        await _booked_twice(databases["inventory"]),
        Verdict("no consumer is behind", not any(lag.values()), f"{sum(lag.values()):,} records of lag"),
        Verdict(
            "no event was set aside as undecodable or failing", dead_letters == 0, f"{dead_letters:,} dead letters"
        ),
    ]


async def _outboxes(databases: Databases) -> Verdict:
    pending = sum([await databases[service].fetchval(_OUTBOX) for service in PUBLISHERS])
    return Verdict("no event lost: the outboxes are empty", pending == 0, f"{pending:,} events in {len(PUBLISHERS)}")


def _gaps(readings: Mapping[str, TopicReading]) -> Verdict:
    # Compaction keeps only the last version of a key, so there the gaps are meant.
    counted = [reading for reading in readings.values() if not reading.topic.is_compacted]
    gaps = sum(len(reading.gaps()) for reading in counted)
    clashes = sum(len(reading.clashes) for reading in readings.values())
    aggregates = sum(len(reading.versions) for reading in counted)
    return Verdict(
        "no event lost: the versions of every aggregate have no gap and no double",
        gaps == clashes == 0,
        f"{aggregates:,} aggregates, {gaps:,} with a gap, {clashes:,} with a double",
    )


async def _versions(databases: Databases, readings: Mapping[str, TopicReading]) -> Verdict:
    off = compared = 0
    for aggregate in AGGREGATES:
        stored = await _stored_versions(databases[aggregate.service], aggregate)
        reading = readings[aggregate.topic.name]
        subjects = stored.keys() | reading.versions.keys()
        compared += len(subjects)
        off += sum(stored.get(subject, 0) != reading.latest_version(subject) for subject in subjects)
    return Verdict(
        "no event lost: the last version on the bus is the database's",
        off == 0,
        f"{compared:,} aggregates, {off:,} differ",
    )


async def _stored_versions(database: asyncpg.Connection, aggregate: Aggregate) -> dict[str, int]:
    return {row["subject"]: row["version"] for row in await database.fetch(aggregate.versions)}


async def _covered(databases: Databases, readings: Mapping[str, TopicReading]) -> Verdict:
    expected = missing = 0
    inventory = databases["inventory"]
    asked_for = {row["order_id"] for row in await inventory.fetch(_ASKED_FOR)}
    approved = readings[ORDERS_ORDER.name].subjects("order.approved")
    booked = {row["event_id"] for row in await inventory.fetch(_BOOKED)}
    reported = readings[INVENTORY_WAREHOUSE.name].event_ids.get("goods.received", set())
    expected += len(approved) + len(reported)
    missing += len(approved - asked_for) + len(reported - booked)
    for name, group in GROUPS.items():
        rows = await databases[group.service].fetch(_INBOX, name)
        handled = {row["event_id"] for row in rows}
        on_the_bus = _events_of((readings[topic.name] for topic in group.topics), group.types)
        expected += len(on_the_bus)
        missing += len(on_the_bus - handled)
    return Verdict(
        "every event on the bus had its effect in every group",
        missing == 0,
        f"{expected:,} effects due, {missing:,} missing",
    )


def _events_of(readings: Iterable[TopicReading], types: Iterable[str]) -> set[UUID]:
    wanted = tuple(types)
    return {event_id for reading in readings for one in wanted for event_id in reading.event_ids.get(one, ())}


async def _booked_twice(inventory: asyncpg.Connection) -> Verdict:
    twice = await inventory.fetchval(_BOOKED_TWICE)
    return Verdict("no effect twice: no event is in the ledger more than once", twice == 0, f"{twice:,} events twice")
