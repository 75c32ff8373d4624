"""Create the counts of products and pairs, browsing windows, histories and the inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.messaging.tables import create_inbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    create_inbox(op)
    _create_items()
    _create_item_pairs()
    _create_people()


def _create_items() -> None:
    op.create_table(
        "items",
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("bought_weight", sa.BigInteger, nullable=False),
        sa.Column("viewed_weight", sa.BigInteger, nullable=False),
        sa.Column("popularity_log2", sa.Double, nullable=False),
        sa.CheckConstraint("bought_weight >= 0", name="items_bought_weight_check"),
        sa.CheckConstraint("viewed_weight >= 0", name="items_viewed_weight_check"),
    )
    op.create_index("items_popularity_log2_idx", "items", [sa.text("popularity_log2 DESC")])


def _create_item_pairs() -> None:
    op.create_table(
        "item_pairs",
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("neighbour", sa.Text, primary_key=True),
        sa.Column("bought_weight", sa.BigInteger, nullable=False),
        sa.Column("viewed_weight", sa.BigInteger, nullable=False),
        sa.Column("viewed_derived_weight", sa.BigInteger, nullable=False),
        sa.Column(
            "candidate_weight",
            sa.BigInteger,
            sa.Computed("3 * bought_weight + viewed_weight", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint("sku <> neighbour", name="item_pairs_two_products_check"),
        sa.CheckConstraint("bought_weight >= 0", name="item_pairs_bought_weight_check"),
        sa.CheckConstraint(
            "viewed_derived_weight BETWEEN 0 AND viewed_weight",
            name="item_pairs_viewed_derived_weight_check",
        ),
    )
    op.create_index(
        "item_pairs_sku_candidate_weight_idx",
        "item_pairs",
        ["sku", sa.text("candidate_weight DESC")],
    )
    # Every batch rewrites the pairs of what sells: vacuum when a twentieth is dead, before the indexes swell.
    for table in ("items", "item_pairs"):
        op.execute(
            f"ALTER TABLE {table} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05,"
            " autovacuum_vacuum_cost_delay = 0)"
        )


def _create_people() -> None:
    op.create_table(
        "browsing_windows",
        sa.Column("visitor_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("views", JSONB, nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "histories",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("viewed", JSONB, nullable=False),
        sa.Column("bought", JSONB, nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    # Rows grow with each view until they reach their bound: room on the page keeps the updates HOT.
    for table in ("browsing_windows", "histories"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 60)")


def downgrade() -> None:
    """Take back."""
    for table in ("histories", "browsing_windows", "item_pairs", "items", "inbox_events"):
        op.drop_table(table)
