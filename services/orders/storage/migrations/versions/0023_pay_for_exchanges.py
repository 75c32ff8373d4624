"""Exchanges for what costs more than what comes back."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        """
        ALTER TABLE returns
            ADD COLUMN payment_token text,
            ADD COLUMN exchange_due_minor bigint NOT NULL DEFAULT 0,
            ADD CONSTRAINT returns_exchange_due_check CHECK (exchange_due_minor >= 0),
            ADD CONSTRAINT returns_payment_check CHECK (exchange_due_minor = 0 OR payment_token IS NOT NULL)
        """
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE returns DROP COLUMN payment_token, DROP COLUMN exchange_due_minor")
