"""Arrivals are found without reading what left: what stock is made of by age, and what a unit cost."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX stock_movements_arrivals_idx ON stock_movements (sku, occurred_at)
        INCLUDE (warehouse, id, kind, delta_on_hand, unit_cost_minor, currency)
        WHERE kind IN ('receipt', 'return', 'transfer-in') AND delta_on_hand > 0
        """
    )


def downgrade() -> None:
    op.execute("DROP INDEX stock_movements_arrivals_idx")
