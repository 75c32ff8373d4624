"""One effect per event: the inbox row is written in the same transaction as the effect."""

from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from uuid import UUID

from libs.common.db import Transaction
from libs.common.events.base import Envelope

# Longer than any topic keeps its records, so that a full replay of the bus is still recognised.
RETENTION = timedelta(days=45)

_CLAIM = """
INSERT INTO inbox_events (consumer_group, event_id)
SELECT $1, event_id FROM unnest($2::uuid[]) AS event_id
ON CONFLICT DO NOTHING RETURNING event_id
"""
_IS_CLAIMED = "SELECT EXISTS (SELECT FROM inbox_events WHERE consumer_group = $1 AND event_id = $2)"
_PURGE = "DELETE FROM inbox_events WHERE processed_at < now() - $1::interval"


async def claim_new(transaction: Transaction, *, group: str, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Return the envelopes that `group` has not handled before, in order, and mark them as handled."""
    driver = await transaction.driver()
    # Sorted, so that two members that hold the same events after a rebalance cannot deadlock; by number, which does
    # not enter Python for each comparison.
    ids = sorted({envelope.id for envelope in envelopes}, key=attrgetter("int"))
    rows = await driver.fetch(_CLAIM, group, ids)
    new_ids = {row["event_id"] for row in rows}
    fresh = []
    for envelope in envelopes:
        if envelope.id in new_ids:
            new_ids.remove(envelope.id)
            fresh.append(envelope)
    return fresh


async def is_claimed(transaction: Transaction, *, group: str, event_id: UUID) -> bool:
    """Whether `group` has handled an event."""
    driver = await transaction.driver()
    return bool(await driver.fetchval(_IS_CLAIMED, group, event_id))


async def purge(transaction: Transaction) -> None:
    """Forget events that no topic holds any more."""
    driver = await transaction.driver()
    await driver.execute(_PURGE, RETENTION)
