"""What customers have changed about their orders."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from libs.common.events.shapes import Shortage
from services.orders.domain.charges import Charge
from services.orders.domain.edits import Edit, EditStatus
from services.orders.domain.findings import OrderFinding
from services.orders.domain.order import NewOrder, OrderLine
from services.orders.domain.review import Subject, subject_of
from services.orders.storage.changes import insert_charges

_REMOVE_LINES = "DELETE FROM order_lines WHERE order_id = $1 AND line <> ALL($2::int[])"
_SET_LINES = """
INSERT INTO order_lines (order_id, line, sku, quantity, unit_price_minor, charged_minor)
SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[], $6::bigint[])
ON CONFLICT (order_id, line) DO UPDATE SET quantity = excluded.quantity, charged_minor = excluded.charged_minor
"""
_REMOVE_CHARGES = "DELETE FROM order_charges WHERE order_id = $1"
_ADD_FINDINGS = """
INSERT INTO order_findings (order_id, position, kind, consequence, line, sku, expected_minor, offered_minor, code)
SELECT $1, (SELECT coalesce(max(position), 0) FROM order_findings WHERE order_id = $1) + number,
       kind, consequence, line, sku, expected_minor, offered_minor, code
FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bigint[], $8::text[]) WITH ORDINALITY
     AS found (kind, consequence, line, sku, expected_minor, offered_minor, code, number)
"""
# What was asked of the customer's money stays the bound of what may be held.
_SET_TOTAL = """
WITH paid AS (
    UPDATE payments SET total_minor = CASE WHEN EXISTS (
        SELECT FROM payment_commands WHERE payment_commands.order_id = $1
    ) THEN greatest(total_minor, $2) ELSE $2 END WHERE order_id = $1
)
UPDATE orders SET total_minor = $2 WHERE id = $1
"""
_ASK_FOR_MORE = "UPDATE payments SET total_minor = total_minor + $2 WHERE order_id = $1"
_SET_TOKEN = "UPDATE payment_commands SET token = $2 WHERE id = $1"  # noqa: S105 - a statement
_SET_ADDRESS = """
INSERT INTO order_addresses (order_id, address) VALUES ($1, $2::jsonb)
ON CONFLICT (order_id) DO UPDATE SET address = excluded.address
"""
_SET_DESTINATION = "UPDATE orders SET latitude = $2, longitude = $3 WHERE id = $1"
_SET_REVIEW_ADDRESS = "UPDATE review_addresses SET address_hash = $2 WHERE order_id = $1"
_MEASURE = "SELECT count(*), min(edited_at) FROM order_edits WHERE status = 'requested'"
_ADD = """
INSERT INTO order_edits (id, order_id, edited_at, principal, reason, lines_before, lines_after, total_before_minor,
                         total_after_minor, is_address_changed, status, charges_after)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8, $9, $10, $11, $12::jsonb)
"""
_SELECT = """
SELECT id, order_id, edited_at, principal, reason, lines_before::text AS lines_before,
       lines_after::text AS lines_after, total_before_minor, total_after_minor, is_address_changed, status, refusal,
       charges_after::text AS charges_after, shortages::text AS shortages
FROM order_edits
"""
_OF_ORDER = f"{_SELECT} WHERE order_id = $1 ORDER BY id"
_GET = f"{_SELECT} WHERE id = ANY($1::uuid[]) ORDER BY id"
_PENDING = "SELECT id FROM order_edits WHERE order_id = $1 AND status = 'requested'"
_FINISH = """
UPDATE order_edits SET status = $2, refusal = $3, shortages = $4::jsonb WHERE id = $1 AND status = 'requested'
"""

_encode = msgspec.json.encode
_decode_charges = msgspec.json.Decoder(tuple[Charge, ...]).decode
_decode_shortages = msgspec.json.Decoder(tuple[Shortage, ...]).decode
_decode_lines = msgspec.json.Decoder(tuple[OrderLine, ...]).decode


class PostgresEdits:
    """The edits, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def revision_of(self, order_id: UUID) -> int:
        """Return which revision a locked order has."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval("SELECT revision FROM orders WHERE id = $1", order_id))

    async def set_lines(self, order_id: UUID, lines: Sequence[OrderLine], total_minor: int) -> None:
        """Give a locked order other lines, and its total with them."""
        driver = await self._transaction.driver()
        numbers = [line.line for line in lines]
        await driver.execute(_REMOVE_LINES, order_id, numbers)
        await driver.execute(
            _SET_LINES,
            order_id,
            numbers,
            [line.sku for line in lines],
            [line.quantity for line in lines],
            [line.unit_price_minor for line in lines],
            [line.charged_minor for line in lines],
        )
        await driver.execute(_SET_TOTAL, order_id, total_minor)

    async def set_charges(self, order_id: UUID, charges: Sequence[Charge]) -> None:
        """Give a locked order other discounts, shipping and taxes."""
        driver = await self._transaction.driver()
        await driver.execute(_REMOVE_CHARGES, order_id)
        await insert_charges(self._transaction, order_id, charges)

    async def ask_for_more(self, order_id: UUID, step_id: UUID, amount_minor: int, token: str | None) -> None:
        """Let so much more be held for a locked order, by a step that was just written; with a token of its own."""
        driver = await self._transaction.driver()
        await driver.execute(_ASK_FOR_MORE, order_id, amount_minor)
        if token is not None:
            await driver.execute(_SET_TOKEN, step_id, token)

    async def add_findings(self, order_id: UUID, findings: Sequence[OrderFinding]) -> None:
        """Add what was found about an edit to what is known of an order."""
        if findings:
            driver = await self._transaction.driver()
            await driver.execute(
                _ADD_FINDINGS,
                order_id,
                [one.kind.value for one in findings],
                [one.consequence.value for one in findings],
                [one.line for one in findings],
                [one.sku for one in findings],
                [one.expected_minor for one in findings],
                [one.offered_minor for one in findings],
                [one.code for one in findings],
            )

    async def set_address(self, order: NewOrder) -> None:
        """Send a locked order elsewhere in its country."""
        driver = await self._transaction.driver()
        destination = order.facts.destination
        await driver.execute(_SET_ADDRESS, order.id, _encode(order.address).decode())
        await driver.execute(_SET_DESTINATION, order.id, destination.latitude, destination.longitude)
        address = subject_of(order, Subject.ADDRESS)
        if address is not None:
            await driver.execute(_SET_REVIEW_ADDRESS, order.id, address)

    async def add(self, edit: Edit) -> None:
        """Keep an edit."""
        driver = await self._transaction.driver()
        await driver.execute(
            _ADD,
            edit.id,
            edit.order_id,
            edit.edited_at,
            edit.principal,
            edit.reason,
            _encode(edit.lines_before).decode(),
            _encode(edit.lines_after).decode(),
            edit.total_before_minor,
            edit.total_after_minor,
            edit.is_address_changed,
            edit.status.value,
            None if edit.charges_after is None else _encode(edit.charges_after).decode(),
        )

    async def of_order(self, order_id: UUID) -> Sequence[Edit]:
        """Return an order's edits, oldest first."""
        driver = await self._transaction.driver()
        return [_edit(row) for row in await driver.fetch(_OF_ORDER, order_id)]

    async def pending_of(self, order_id: UUID) -> UUID | None:
        """Return the edit of a locked order that is not answered yet."""
        driver = await self._transaction.driver()
        found: UUID | None = await driver.fetchval(_PENDING, order_id)
        return found

    async def get(self, edit_ids: Collection[UUID]) -> Sequence[Edit]:
        """Return those of the edits that exist."""
        driver = await self._transaction.driver()
        return [_edit(row) for row in await driver.fetch(_GET, list(edit_ids))]

    async def finish(
        self, edit_id: UUID, status: EditStatus, *, refusal: str | None = None, shortages: Sequence[Shortage] = ()
    ) -> None:
        """Keep what became of an edit that was requested."""
        driver = await self._transaction.driver()
        missing = _encode(shortages).decode() if shortages else None
        await driver.execute(_FINISH, edit_id, status.value, refusal, missing)


def _edit(row: asyncpg.Record) -> Edit:
    lines = {name: _decode_lines(row[name]) for name in ("lines_before", "lines_after")}
    charges = None if row["charges_after"] is None else _decode_charges(row["charges_after"])
    shortages = () if row["shortages"] is None else _decode_shortages(row["shortages"])
    rest = {"status": EditStatus(row["status"]), "charges_after": charges, "shortages": shortages}
    return Edit(**{**row, **lines, **rest})


async def measure_requested_edits(transaction: Transaction, *, now: datetime) -> tuple[int, float]:
    """Return how many edits wait for inventory's answer, and for how many seconds the oldest has."""
    driver = await transaction.driver()
    [(edits, since)] = await driver.fetch(_MEASURE)
    return edits, 0.0 if since is None else (now - since).total_seconds()
