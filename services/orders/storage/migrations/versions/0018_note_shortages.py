"""What orders were short of, and what they could have had instead."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
    CREATE TABLE order_shortages (
        order_id uuid,
        sequence integer,
        stage text NOT NULL,
        shortages jsonb NOT NULL,
        CONSTRAINT order_shortages_pkey PRIMARY KEY (order_id, sequence)
    )
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE order_shortages")
