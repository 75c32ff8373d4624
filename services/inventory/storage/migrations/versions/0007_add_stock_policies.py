"""Safety stock and the limit of backorders of each SKU."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE stock_items
            ADD COLUMN safety_stock_units bigint NOT NULL DEFAULT 0,
            ADD COLUMN safety_stock_by_warehouse jsonb,
            ADD COLUMN backorder_units_max bigint,
            ADD CONSTRAINT stock_items_policy_check CHECK (safety_stock_units >= 0 AND backorder_units_max >= 0)
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE stock_items
            DROP COLUMN safety_stock_units, DROP COLUMN safety_stock_by_warehouse, DROP COLUMN backorder_units_max
        """
    )
