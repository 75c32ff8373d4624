"""What the auditor reads and keeps."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from libs.common.db import Transaction
from services.inventory.handlers.audit import Book, CheckedSkus, Drift, DriftKey, Look, Round
from services.inventory.storage.ledger_feed import SettledLedger, locked_position, move_position

FOLLOWER: Final = "auditor"
# Held by the one auditor that works, for a step.
_LOCK: Final = 0x41_55_44  # "AUD"
# Rows by which the checkpoints are moved in one step, and behind them, that a check still adds up by itself.
_ADVANCE_MOVEMENTS: Final = 50_000
_TAIL_MOVEMENTS_MAX: Final = 200_000
# Of everything that is off, how many SKUs are looked at again whenever something changed.
_OPEN_SKUS_MAX: Final = 500
_ROUNDS_KEPT: Final = 100
_DRIFTS_KEPT: Final = timedelta(days=90)

# Every comparison is one statement, and with it one snapshot: levels, ledger and reservations of the same moment.
# Pairs that only one of them knows count with all their units. `$1` is where the checkpoints end.
_COMPARED: Final = """
SELECT sku, warehouse,
       (sum(on_hand) - sum(booked))::bigint AS ledger,
       (sum(reserved) - sum(held))::bigint AS reservations
FROM (
    SELECT sku, warehouse, on_hand, reserved, 0::numeric AS booked, 0::numeric AS held
    FROM scope JOIN stock_levels USING (sku)
    UNION ALL
    SELECT sku, warehouse, 0, 0, units, 0 FROM booked
    UNION ALL
    SELECT sku, warehouse, 0, 0, 0, quantity - committed_quantity
    FROM scope JOIN reservation_lines USING (sku) WHERE quantity > committed_quantity
    UNION ALL
    SELECT sku, source, 0, 0, 0, held FROM scope JOIN transfer_lines USING (sku) WHERE held > 0
) AS said
GROUP BY sku, warehouse
HAVING sum(on_hand) <> sum(booked) OR sum(reserved) <> sum(held)
"""
_TAIL: Final = """
tail AS MATERIALIZED (
    SELECT sku, warehouse, sum(delta_on_hand) AS units FROM stock_movements WHERE id > $1 GROUP BY sku, warehouse
)
"""
_BOOKED: Final = """
booked AS (
    SELECT sku, warehouse, units FROM scope JOIN ledger_checkpoints USING (sku)
    UNION ALL
    SELECT sku, warehouse, units FROM scope JOIN tail USING (sku)
)
"""
_PAGE: Final = "scope AS MATERIALIZED (SELECT sku FROM stock_items WHERE sku > $2 ORDER BY sku LIMIT $3)"
_LAST: Final = "SELECT (SELECT count(*) FROM scope) AS skus, (SELECT max(sku) FROM scope) AS last_sku"
_FOUND: Final = f"SELECT * FROM ({_LAST}) AS last LEFT JOIN ({_COMPARED}) AS compared ON true"  # noqa: S608 - made of constants

_CHECK_CHANGED: Final = f"""
WITH {_TAIL},
scope AS MATERIALIZED (
    SELECT sku FROM tail
    UNION
    (SELECT DISTINCT sku FROM audit_drifts WHERE resolved_at IS NULL ORDER BY sku LIMIT {_OPEN_SKUS_MAX})
),
{_BOOKED}
{_FOUND}
"""  # noqa: S608 - made of constants
_CHECK_LEVELS: Final = f"WITH {_PAGE}, {_TAIL}, {_BOOKED} {_FOUND}"
_RESCAN: Final = f"""
WITH {_PAGE},
booked AS MATERIALIZED (
    SELECT sku, warehouse, sum(delta_on_hand) AS units,
           coalesce(sum(delta_on_hand) FILTER (WHERE id <= $1), 0) AS settled_units
    FROM scope JOIN stock_movements USING (sku) GROUP BY sku, warehouse
),
checkpoints AS (
    SELECT sku, warehouse, units FROM scope JOIN ledger_checkpoints USING (sku)
),
corrected AS (
    MERGE INTO ledger_checkpoints AS kept
    USING (
        SELECT sku, warehouse, coalesce(settled_units, 0) AS units
        FROM booked FULL JOIN checkpoints USING (sku, warehouse)
        WHERE coalesce(settled_units, 0) <> coalesce(checkpoints.units, 0)
    ) AS counted
    ON kept.sku = counted.sku AND kept.warehouse = counted.warehouse
    WHEN MATCHED THEN UPDATE SET units = counted.units
    WHEN NOT MATCHED THEN INSERT (sku, warehouse, units) VALUES (counted.sku, counted.warehouse, counted.units)
    RETURNING 1
)
{_FOUND}
"""  # noqa: S608 - made of constants
_ADVANCE: Final = """
INSERT INTO ledger_checkpoints (sku, warehouse, units)
SELECT sku, warehouse, sum(delta_on_hand) FROM stock_movements
WHERE id > $1 AND id <= $2 GROUP BY sku, warehouse ORDER BY sku, warehouse
ON CONFLICT (sku, warehouse) DO UPDATE SET units = ledger_checkpoints.units + excluded.units
"""
_OPEN: Final = """
SELECT sku, warehouse, book, units FROM audit_drifts
WHERE resolved_at IS NULL AND sku > $1 AND ($2::text IS NULL OR sku <= $2)
ORDER BY sku
"""
_OPEN_FEW: Final = f"""
SELECT sku, warehouse, book, units FROM audit_drifts
WHERE resolved_at IS NULL AND sku IN (
    SELECT DISTINCT sku FROM audit_drifts WHERE resolved_at IS NULL ORDER BY sku LIMIT {_OPEN_SKUS_MAX}
)
"""  # noqa: S608 - made of constants
_SAVE_OFF: Final = """
INSERT INTO audit_drifts (sku, warehouse, book, units, first_seen_at, last_changed_at)
SELECT sku, warehouse, book, units, $5, $5
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS off (sku, warehouse, book, units)
ON CONFLICT (sku, warehouse, book) WHERE resolved_at IS NULL DO UPDATE SET
    units = excluded.units, last_changed_at = excluded.last_changed_at
"""
_SAVE_REPAIRED: Final = """
UPDATE audit_drifts SET resolved_at = $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS repaired (sku, warehouse, book)
WHERE audit_drifts.sku = repaired.sku AND audit_drifts.warehouse = repaired.warehouse
    AND audit_drifts.book = repaired.book AND resolved_at IS NULL
"""
_DRIFT: Final = """
SELECT coalesce(sum(abs(units)) FILTER (WHERE book = 'ledger'), 0)::bigint,
       coalesce(sum(abs(units)) FILTER (WHERE book = 'reservations'), 0)::bigint
FROM audit_drifts WHERE resolved_at IS NULL
"""
_ROUND: Final = "SELECT after_sku, skus, started_at FROM audit_rounds WHERE look = $1 AND finished_at IS NULL"
_BEGIN_ROUND: Final = "INSERT INTO audit_rounds (look, after_sku, skus, started_at) VALUES ($1, '', 0, $2)"
_SAVE_ROUND: Final = """
UPDATE audit_rounds SET after_sku = $2, skus = $3, finished_at = $4, ledger_units = $5, reservation_units = $6
WHERE look = $1 AND finished_at IS NULL
"""
_FORGET_ROUNDS: Final = f"""
DELETE FROM audit_rounds WHERE look = $1 AND id <= (
    SELECT id FROM audit_rounds WHERE look = $1 ORDER BY id DESC OFFSET {_ROUNDS_KEPT} LIMIT 1
)
"""  # noqa: S608 - made of constants
_FORGET_DRIFTS: Final = "DELETE FROM audit_drifts WHERE resolved_at < $1"
_CHECKED_AT: Final = "UPDATE ledger_followers SET moved_at = $2 WHERE name = $1"
_WAITING: Final = "SELECT count(*) FROM reservations WHERE status IN ('waiting', 'partly-held')"
_SHORTFALL: Final = "SELECT coalesce(sum(shortfall), 0)::bigint FROM stock_levels WHERE shortfall > 0"


class PostgresBooks:
    """The books, in one transaction."""

    def __init__(self, transaction: Transaction, ledger: SettledLedger) -> None:
        """Read in `transaction`; `ledger` outlives it and learns what is settled."""
        self._transaction = transaction
        self._ledger = ledger
        self._position: int | None = None
        self._settled_id = 0

    @property
    def backlog_movements(self) -> int:
        """How many lines of the ledger are behind the checkpoints, as far as this transaction found out."""
        return 0 if self._position is None else max(0, self._ledger.last_id - self._position)

    async def take_turn(self) -> bool:
        """Answer whether no other auditor is at work; none will be until the transaction ends."""
        driver = await self._transaction.driver()
        return bool(await driver.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK))

    async def is_behind(self) -> bool:
        """Answer whether more of the ledger is behind the checkpoints than a check should add up."""
        driver = await self._transaction.driver()
        position = await self._checkpointed(driver)
        self._settled_id = await self._ledger.advance(driver)
        return self._ledger.last_id - position > _TAIL_MOVEMENTS_MAX

    async def check_changed(self) -> CheckedSkus:
        """Compare the levels of all SKUs with movements behind the checkpoints, and of those that were off."""
        driver = await self._transaction.driver()
        return _checked(await driver.fetch(_CHECK_CHANGED, await self._checkpointed(driver)))

    async def advance(self, *, checked_at: datetime) -> bool:
        """Move the checkpoints over what was settled when the step began; return whether more of it is left."""
        driver = await self._transaction.driver()
        position = await self._checkpointed(driver)
        target = min(self._settled_id, position + _ADVANCE_MOVEMENTS)
        if target > position:
            await driver.execute(_ADVANCE, position, target)
            await move_position(driver, FOLLOWER, target)
            self._position = target
        await driver.execute(_CHECKED_AT, FOLLOWER, checked_at)
        return target < self._settled_id

    async def check_levels(self, *, after_sku: str, limit: int) -> CheckedSkus:
        """Compare the levels of the next SKUs with checkpoints, what came after them, and reservations."""
        driver = await self._transaction.driver()
        return _checked(await driver.fetch(_CHECK_LEVELS, await self._checkpointed(driver), after_sku, limit))

    async def rescan(self, *, after_sku: str, limit: int) -> CheckedSkus:
        """Compare the levels of the next SKUs with all of their ledger, and put their checkpoints right."""
        driver = await self._transaction.driver()
        return _checked(await driver.fetch(_RESCAN, await self._checkpointed(driver), after_sku, limit))

    async def open_drifts(self, *, after_sku: str = "", last_sku: str | None = None) -> Mapping[DriftKey, int]:
        """Return what is known to be off, of the SKUs behind `after_sku` up to `last_sku`."""
        driver = await self._transaction.driver()
        if not after_sku and last_sku is None:
            rows = await driver.fetch(_OPEN_FEW)
        else:
            rows = await driver.fetch(_OPEN, after_sku, last_sku)
        return {DriftKey(row["sku"], row["warehouse"], Book(row["book"])): row["units"] for row in rows}

    async def save_drifts(
        self, *, off: Mapping[DriftKey, int], repaired: Collection[DriftKey], seen_at: datetime
    ) -> None:
        """Note what is off by how much, and what is not any more."""
        driver = await self._transaction.driver()
        if off:
            rows = [(*key, units) for key, units in off.items()]
            await driver.execute(_SAVE_OFF, *map(list, zip(*rows, strict=True)), seen_at)
        if repaired:
            await driver.execute(_SAVE_REPAIRED, *map(list, zip(*repaired, strict=True)), seen_at)

    async def drift(self) -> Drift:
        """Return the units of everything that is known to be off."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_DRIFT)
        return Drift(*row) if row else Drift(0, 0)

    async def round(self, look: Look, *, now: datetime) -> Round:
        """Return the round under way, or begin one."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_ROUND, look)
        if row is not None:
            return Round(look, row["after_sku"], row["skus"], row["started_at"])
        await driver.execute(_BEGIN_ROUND, look, now)
        return Round(look, "", 0, now)

    async def save_round(self, one: Round, *, finished_at: datetime | None) -> None:
        """Note how far a round is; at its end also what is off, and what is long past is forgotten."""
        driver = await self._transaction.driver()
        drift = await self.drift()
        await driver.execute(_SAVE_ROUND, one.look, one.after_sku, one.skus, finished_at, *drift)
        if finished_at is not None:
            await driver.execute(_FORGET_ROUNDS, one.look)
            await driver.execute(_FORGET_DRIFTS, finished_at - _DRIFTS_KEPT)

    async def waiting_orders(self) -> int:
        """Return how many orders wait for stock."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval(_WAITING))

    async def shortfall_units(self) -> int:
        """Return how many units are missing from what was reported as arrived."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval(_SHORTFALL))

    async def _checkpointed(self, driver: asyncpg.Connection) -> int:
        if self._position is None:
            self._position = await locked_position(driver, FOLLOWER)
        return self._position


def _checked(rows: list[asyncpg.Record]) -> CheckedSkus:
    units = {}
    for row in rows:
        for book, difference in ((Book.LEDGER, row["ledger"]), (Book.RESERVATIONS, row["reservations"])):
            if difference:
                units[DriftKey(row["sku"], row["warehouse"], book)] = difference
    return CheckedSkus(units, rows[0]["skus"], rows[0]["last_sku"])
