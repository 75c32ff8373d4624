"""Take the numbers of reports from the ledger, behind the bookings."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # All that is booked has been taken in.
    op.execute("""
        INSERT INTO ledger_followers (name, movement_id)
        SELECT 'sequences', max(id) FROM stock_movements HAVING max(id) IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("DELETE FROM ledger_followers WHERE name = 'sequences'")
