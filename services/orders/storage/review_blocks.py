"""The block list."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from services.orders.domain.order import Address
from services.orders.domain.review import Subject, address_hash
from services.orders.domain.review_blocks import AlreadyBlocked, Block, BlockNotFound

_EXPIRE = """
UPDATE review_blocks SET lifted_at = expires_at, lifted_by = 'system', lifted_reason = 'expired'
WHERE subject = $1 AND value = $2 AND lifted_at IS NULL AND expires_at <= $3
"""
_ADD = """
INSERT INTO review_blocks (id, subject, value, reason, blocked_at, blocked_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (subject, value) WHERE lifted_at IS NULL DO NOTHING
RETURNING id
"""
_FIND_ACTIVE = "SELECT id FROM review_blocks WHERE subject = $1 AND value = $2 AND lifted_at IS NULL"
_LIFT = """
UPDATE review_blocks SET lifted_at = $2, lifted_by = $3, lifted_reason = $4
WHERE id = $1 AND lifted_at IS NULL
RETURNING id, subject, value, reason, blocked_at, blocked_by, expires_at, lifted_at, lifted_by, lifted_reason
"""
_PAGE = """
SELECT id, subject, value, reason, blocked_at, blocked_by, expires_at, lifted_at, lifted_by, lifted_reason
FROM review_blocks
WHERE ($1::text IS NULL OR subject = $1) AND ($2::uuid IS NULL OR id < $2)
  AND ($3::bool IS NULL OR $3 = (lifted_at IS NULL AND (expires_at IS NULL OR expires_at > $4)))
ORDER BY id DESC LIMIT $5
"""
_SUBJECTS = """
SELECT customer_id, country, order_addresses.address::text AS address, contact.email_hash
FROM orders
LEFT JOIN order_addresses ON order_addresses.order_id = orders.id
LEFT JOIN LATERAL (
    SELECT encode(sha256(convert_to(lower(email), 'UTF8')), 'hex') AS email_hash
    FROM customer_contacts WHERE customer_contacts.customer_id = orders.customer_id
) AS contact ON true
WHERE orders.id = $1
"""

_decode_address = msgspec.json.Decoder(Address).decode


class PostgresBlocks:
    """The block list, as one transaction sees it."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def add(self, block: Block) -> None:
        """Block somebody (see `Blocks.add`)."""
        driver = await self._transaction.driver()
        await driver.execute(_EXPIRE, block.subject.value, block.value, block.blocked_at)
        added = await driver.fetchval(
            _ADD,
            block.id,
            block.subject.value,
            block.value,
            block.reason,
            block.blocked_at,
            block.blocked_by,
            block.expires_at,
        )
        if added is None:
            raise AlreadyBlocked(await driver.fetchval(_FIND_ACTIVE, block.subject.value, block.value))

    async def lift(self, block_id: UUID, *, by: str, reason: str, now: datetime) -> Block:
        """Lift a block (see `Blocks.lift`)."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_LIFT, block_id, now, by, reason)
        if row is None:
            raise BlockNotFound(block_id)
        return _block(row)

    async def page(
        self, *, subject: Subject | None, is_active: bool | None, before_id: UUID | None, now: datetime, limit: int
    ) -> Sequence[Block]:
        """Return blocks, newest first."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_PAGE, None if subject is None else subject.value, before_id, is_active, now, limit)
        return [_block(row) for row in rows]

    async def subjects_of(self, order_id: UUID) -> Mapping[Subject, str]:
        """Return under which values the customer of an order can be blocked (see `Blocks.subjects_of`)."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_SUBJECTS, order_id)
        if row is None:
            return {}
        found: dict[Subject, str | None] = {Subject.CUSTOMER: row["customer_id"], Subject.EMAIL: row["email_hash"]}
        if row["address"] is not None:
            found[Subject.ADDRESS] = address_hash(row["country"], _decode_address(row["address"]))
        return {subject: value for subject, value in found.items() if value is not None}


def _block(row: asyncpg.Record) -> Block:
    return Block(**{**row, "subject": Subject(row["subject"])})
