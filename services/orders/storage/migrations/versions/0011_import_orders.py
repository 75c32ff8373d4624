"""Which orders other systems have sent by the file."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
    CREATE TABLE imported_orders (
        channel text,
        reference text,
        order_id uuid NOT NULL,
        content_hash bytea NOT NULL,
        imported_at timestamptz NOT NULL,
        CONSTRAINT imported_orders_pkey PRIMARY KEY (channel, reference)
    )
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE imported_orders")
