"""Which provider serves an order, and what providers have told on their own account."""

from alembic import op

revision = "0004"
down_revision = "0003"

_UP = (
    "ALTER TABLE payments ADD COLUMN provider text NOT NULL DEFAULT 'sandbox'",
    "ALTER TABLE payment_commands ADD COLUMN provider text NOT NULL DEFAULT 'sandbox'",
    "DROP INDEX payment_commands_due_at_idx",
    "CREATE INDEX payment_commands_due_idx ON payment_commands (provider, due_at) WHERE status = 'pending'",
    """
    CREATE TABLE payment_notices (
        provider text,
        event_id text,
        received_at timestamptz NOT NULL,
        CONSTRAINT payment_notices_pkey PRIMARY KEY (provider, event_id)
    )
    """,
    "CREATE INDEX payment_notices_received_at_idx ON payment_notices (received_at)",
)
_DOWN = (
    "DROP TABLE payment_notices",
    "DROP INDEX payment_commands_due_idx",
    "CREATE INDEX payment_commands_due_at_idx ON payment_commands (due_at) WHERE status = 'pending'",
    "ALTER TABLE payment_commands DROP COLUMN provider",
    "ALTER TABLE payments DROP COLUMN provider",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _DOWN:
        op.execute(statement)
