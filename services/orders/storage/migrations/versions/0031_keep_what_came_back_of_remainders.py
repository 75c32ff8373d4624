"""What was given back of an order's remainder after the order had ended, so that late captures go back whole."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
    ALTER TABLE payments
        ADD COLUMN remainder_returned_minor bigint NOT NULL DEFAULT 0,
        ADD CONSTRAINT payments_remainder_returned_check CHECK (remainder_returned_minor >= 0)
    """)
    # These statuses are those that the index on return_id has: nobody waits for a scan.
    op.execute("""
    UPDATE payments SET remainder_returned_minor = back.amount_minor
    FROM (
        SELECT order_id, sum(amount_minor) AS amount_minor FROM payment_commands AS command
        WHERE return_id IS NOT NULL AND status IN ('waiting', 'pending', 'succeeded') AND kind = 'refund'
          AND EXISTS (
            SELECT FROM order_timeline AS entry
            WHERE entry.order_id = command.order_id AND stage = 'cancelled' AND entered_at <= command.created_at
          )
        GROUP BY order_id
    ) AS back
    WHERE payments.order_id = back.order_id AND remainder_minor IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments DROP COLUMN remainder_returned_minor")
