"""
Units of unknown cost leave in proportion to the others, and no longer in whole units: all costs are folded again.

What is kept stays readable meanwhile. Nobody may fold while this runs: states are of one rule or the other.
"""

from alembic import op

revision = "0023"
down_revision = "0022"

# All that was ever folded has a state: of each month the first is kept.
_FOLD_AGAIN = """
INSERT INTO stock_cost_queue (sku, since)
SELECT sku, min(day) FROM stock_cost_states GROUP BY sku
ON CONFLICT (sku) DO UPDATE SET since = least(stock_cost_queue.since, excluded.since)
"""


def upgrade() -> None:
    _fold_again()
    op.execute("ALTER TABLE stock_cost_days ALTER COLUMN uncosted_units TYPE numeric")


def downgrade() -> None:
    _fold_again()
    op.execute("ALTER TABLE stock_cost_days ALTER COLUMN uncosted_units TYPE bigint")


def _fold_again() -> None:
    op.execute("LOCK TABLE stock_cost_queue, stock_cost_states IN EXCLUSIVE MODE")
    op.execute(_FOLD_AGAIN)
    op.execute("DELETE FROM stock_cost_states")
