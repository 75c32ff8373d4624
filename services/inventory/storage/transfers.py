"""Transfers in PostgreSQL: locked behind their SKUs, read and written in sets."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.transfers import LineKey, Plan, Transfer, TransferLine
from services.inventory.handlers.transfer_views import TransferFilter, TransferPlace, TransferView

# Sorted, like the lock below it: whoever adds rows waits for others in the same order as whoever locks them.
_ADD: Final = """
INSERT INTO transfers (transfer_id, status, created_at, changed_at)
SELECT transfer_id, 'dispatched', $2, $2 FROM unnest($1::uuid[]) AS added (transfer_id) ORDER BY transfer_id
ON CONFLICT DO NOTHING
"""
_COLUMNS: Final = (
    "transfer_id, version, events, plan, is_automatic, source, destination, expected_at, dispatched_at, received_at,"
    " is_closed, reason, proposed_by, decided_by, decision_id, value_minor, currency"
)
_LOCK: Final = f"""
SELECT {_COLUMNS} FROM transfers WHERE transfer_id = ANY($1::uuid[]) ORDER BY transfer_id FOR UPDATE
"""  # noqa: S608 - made of constants
# The lock of the head keeps the lines of all SKUs from others.
_LINES: Final = """
SELECT transfer_id, sku, destination, source, is_planned, requested, held, dispatched, received, returned,
       written_off, found
FROM transfer_lines WHERE transfer_id = ANY($1::uuid[]) ORDER BY transfer_id, sku, destination
"""
_SKUS: Final = "SELECT DISTINCT sku FROM transfer_lines WHERE transfer_id = ANY($1::uuid[])"
_STOCKED: Final = "SELECT sku FROM stock_levels WHERE sku = ANY($1::text[]) AND warehouse = $2"
_SAVE: Final = """
UPDATE transfers SET
    status = saved.status, version = saved.version, events = saved.events, plan = saved.plan,
    is_automatic = saved.is_automatic, source = saved.source, destination = saved.destination,
    from_warehouse = saved.from_warehouse, to_warehouse = saved.to_warehouse, expected_at = saved.expected_at,
    dispatched_at = saved.dispatched_at, received_at = saved.received_at, is_closed = saved.is_closed,
    reason = saved.reason, proposed_by = saved.proposed_by, decided_by = saved.decided_by,
    decision_id = saved.decision_id, value_minor = saved.value_minor, currency = saved.currency,
    automatic_sku = saved.automatic_sku, changed_at = $1
FROM unnest(
    $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::boolean[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::boolean[],
    $16::text[], $17::text[], $18::text[], $19::uuid[], $20::bigint[], $21::text[], $22::text[]
) AS saved (
    transfer_id, status, version, events, plan, is_automatic, source, destination, from_warehouse, to_warehouse,
    expected_at, dispatched_at, received_at, is_closed, reason, proposed_by, decided_by, decision_id, value_minor,
    currency, automatic_sku
)
WHERE transfers.transfer_id = saved.transfer_id
"""
_SAVE_LINES: Final = """
INSERT INTO transfer_lines (
    transfer_id, sku, destination, source, is_planned, requested, held, dispatched, received, returned, written_off,
    found
)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]
)
ON CONFLICT (transfer_id, sku, destination) DO UPDATE SET
    source = excluded.source, is_planned = excluded.is_planned, requested = excluded.requested, held = excluded.held,
    dispatched = excluded.dispatched, received = excluded.received, returned = excluded.returned,
    written_off = excluded.written_off, found = excluded.found
"""
# A line's row is safe under the lock of its SKU alone. The transfers approved last give first.
_UNHOLD: Final = """
WITH holders AS (
    SELECT transfer_id, destination, held, sum(held) OVER (ORDER BY transfer_id DESC, destination) AS held_so_far
    FROM transfer_lines WHERE sku = $1 AND source = $2 AND held > 0
),
given AS (
    UPDATE transfer_lines SET held = transfer_lines.held - least(holders.held, $3 - (held_so_far - holders.held))
    FROM holders
    WHERE held_so_far - holders.held < $3 AND transfer_lines.sku = $1
        AND transfer_lines.transfer_id = holders.transfer_id AND transfer_lines.destination = holders.destination
    RETURNING old.held - new.held AS units
)
SELECT coalesce(sum(units), 0)::bigint FROM given
"""
_VIEW_COLUMNS: Final = f"status, from_warehouse, to_warehouse, created_at, changed_at, {_COLUMNS}"
_VIEW: Final = f"SELECT {_VIEW_COLUMNS} FROM transfers WHERE transfer_id = $1"  # noqa: S608
_PAGE: Final = f"""
SELECT {_VIEW_COLUMNS} FROM transfers
WHERE ($1::text IS NULL OR status = $1)
    AND ($2::text IS NULL OR from_warehouse = $2 OR to_warehouse = $2)
    AND ($3::text IS NULL OR EXISTS (
        SELECT FROM transfer_lines WHERE transfer_lines.transfer_id = transfers.transfer_id AND sku = $3
    ))
    AND ($4::timestamptz IS NULL OR (created_at, transfer_id) < ($4, $5))
ORDER BY created_at DESC, transfer_id DESC LIMIT $6
"""  # noqa: S608
_WATCH: Final = """
SELECT coalesce(sum(greatest(0, dispatched + found - received - returned - written_off)), 0)::bigint AS in_transit, (
    SELECT count(*) FROM transfers
    WHERE status IN ('approved', 'dispatched', 'partially-received') AND expected_at < $1
) AS overdue
FROM transfer_lines JOIN transfers USING (transfer_id)
WHERE status IN ('dispatched', 'partially-received', 'discrepancy')
"""
_LINE_FIELDS: Final = (
    "source",
    "is_planned",
    "requested",
    "held",
    "dispatched",
    "received",
    "returned",
    "written_off",
    "found",
)


class PostgresTransfers:
    """The transfers, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def skus_of(self, transfer_id: UUID) -> set[str]:
        """Return the SKUs of a transfer; without their locks that may change."""
        driver = await self._transaction.driver()
        return {row["sku"] for row in await driver.fetch(_SKUS, [transfer_id])}

    async def stocked(self, skus: Collection[str], *, warehouse: str) -> set[str]:
        """Return those of the SKUs that a warehouse has ever had."""
        driver = await self._transaction.driver()
        return {row["sku"] for row in await driver.fetch(_STOCKED, list(skus), warehouse)}

    async def add(self, transfer_ids: Collection[UUID], *, created_at: datetime) -> None:
        """Add those of the transfers that are new."""
        driver = await self._transaction.driver()
        await driver.execute(_ADD, list(transfer_ids), created_at)

    async def load(self, transfer_ids: Collection[UUID]) -> dict[UUID, Transfer]:
        """Lock transfers and load them with all their lines."""
        driver = await self._transaction.driver()
        ids = list(transfer_ids)
        found = {row["transfer_id"]: _transfer(row) for row in await driver.fetch(_LOCK, ids)}
        await _load_lines(driver, found)
        return found

    async def save(self, transfers: Iterable[Transfer], *, changed_at: datetime) -> None:
        """Write transfers that were loaded here, with those of their lines that changed."""
        saved = list(transfers)
        if not saved:
            return
        driver = await self._transaction.driver()
        await driver.execute(_SAVE, changed_at, *_columns([_head(one) for one in saved]))
        lines = [
            (one.transfer_id, *key, *(getattr(one.lines[key], name) for name in _LINE_FIELDS))
            for one in saved
            for key in sorted(one.changed_lines)
        ]
        if lines:
            await driver.execute(_SAVE_LINES, *_columns(lines))
        for one in saved:
            one.changed_lines.clear()

    async def unhold(self, *, sku: str, warehouse: str, units: int) -> int:
        """Take up to `units` from those that transfers hold; return how many."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval(_UNHOLD, sku, warehouse, units))

    async def view(self, transfer_id: UUID) -> TransferView | None:
        """Return a transfer, None if there is none of this id."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_VIEW, transfer_id)
        return (await _views(driver, [row]))[0] if row else None

    async def page(self, wanted: TransferFilter, *, before: TransferPlace | None, limit: int) -> list[TransferView]:
        """Return transfers, the newest first, behind `before`."""
        driver = await self._transaction.driver()
        created_at, transfer_id = before or (None, None)
        rows = await driver.fetch(_PAGE, wanted.status, wanted.warehouse, wanted.sku, created_at, transfer_id, limit)
        return await _views(driver, rows)

    async def watch(self, now: datetime) -> tuple[int, int]:
        """Return the units in transit, and how many transfers should have arrived by `now`."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_WATCH, now)
        return (row["in_transit"], row["overdue"]) if row else (0, 0)


async def _load_lines(driver: asyncpg.Connection, transfers: dict[UUID, Transfer]) -> None:
    if not transfers:
        return
    for row in await driver.fetch(_LINES, list(transfers)):
        key = LineKey(row["sku"], row["destination"])
        transfers[row["transfer_id"]].lines[key] = TransferLine(**{name: row[name] for name in _LINE_FIELDS})


async def _views(driver: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> list[TransferView]:
    transfers = {row["transfer_id"]: _transfer(row) for row in rows}
    await _load_lines(driver, transfers)
    return [
        TransferView(transfer=transfers[row["transfer_id"]], created_at=row["created_at"], changed_at=row["changed_at"])
        for row in rows
    ]


def _transfer(row: asyncpg.Record) -> Transfer:
    return Transfer(
        transfer_id=row["transfer_id"],
        version=row["version"],
        events=row["events"],
        plan=Plan(row["plan"]) if row["plan"] else None,
        is_automatic=row["is_automatic"],
        source=row["source"],
        destination=row["destination"],
        expected_at=row["expected_at"],
        dispatched_at=row["dispatched_at"],
        received_at=row["received_at"],
        is_closed=row["is_closed"],
        reason=row["reason"],
        proposed_by=row["proposed_by"],
        decided_by=row["decided_by"],
        decision_id=row["decision_id"],
        value_minor=row["value_minor"],
        currency=row["currency"],
    )


def _head(one: Transfer) -> tuple[object, ...]:
    return (
        one.transfer_id,
        one.status,
        one.version,
        one.events,
        one.plan,
        one.is_automatic,
        one.source,
        one.destination,
        one.from_warehouse,
        one.to_warehouse,
        one.expected_at,
        one.dispatched_at,
        one.received_at,
        one.is_closed,
        one.reason,
        one.proposed_by,
        one.decided_by,
        one.decision_id,
        one.value_minor,
        one.currency,
        min(one.skus) if one.is_automatic else None,
    )


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
