"""Stores: warehouses that customers walk into, and orders that they collect there."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE warehouses
            ADD COLUMN kind text NOT NULL DEFAULT 'warehouse'
                CONSTRAINT warehouses_kind_check CHECK (kind IN ('warehouse', 'store')),
            ADD COLUMN ships_orders boolean NOT NULL DEFAULT true,
            ADD COLUMN is_collection_point boolean NOT NULL DEFAULT false
        """
    )
    op.execute('ALTER TABLE reservations ADD COLUMN collect_at text COLLATE "C"')


def downgrade() -> None:
    op.execute("ALTER TABLE reservations DROP COLUMN collect_at")
    op.execute("ALTER TABLE warehouses DROP COLUMN kind, DROP COLUMN ships_orders, DROP COLUMN is_collection_point")
