"""The numbers of announcements, which move nothing and so are not in the ledger."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE numbered_announcements (
            warehouse text COLLATE "C" NOT NULL,
            sequence bigint NOT NULL,
            event_id uuid NOT NULL,
            recorded_at timestamptz NOT NULL,
            is_counted boolean NOT NULL DEFAULT false,
            CONSTRAINT numbered_announcements_pkey PRIMARY KEY (warehouse, sequence, event_id)
        )
        """
    )
    op.execute(
        "CREATE INDEX numbered_announcements_uncounted_idx ON numbered_announcements (warehouse) WHERE NOT is_counted"
    )


def downgrade() -> None:
    op.execute("DROP TABLE numbered_announcements")
