"""Reservations and the queue of those that wait, in PostgreSQL."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from libs.common.events.shapes import Destination
from services.inventory.domain.queue import QueuePlace
from services.inventory.domain.reservations import Reservation, ReservationStatus, ReservedLine, Terms
from services.inventory.handlers.ports import ReservationRaced, Revisit

_KNOWN: Final = "SELECT order_id FROM reservations WHERE order_id = ANY($1::uuid[])"
_SKUS: Final = """
SELECT sku FROM reservation_lines WHERE order_id = ANY($1::uuid[])
UNION
SELECT sku FROM backorder_lines WHERE order_id = ANY($1::uuid[])
"""
_LOAD: Final = """
SELECT order_id, status, version, approved_at, on_shortage, is_split_allowed, country, latitude, longitude, channel,
       collect_at, expires_at, bundles
FROM reservations WHERE order_id = ANY($1::uuid[])
"""
_LOAD_LINES: Final = """
SELECT order_id, sku, warehouse, quantity, committed_quantity
FROM reservation_lines WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, sku, warehouse
"""
_LOAD_WANTED: Final = """
SELECT order_id, sku, quantity FROM backorder_lines WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, sku
"""
# The newest holders up to and including the one with whom the units are reached.
_HOLDERS: Final = """
SELECT order_id FROM (
    SELECT order_id, approved_at, held, sum(held) OVER (ORDER BY approved_at DESC, order_id DESC) AS held_so_far
    FROM (
        SELECT order_id, approved_at, quantity - committed_quantity AS held
        FROM reservation_lines JOIN reservations USING (order_id)
        WHERE sku = $1 AND warehouse = $2 AND quantity > committed_quantity AND order_id <> ALL($4::uuid[])
    ) AS holders
) AS newest
WHERE held_so_far - held < $3::bigint
"""
_WAITING: Final = """
SELECT DISTINCT approved_at, order_id FROM backorder_lines
WHERE sku = ANY($1::text[]) AND (approved_at, order_id) > ($2, $3)
ORDER BY approved_at, order_id LIMIT $4
"""
_WAITING_UNITS: Final = """
SELECT sku, sum(quantity)::bigint AS units
FROM backorder_lines
JOIN unnest($1::text[], $2::timestamptz[], $3::uuid[]) AS queue (sku, after_approved_at, after_order_id) USING (sku)
WHERE (approved_at, order_id) > (after_approved_at, after_order_id) AND order_id <> ALL($4::uuid[])
GROUP BY sku
"""
_CHANGE: Final = """
UPDATE reservations SET status = saved.status, version = saved.version, changed_at = $4
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS saved (order_id, status, version)
WHERE reservations.order_id = saved.order_id
"""
_CHANGE_TERMS: Final = """
UPDATE reservations SET
    approved_at = saved.approved_at,
    on_shortage = saved.on_shortage,
    is_split_allowed = saved.is_split_allowed,
    country = saved.country,
    latitude = saved.latitude,
    longitude = saved.longitude,
    channel = saved.channel,
    collect_at = saved.collect_at,
    expires_at = saved.expires_at,
    bundles = saved.bundles::jsonb
FROM unnest(
    $1::uuid[], $2::timestamptz[], $3::text[], $4::boolean[], $5::text[], $6::float[], $7::float[], $8::text[],
    $9::text[], $10::timestamptz[], $11::text[]
) AS saved (
    order_id, approved_at, on_shortage, is_split_allowed, country, latitude, longitude, channel, collect_at, expires_at,
    bundles
)
WHERE reservations.order_id = saved.order_id
"""
# Whoever has the turn; no rows for others, who need not wait for it.
_DUE_HOLDS: Final = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($3) AS is_ours)
SELECT order_id FROM reservations CROSS JOIN turn
WHERE is_ours AND status = 'held' AND expires_at <= $1 ORDER BY expires_at LIMIT $2
"""
_EXPIRY_LOCK: Final = 0x45_58_50  # "EXP"
_SAVE_LINES: Final = """
INSERT INTO reservation_lines (order_id, sku, warehouse, quantity, committed_quantity)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (order_id, sku, warehouse) DO UPDATE SET
    quantity = excluded.quantity, committed_quantity = excluded.committed_quantity
"""
_DELETE_LINES: Final = """
DELETE FROM reservation_lines USING unnest($1::uuid[], $2::text[], $3::text[]) AS gone (order_id, sku, warehouse)
WHERE reservation_lines.order_id = gone.order_id
    AND reservation_lines.sku = gone.sku
    AND reservation_lines.warehouse = gone.warehouse
"""
_EDITED_BY: Final = "SELECT edit_id FROM reservation_edits WHERE edit_id = ANY($1::uuid[])"
_NOTE_EDITS: Final = "INSERT INTO reservation_edits SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING"
_DELETE_WANTED: Final = "DELETE FROM backorder_lines WHERE order_id = ANY($1::uuid[])"
_NEXT_REVISIT: Final = "SELECT sku, after_approved_at, after_order_id FROM backorder_revisits ORDER BY sku LIMIT 1"
_TAKE_REVISIT: Final = """
DELETE FROM backorder_revisits WHERE sku = $1 RETURNING sku, after_approved_at, after_order_id
"""
_ADD_REVISITS: Final = """
INSERT INTO backorder_revisits AS known (sku, after_approved_at, after_order_id)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::uuid[])
ON CONFLICT (sku) DO UPDATE SET
    after_approved_at = excluded.after_approved_at, after_order_id = excluded.after_order_id
WHERE (excluded.after_approved_at, excluded.after_order_id) < (known.after_approved_at, known.after_order_id)
"""


_HEAD_COLUMNS: Final = (
    "order_id",
    "status",
    "version",
    "approved_at",
    "on_shortage",
    "is_split_allowed",
    "country",
    "latitude",
    "longitude",
    "channel",
    "collect_at",
    "expires_at",
    "bundles",
    "changed_at",
)
_LINE_COLUMNS: Final = ("order_id", "sku", "warehouse", "quantity", "committed_quantity")
_WANTED_COLUMNS: Final = ("order_id", "sku", "quantity", "approved_at")


class PostgresReservations:
    """The reservations, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def known(self, order_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the orders that have a reservation."""
        driver = await self._transaction.driver()
        return {row["order_id"] for row in await driver.fetch(_KNOWN, list(order_ids))}

    async def skus_of(self, order_ids: Collection[UUID]) -> set[str]:
        """Return the SKUs that the orders hold, held or wait for."""
        if not order_ids:
            return set()
        driver = await self._transaction.driver()
        return {row["sku"] for row in await driver.fetch(_SKUS, list(order_ids))}

    async def load(self, order_ids: Collection[UUID]) -> list[Reservation]:
        """Load reservations with their lines."""
        driver = await self._transaction.driver()
        ids = list(order_ids)
        found = {row["order_id"]: _reservation(row) for row in await driver.fetch(_LOAD, ids)}
        if found:
            for row in await driver.fetch(_LOAD_LINES, ids):
                line = ReservedLine(row["quantity"], row["committed_quantity"])
                found[row["order_id"]].lines[row["sku"], row["warehouse"]] = line
            for row in await driver.fetch(_LOAD_WANTED, ids):
                found[row["order_id"]].wanted[row["sku"]] = row["quantity"]
        return list(found.values())

    async def holders(self, *, sku: str, warehouse: str, units: int, besides: Collection[UUID]) -> list[UUID]:
        """Return the newest orders that together hold `units`."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_HOLDERS, sku, warehouse, units, list(besides))
        return [row["order_id"] for row in rows]

    async def waiting(self, skus: Collection[str], *, limit: int, after: QueuePlace) -> list[QueuePlace]:
        """Return the first orders in line for any of `skus`."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_WAITING, list(skus), *after, limit)
        return [QueuePlace(row["approved_at"], row["order_id"]) for row in rows]

    async def waiting_units(
        self, after: Mapping[str, tuple[datetime, UUID]], *, besides: Collection[UUID]
    ) -> dict[str, int]:
        """Return by SKU the units that orders behind a place wait for; those for which nobody waits are left out."""
        driver = await self._transaction.driver()
        places = list(after.values())
        rows = await driver.fetch(
            _WAITING_UNITS, list(after), [at for at, _ in places], [one for _, one in places], list(besides)
        )
        return {row["sku"]: row["units"] for row in rows}

    async def save(self, reservations: Iterable[Reservation], *, changed_at: datetime) -> None:
        """
        Write reservations in the order of their ids.

        :raises ReservationRaced: if another transaction created one of them meanwhile.
        """
        changed = sorted(reservations, key=_number_of)
        if not changed:
            return
        if added := [one for one in changed if one.is_new]:
            await self._add(added, changed_at)
        if known := [one for one in changed if not one.is_new]:
            await _change(await self._transaction.driver(), known, changed_at)
        if wanted := _wanted(changed):
            await self._copy("backorder_lines", _WANTED_COLUMNS, wanted)

    async def edited_by(self, edit_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the edits that were answered before."""
        driver = await self._transaction.driver()
        return {row["edit_id"] for row in await driver.fetch(_EDITED_BY, list(edit_ids))}

    async def note_edits(self, edit_ids: Collection[UUID]) -> None:
        """Remember that edits were answered."""
        driver = await self._transaction.driver()
        await driver.execute(_NOTE_EDITS, list(edit_ids))

    async def due_holds(self, *, now: datetime, limit: int) -> list[UUID]:
        """Return the holds that expired first."""
        driver = await self._transaction.driver()
        return [row["order_id"] for row in await driver.fetch(_DUE_HOLDS, now, limit, _EXPIRY_LOCK)]

    async def next_revisit(self) -> Revisit | None:
        """Return any queue whose rest has yet to be served."""
        driver = await self._transaction.driver()
        return _revisit(await driver.fetchrow(_NEXT_REVISIT))

    async def take_revisit(self, sku: str) -> Revisit | None:
        """Return and forget the place to go on from in this SKU's queue."""
        driver = await self._transaction.driver()
        return _revisit(await driver.fetchrow(_TAKE_REVISIT, sku))

    async def add_revisits(self, revisits: Iterable[Revisit]) -> None:
        """Remember places to go on from, the earlier one for each SKU."""
        earliest: dict[str, QueuePlace] = {}
        for one in revisits:
            earliest[one.sku] = min(one.after, earliest.get(one.sku, one.after))
        if not earliest:
            return
        driver = await self._transaction.driver()
        skus = sorted(earliest)
        await driver.execute(
            _ADD_REVISITS,
            skus,
            [earliest[sku].approved_at for sku in skus],
            [earliest[sku].order_id for sku in skus],
        )

    async def _add(self, added: list[Reservation], changed_at: datetime) -> None:
        """Write reservations that did not exist."""
        heads = [_head(one, changed_at) for one in added]
        await self._transaction.write(lambda driver: _add_heads(driver, heads), rows=len(heads))
        lines = [
            (one.order_id, sku, warehouse, line.quantity, line.committed)
            for one in added
            for (sku, warehouse), line in one.lines.items()
            if line.quantity
        ]
        if lines:
            await self._copy("reservation_lines", _LINE_COLUMNS, lines)

    async def _copy(self, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        # COPY: half the work of arrays.
        await self._transaction.write(
            lambda driver: driver.copy_records_to_table(table, columns=columns, records=rows), rows=len(rows)
        )


async def _add_heads(driver: asyncpg.Connection, heads: Sequence[tuple[object, ...]]) -> None:
    try:
        await driver.copy_records_to_table("reservations", columns=_HEAD_COLUMNS, records=heads)
    except asyncpg.UniqueViolationError as error:
        raise ReservationRaced from error


async def _change(driver: asyncpg.Connection, changed: list[Reservation], changed_at: datetime) -> None:
    await driver.execute(
        _CHANGE,
        [one.order_id for one in changed],
        [one.status for one in changed],
        [one.version for one in changed],
        changed_at,
    )
    if renewed := [(one.order_id, *_terms(one.terms), _bundles(one)) for one in changed if one.has_new_terms]:
        await driver.execute(_CHANGE_TERMS, *(list(column) for column in zip(*renewed, strict=True)))
    kept: list[tuple[UUID, str, str, int, int]] = []
    gone: list[tuple[UUID, str, str]] = []
    for one in changed:
        for sku, warehouse in sorted(one.changed_lines):
            line = one.lines[sku, warehouse]
            if line.quantity:
                kept.append((one.order_id, sku, warehouse, line.quantity, line.committed))
            else:
                gone.append((one.order_id, sku, warehouse))
    if kept:
        await driver.execute(_SAVE_LINES, *(list(column) for column in zip(*kept, strict=True)))
    if gone:
        await driver.execute(_DELETE_LINES, *(list(column) for column in zip(*gone, strict=True)))
    await driver.execute(_DELETE_WANTED, [one.order_id for one in changed])


def _wanted(changed: list[Reservation]) -> list[tuple[object, ...]]:
    return [
        (one.order_id, sku, quantity, one.terms.approved_at)
        for one in changed
        if one.terms is not None
        for sku, quantity in one.wanted.items()
    ]


def _number_of(one: Reservation) -> int:
    # Ids compare in Python, numbers do not.
    return one.order_id.int


def _head(one: Reservation, changed_at: datetime) -> tuple[object, ...]:
    return (one.order_id, one.status, one.version, *_terms(one.terms), _bundles(one), changed_at)


def _bundles(one: Reservation) -> str | None:
    return msgspec.json.encode(one.bundles).decode() if one.bundles else None


def _terms(terms: Terms | None) -> tuple[object, ...]:
    if terms is None:
        return (None,) * 9
    place = terms.destination
    return (
        terms.approved_at,
        terms.on_shortage,
        terms.is_split_allowed,
        place.country,
        place.latitude,
        place.longitude,
        terms.channel,
        terms.collect_at,
        terms.expires_at,
    )


def _reservation(row: asyncpg.Record) -> Reservation:
    terms = None
    if row["approved_at"] is not None:
        terms = Terms(
            approved_at=row["approved_at"],
            destination=Destination(country=row["country"], latitude=row["latitude"], longitude=row["longitude"]),
            on_shortage=row["on_shortage"],
            is_split_allowed=row["is_split_allowed"],
            channel=row["channel"],
            collect_at=row["collect_at"],
            expires_at=row["expires_at"],
        )
    return Reservation(
        order_id=row["order_id"],
        status=ReservationStatus(row["status"]),
        version=row["version"],
        terms=terms,
        bundles=row["bundles"] or {},
    )


def _revisit(row: asyncpg.Record | None) -> Revisit | None:
    if row is None:
        return None
    return Revisit(sku=row["sku"], after=QueuePlace(row["after_approved_at"], row["after_order_id"]))
