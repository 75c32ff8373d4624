"""What becomes of orders that are short: the choice, the promise, and the remainder as an order of its own."""

from alembic import op

revision = "0013"
down_revision = "0012"

_UPGRADE = (
    """
    ALTER TABLE orders
        ADD COLUMN expected_at timestamptz,
        DROP CONSTRAINT orders_on_shortage_check,
        ADD CONSTRAINT orders_on_shortage_check CHECK (on_shortage IN ('refuse', 'split', 'wait', 'backorder'))
    """,
    "ALTER TABLE order_allocations ADD COLUMN missing jsonb",
    """
    ALTER TABLE payments
        ADD COLUMN remainder_minor bigint,
        ADD COLUMN remainder_status text,
        ADD CONSTRAINT payments_remainder_check CHECK (remainder_minor BETWEEN 0 AND total_minor),
        ADD CONSTRAINT payments_remainder_status_check CHECK (remainder_status IN ('open', 'shipped', 'ended')),
        ADD CONSTRAINT payments_divided_check CHECK ((remainder_minor IS NULL) = (remainder_status IS NULL))
    """,
    """
    CREATE TABLE order_origins (
        order_id uuid CONSTRAINT order_origins_pkey PRIMARY KEY,
        origin_id uuid NOT NULL,
        is_remainder boolean NOT NULL,
        prepaid_minor bigint NOT NULL,
        keeps jsonb NOT NULL,
        CONSTRAINT order_origins_prepaid_check CHECK (prepaid_minor >= 0)
    )
    """,
    "CREATE INDEX order_origins_origin_id_idx ON order_origins (origin_id)",
    "CREATE UNIQUE INDEX order_origins_remainder_idx ON order_origins (origin_id) WHERE is_remainder",
)
_DOWNGRADE = (
    "DROP TABLE order_origins",
    "ALTER TABLE payments DROP COLUMN remainder_minor, DROP COLUMN remainder_status",
    "ALTER TABLE order_allocations DROP COLUMN missing",
    # What was bought under the newer terms goes on under the older ones that come closest.
    "UPDATE orders SET on_shortage = 'backorder' WHERE on_shortage IN ('split', 'wait')",
    """
    ALTER TABLE orders
        DROP COLUMN expected_at,
        DROP CONSTRAINT orders_on_shortage_check,
        ADD CONSTRAINT orders_on_shortage_check CHECK (on_shortage IN ('backorder', 'refuse'))
    """,
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWNGRADE:
        op.execute(statement)
