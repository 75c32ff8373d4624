"""The outbox and the record of who relayed it."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)

from libs.common.db.metadata import MigrationOperations, new_metadata


def declare_outbox(metadata: MetaData) -> tuple[Table, Table]:
    """Add `outbox_events` and `relay_leases` to a service's tables."""
    outbox_events = Table(
        "outbox_events",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False),
        Column("topic", Text, nullable=False),
        Column("key", LargeBinary, nullable=False),
        # The record's headers and value as they go on the wire: the relay copies, it never encodes.
        Column("headers", LargeBinary, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    relay_leases = Table(
        "relay_leases",
        metadata,
        # Counts take-overs; a row per relay that ever held the lock.
        Column("epoch", BigInteger, Identity(always=True), primary_key=True),
        Column("holder", Text, nullable=False),
        Column("acquired_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    return outbox_events, relay_leases


def create_outbox(operations: MigrationOperations) -> None:
    """Create the outbox tables: called by the migration that brings a service its outbox."""
    for table in declare_outbox(new_metadata()):
        table.create(operations.get_bind())
    # Rows live for milliseconds: vacuum by count, at full speed, or dead rows pile up at the head of the index.
    operations.get_bind().exec_driver_sql(
        "ALTER TABLE outbox_events SET (autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
    )
