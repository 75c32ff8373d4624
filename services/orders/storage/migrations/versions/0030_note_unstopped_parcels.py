"""Which parcels left although their order was ended, so that somebody is told."""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
    CREATE TABLE unstopped_parcels (
        shipment_id uuid CONSTRAINT unstopped_parcels_pkey PRIMARY KEY,
        order_id uuid NOT NULL,
        noted_at timestamptz NOT NULL
    )
    """)
    op.execute("CREATE INDEX unstopped_parcels_noted_at_idx ON unstopped_parcels (noted_at)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE unstopped_parcels")
