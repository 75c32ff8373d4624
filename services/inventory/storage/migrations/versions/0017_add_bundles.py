"""What bundles are made of, now and for each reservation of one."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("ALTER TABLE stock_items ADD COLUMN components jsonb")
    op.execute("CREATE INDEX stock_items_bundles_idx ON stock_items (sku) WHERE components IS NOT NULL")
    op.execute("ALTER TABLE reservations ADD COLUMN bundles jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE reservations DROP COLUMN bundles")
    op.execute("ALTER TABLE stock_items DROP COLUMN components")
