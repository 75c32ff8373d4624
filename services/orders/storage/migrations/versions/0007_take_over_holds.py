"""The hold that an order takes over."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN hold_id uuid")


def downgrade() -> None:
    op.execute("ALTER TABLE orders DROP COLUMN hold_id")
