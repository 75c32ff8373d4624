"""The inbox: which events a consumer group has already turned into an effect."""

from sqlalchemy import Column, DateTime, MetaData, Table, Text, Uuid, func

from libs.common.db.metadata import MigrationOperations, new_metadata


def declare_inbox(metadata: MetaData) -> Table:
    """Add `inbox_events` to a service's tables."""
    return Table(
        "inbox_events",
        metadata,
        Column("consumer_group", Text, primary_key=True),
        # Ids are time-ordered, so inserts stay at one end of the index and old rows are a range.
        Column("event_id", Uuid, primary_key=True),
        Column("processed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def create_inbox(operations: MigrationOperations) -> None:
    """Create the inbox: called by the migration that brings a service its first consumer."""
    declare_inbox(new_metadata()).create(operations.get_bind())
