"""Let lines of reservations be written without looking their reservation up."""

from alembic import op

revision = "0015"
down_revision = "0014"

_TABLES = ("reservation_lines", "backorder_lines")


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_order_id_fkey")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_order_id_fkey FOREIGN KEY (order_id) REFERENCES reservations"
        )
