"""The numbers of warehouses' reports in PostgreSQL: what was received is one multirange for each warehouse."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.sequences import (
    GAPS_KEPT_MAX,
    GAPS_MAX,
    Gap,
    GapSummary,
    NotMissing,
    SequenceConflict,
    SequenceState,
)
from services.inventory.storage.ledger_feed import SettledLedger, locked_position, move_position

FOLLOWER: Final = "sequences"
_MOVEMENTS_MAX: Final = 200_000

_CONFLICTS_SHOWN_MAX: Final = 50
_CONFLICTING_EVENTS_SHOWN_MAX: Final = 20

# Below the highest number, whatever was not received is missing; a number that was there before, or twice among these,
# may be a conflict. Sets of numbers are compared as sets: looked up one by one, each would unpack all of a warehouse's.
_RECEIVE: Final = """
WITH counted AS (
    UPDATE numbered_announcements SET is_counted = true WHERE NOT is_counted AND $3 RETURNING warehouse, sequence
),
events AS MATERIALIZED (
    SELECT warehouse, sequence FROM stock_movements
    WHERE id > $1 AND id <= $2 AND leg = 0 AND sequence IS NOT NULL
    UNION ALL
    SELECT warehouse, sequence FROM counted
),
reported AS (
    SELECT warehouse, range_agg(int8range(sequence, sequence, '[]')) AS numbers FROM events GROUP BY warehouse
),
saved AS (
    INSERT INTO warehouse_sequences AS known (warehouse, received)
    SELECT warehouse, numbers FROM reported ORDER BY warehouse
    ON CONFLICT (warehouse) DO UPDATE SET received = known.received + excluded.received
    RETURNING warehouse, old.received AS before
),
repeated AS (
    SELECT warehouse, sequence FROM events WHERE $3 GROUP BY warehouse, sequence HAVING count(*) > 1
    UNION
    SELECT warehouse, generate_series(lower(again), upper(again) - 1)
    FROM saved JOIN reported USING (warehouse), unnest(numbers * before) AS again WHERE $3
)
SELECT warehouse, array_remove(array_agg(sequence), NULL) AS repeated
FROM saved LEFT JOIN repeated USING (warehouse) GROUP BY warehouse
"""
_ANNOUNCED: Final = "SELECT EXISTS (SELECT FROM numbered_announcements WHERE NOT is_counted)"
# The numbers below those of the newest gaps count as received.
_GIVE_UP: Final = """
WITH gaps AS (
    SELECT warehouse, missing, row_number() OVER (PARTITION BY warehouse ORDER BY missing DESC) AS place
    FROM warehouse_sequences,
         unnest(int8multirange(int8range(1, upper(received))) - received) AS missing
    WHERE warehouse = ANY($1::text[])
),
excess AS (
    SELECT warehouse, range_agg(missing) AS missing, sum(upper(missing) - lower(missing)) AS numbers
    FROM gaps WHERE place > $2 GROUP BY warehouse
)
UPDATE warehouse_sequences SET received = received + excess.missing, given_up = given_up + excess.numbers
FROM excess WHERE warehouse_sequences.warehouse = excess.warehouse
"""
# What is left of a gap is as old as the gap was; one that no gap covered, as the number that came behind it.
_SAVE_GAPS: Final = """
WITH missing AS (
    SELECT warehouse, first, last FROM (
        SELECT warehouse, lower(missing) AS first, upper(missing) - 1 AS last,
               row_number() OVER (PARTITION BY warehouse ORDER BY missing) AS place
        FROM warehouse_sequences,
             unnest(int8multirange(int8range(1, upper(received))) - received) AS missing
        WHERE warehouse = ANY($1::text[])
    ) AS gaps WHERE place <= $2
),
closed AS (
    DELETE FROM sequence_gaps USING unnest($1::text[]) AS changed (warehouse)
    WHERE sequence_gaps.warehouse = changed.warehouse
        AND NOT EXISTS (SELECT FROM missing WHERE (missing.warehouse, missing.first) =
                                                  (sequence_gaps.warehouse, sequence_gaps.first))
)
INSERT INTO sequence_gaps AS known (warehouse, first, last, since)
SELECT warehouse, first, last, coalesce((
    SELECT min(since) FROM sequence_gaps AS before
    WHERE before.warehouse = missing.warehouse AND before.first <= missing.last AND before.last >= missing.first
), (
    SELECT min(recorded_at) FROM stock_movements AS behind
    WHERE behind.warehouse = missing.warehouse AND behind.sequence = missing.last + 1
), (
    SELECT min(recorded_at) FROM numbered_announcements AS behind
    WHERE behind.warehouse = missing.warehouse AND behind.sequence = missing.last + 1
), $3)
FROM missing
ON CONFLICT (warehouse, first) DO UPDATE SET last = excluded.last WHERE known.last <> excluded.last
"""
_SAVE_CONFLICTS: Final = """
INSERT INTO sequence_conflicts (warehouse, sequence, latest_at)
SELECT warehouse, sequence, $3
FROM unnest($1::text[], $2::bigint[]) AS repeated (warehouse, sequence)
WHERE (
    SELECT count(DISTINCT event_id) FROM stock_movements AS booked
    WHERE booked.warehouse = repeated.warehouse AND booked.sequence = repeated.sequence
) + (
    SELECT count(*) FROM numbered_announcements AS announced
    WHERE announced.warehouse = repeated.warehouse AND announced.sequence = repeated.sequence
) > 1
ORDER BY warehouse, sequence
ON CONFLICT (warehouse, sequence) DO UPDATE SET latest_at = excluded.latest_at
"""
_STATE: Final = """
SELECT upper(received) - 1 AS highest, given_up, missing
FROM warehouse_sequences, LATERAL (
    SELECT coalesce(sum(upper(gap) - lower(gap)), 0)::bigint AS missing
    FROM unnest(int8multirange(int8range(1, upper(received))) - received) AS gap
) AS missing
WHERE warehouse = $1
"""
_GAPS: Final = """
SELECT first, last, since FROM sequence_gaps WHERE warehouse = $1 AND first > $2 ORDER BY first LIMIT $3
"""
_CONFLICTS: Final = """
SELECT sequence, latest_at, ARRAY(
    SELECT event_id FROM stock_movements AS booked
    WHERE booked.warehouse = $1 AND booked.sequence = sequence_conflicts.sequence
    UNION
    SELECT event_id FROM numbered_announcements AS announced
    WHERE announced.warehouse = $1 AND announced.sequence = sequence_conflicts.sequence
    ORDER BY event_id LIMIT $3
) AS event_ids
FROM sequence_conflicts WHERE warehouse = $1 ORDER BY latest_at DESC, sequence DESC LIMIT $2
"""
_LOCK: Final = "SELECT 1 FROM warehouse_sequences WHERE warehouse = $1 FOR UPDATE"
_ACCEPT: Final = """
WITH missing AS (
    SELECT (int8multirange(int8range(1, upper(received))) - received)
           * int8multirange(int8range($2, $3, '[]')) AS numbers
    FROM warehouse_sequences WHERE warehouse = $1
),
accepted AS (
    INSERT INTO sequence_acceptances (warehouse, first, last, missing, reason, accepted_by, accepted_at)
    SELECT $1, $2, $3, (SELECT sum(upper(gap) - lower(gap)) FROM unnest(numbers) AS gap), $4, $5, $6
    FROM missing WHERE NOT isempty(numbers)
)
UPDATE warehouse_sequences SET received = received + numbers
FROM missing WHERE warehouse = $1 AND NOT isempty(numbers)
"""
_SUMMARIES: Final = """
SELECT warehouse, missing, oldest_since, coalesce(conflicts, 0) AS conflicts
FROM warehouse_sequences
CROSS JOIN LATERAL (
    SELECT coalesce(sum(upper(gap) - lower(gap)), 0)::bigint AS missing
    FROM unnest(int8multirange(int8range(1, upper(received))) - received) AS gap
) AS missing
LEFT JOIN (
    SELECT warehouse, min(since) AS oldest_since FROM sequence_gaps GROUP BY warehouse
) AS gaps USING (warehouse)
LEFT JOIN (
    SELECT warehouse, count(*) AS conflicts FROM sequence_conflicts GROUP BY warehouse
) AS conflicts USING (warehouse)
ORDER BY warehouse
"""


class PostgresSequences:
    """The numbers of warehouses' reports, in one transaction."""

    def __init__(self, transaction: Transaction, ledger: SettledLedger) -> None:
        """Work in `transaction`; `ledger` outlives it."""
        self._transaction = transaction
        self._ledger = ledger

    async def catch_up(self, now: datetime, *, is_fresh: bool = False) -> bool:
        """
        Take in the numbers of what was booked and is settled in the ledger since the last time.

        To be `is_fresh`, what is not settled yet is taken in as well, and once more when it is: a number that was
        received is received. Return whether more is settled.
        """
        driver = await self._transaction.driver()
        position = await locked_position(driver, FOLLOWER)
        settled_id = await self._ledger.advance(driver)
        until_id = max(position, min(position + _MOVEMENTS_MAX, settled_id))
        if until_id > position or await driver.fetchval(_ANNOUNCED):
            rows = await driver.fetch(_RECEIVE, position, until_id, True)  # noqa: FBT003 - a column of the statement
            if repeated := [(row["warehouse"], number) for row in rows for number in row["repeated"]]:
                await driver.execute(_SAVE_CONFLICTS, [code for code, _ in repeated], [one for _, one in repeated], now)
            await _save_gaps(driver, [row["warehouse"] for row in rows], now)
            await move_position(driver, FOLLOWER, until_id)
        if is_fresh and self._ledger.last_id > until_id:
            rows = await driver.fetch(_RECEIVE, until_id, self._ledger.last_id, False)  # noqa: FBT003
            await _save_gaps(driver, [row["warehouse"] for row in rows], now)
        return until_id < settled_id

    async def accept(
        self, warehouse: str, *, first: int, last: int, reason: str, accepted_by: str, accepted_at: datetime
    ) -> None:
        """
        Take the missing numbers from `first` to `last` for lost: nobody waits for them any more.

        :raises NotMissing: if none of them is missing.
        """
        driver = await self._transaction.driver()
        # The same lock as that of catching up, which comes first.
        await driver.execute(_LOCK, warehouse)
        tag = await driver.execute(_ACCEPT, warehouse, first, last, reason, accepted_by, accepted_at)
        if tag == "UPDATE 0":
            raise NotMissing(f"No number from {first} to {last} is missing.", field="first")
        await _save_gaps(driver, [warehouse], accepted_at)

    async def state(self, warehouse: str, *, after: int, limit: int) -> SequenceState:
        """Return what came of a warehouse's numbers, and its gaps behind `after`."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_STATE, warehouse)
        gaps = await driver.fetch(_GAPS, warehouse, after, limit)
        conflicts = await driver.fetch(_CONFLICTS, warehouse, _CONFLICTS_SHOWN_MAX, _CONFLICTING_EVENTS_SHOWN_MAX)
        return SequenceState(
            highest=row["highest"] if row else None,
            missing=row["missing"] if row else 0,
            given_up=row["given_up"] if row else 0,
            gaps=[Gap(**dict(gap)) for gap in gaps],
            conflicts=[SequenceConflict(one["sequence"], one["event_ids"], one["latest_at"]) for one in conflicts],
        )

    async def summaries(self) -> list[GapSummary]:
        """Return the gaps of every warehouse that numbers its reports."""
        driver = await self._transaction.driver()
        return [GapSummary(**dict(row)) for row in await driver.fetch(_SUMMARIES)]


async def _save_gaps(driver: asyncpg.Connection, codes: Sequence[str], noticed_at: datetime) -> None:
    if codes:
        await driver.execute(_GIVE_UP, codes, GAPS_MAX)
        await driver.execute(_SAVE_GAPS, codes, GAPS_KEPT_MAX, noticed_at)
