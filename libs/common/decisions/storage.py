"""The decision records of a service in its own database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.db import Transaction
from libs.common.db.metadata import MigrationOperations, new_metadata
from libs.common.decisions.record import Decision

_COLUMNS = ("id", "decision", "subject", "decided_at", "record")
_INSERT = """
INSERT INTO decisions (id, decision, subject, decided_at, record)
SELECT id, decision, subject, decided_at, record::jsonb
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
     AS new (id, decision, subject, decided_at, record)
"""
# More are cheaper by COPY, which takes round trips of its own.
_DEFERRED_ROWS_MAX = 50
_SELECT = """
SELECT record::text FROM decisions WHERE subject = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3
"""

_encode = msgspec.json.Encoder().encode

_Row = tuple[UUID, str, str, datetime, str]


def declare_decisions(metadata: MetaData) -> Table:
    """Add `decisions` to a service's tables."""
    return Table(
        "decisions",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("decision", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("decided_at", DateTime(timezone=True), nullable=False),
        Column("record", JSONB, nullable=False),
        # Serves GET /v1/decisions?subject=…, newest first.
        Index("decisions_subject_id_idx", "subject", "id"),
    )


def create_decisions(operations: MigrationOperations) -> None:
    """Create the table: called by the migration that brings a service its decision records."""
    declare_decisions(new_metadata()).create(operations.get_bind())


class PostgresDecisionLog:
    """A decision log bound to one transaction; the records are written in one go before it commits."""

    def __init__(self, transaction: Transaction) -> None:
        """Collect decisions for `transaction`."""
        self._transaction = transaction
        self._decisions: list[Decision] = []

    def add(self, decision: Decision) -> None:
        """Record `decision` with the transaction."""
        if not self._decisions:
            self._transaction.before_commit(self._write)
        self._decisions.append(decision)

    async def add_all(self, decisions: Sequence[Decision]) -> None:
        """Record `decisions` with the transaction; many are written while the caller goes on."""
        if len(decisions) <= _DEFERRED_ROWS_MAX:
            for one in decisions:
                self.add(one)
            return
        await self._copy(_rows(decisions))

    async def _write(self) -> None:
        rows = _rows(self._decisions)
        if len(rows) <= _DEFERRED_ROWS_MAX:
            self._transaction.defer(_INSERT, *(list(column) for column in zip(*rows, strict=True)))
        else:
            await self._copy(rows)

    async def _copy(self, rows: Sequence[_Row]) -> None:
        # A day's orders leave as many records: COPY takes half of what arrays do.
        await self._transaction.write(
            lambda driver: driver.copy_records_to_table("decisions", columns=_COLUMNS, records=rows), rows=len(rows)
        )


def _rows(decisions: Sequence[Decision]) -> list[_Row]:
    return [(one.id, one.decision, one.subject, one.decided_at, _encode(one).decode()) for one in decisions]


async def decisions_about(
    transaction: Transaction, *, subject: str, before_id: UUID | None = None, limit: int
) -> list[Decision]:
    """Return the decisions about `subject`, newest first, at most `limit`, older than `before_id` if given."""
    driver = await transaction.driver()
    rows = await driver.fetch(_SELECT, subject, before_id, limit)
    return [msgspec.json.decode(row["record"], type=Decision) for row in rows]
