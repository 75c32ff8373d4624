"""Counts that wait for approval."""

from alembic import op

revision = "0008"
down_revision = "0007"

_HELD_COUNTS = """
CREATE TABLE held_counts (
    event_id uuid CONSTRAINT held_counts_pkey PRIMARY KEY,
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    counted_at timestamptz NOT NULL,
    counted bigint NOT NULL,
    expected bigint NOT NULL,
    value_minor bigint,
    currency text,
    reference text,
    reason text,
    counted_by text,
    lot text COLLATE "C",
    held_because text NOT NULL,
    held_at timestamptz NOT NULL,
    status text NOT NULL,
    decided_at timestamptz,
    decided_by text,
    decision_reason text,
    booked_units bigint,
    CONSTRAINT held_counts_status_check CHECK (status IN ('pending', 'approved', 'rejected', 'lapsed')),
    CONSTRAINT held_counts_decided_check CHECK (
        CASE WHEN status IN ('approved', 'rejected') THEN num_nulls(decided_at, decided_by, decision_reason) = 0
        ELSE decided_by IS NULL END
    ),
    CONSTRAINT held_counts_booked_units_check CHECK ((booked_units IS NOT NULL) = (status = 'approved'))
)
"""


def upgrade() -> None:
    op.execute(_HELD_COUNTS)
    op.execute("CREATE INDEX held_counts_held_at_event_id_idx ON held_counts (held_at, event_id)")
    op.execute("CREATE INDEX held_counts_pending_idx ON held_counts (sku, warehouse) WHERE status = 'pending'")


def downgrade() -> None:
    op.execute("DROP TABLE held_counts")
