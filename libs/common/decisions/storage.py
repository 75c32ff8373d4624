"""The decision records of a service in its own database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import JSON, Column, DateTime, Index, MetaData, Table, Text, Uuid

from libs.common.db import Transaction
from libs.common.db.metadata import MigrationOperations, new_metadata
from libs.common.decisions.record import Alternative, Decision

_COLUMNS = ("id", "decision", "subject", "decided_at", "record")
_INSERT = """
INSERT INTO decisions (id, decision, subject, decided_at, record)
SELECT id, decision, subject, decided_at, record::json
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
     AS new (id, decision, subject, decided_at, record)
"""
# More are cheaper by COPY, which takes round trips of its own.
_DEFERRED_ROWS_MAX = 50
_SELECT = """
SELECT id, decision, subject, decided_at, record::text FROM decisions
WHERE subject = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3
"""

_Row = tuple[UUID, str, str, datetime, str]


class _Record(msgspec.Struct, frozen=True):
    """What of a decision has no column of its own."""

    chosen: str
    reason: str
    rule: str
    alternatives: Sequence[Alternative] = ()
    inputs: Mapping[str, Any] = msgspec.field(default_factory=dict)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


def declare_decisions(metadata: MetaData) -> Table:
    """Add `decisions` to a service's tables."""
    return Table(
        "decisions",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("decision", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("decided_at", DateTime(timezone=True), nullable=False),
        # As it was written: read seldom and whole, and to take it apart costs as much as all else of the row.
        Column("record", JSON, nullable=False),
        # Serves GET /v1/decisions?subject=…, newest first.
        Index("decisions_subject_id_idx", "subject", "id"),
    )


def create_decisions(operations: MigrationOperations) -> None:
    """Create the table: called by the migration that brings a service its decision records."""
    declare_decisions(new_metadata()).create(operations.get_bind())


def keep_records_as_written(operations: MigrationOperations) -> None:
    """Let a table that was made before keep its records as text; those that are there are read as before."""
    operations.execute("ALTER TABLE decisions ALTER COLUMN record TYPE json USING record::text::json")


def take_records_apart(operations: MigrationOperations) -> None:
    """Go back to records that are taken apart, and hold the other columns once more."""
    operations.execute(
        """
        ALTER TABLE decisions ALTER COLUMN record TYPE jsonb USING record::jsonb || jsonb_build_object(
            'id', id, 'decision', decision, 'subject', subject, 'decided_at', decided_at
        )
        """
    )


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
    return [(one.id, one.decision, one.subject, one.decided_at, _record(one)) for one in decisions]


def _record(decision: Decision) -> str:
    record = _Record(decision.chosen, decision.reason, decision.rule, decision.alternatives, decision.inputs)
    return _encode(record).decode()


async def decisions_about(
    transaction: Transaction, *, subject: str, before_id: UUID | None = None, limit: int
) -> list[Decision]:
    """Return the decisions about `subject`, newest first, at most `limit`, older than `before_id` if given."""
    driver = await transaction.driver()
    rows = await driver.fetch(_SELECT, subject, before_id, limit)
    return [
        Decision(
            id=row["id"],
            decision=row["decision"],
            subject=row["subject"],
            decided_at=row["decided_at"],
            **msgspec.structs.asdict(_decode(row["record"])),
        )
        for row in rows
    ]
