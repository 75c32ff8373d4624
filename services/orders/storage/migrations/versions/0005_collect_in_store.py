"""The store where an order is collected."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN collect_at text")


def downgrade() -> None:
    op.execute("ALTER TABLE orders DROP COLUMN collect_at")
