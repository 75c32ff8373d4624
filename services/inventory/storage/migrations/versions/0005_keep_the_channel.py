"""The channel of each order, by which it is decided how the order is allocated."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE reservations ADD COLUMN channel text")


def downgrade() -> None:
    op.execute("ALTER TABLE reservations DROP COLUMN channel")
