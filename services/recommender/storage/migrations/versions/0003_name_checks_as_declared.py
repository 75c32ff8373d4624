"""The checks of the counts get the names that the code declares: they had their table's and `check` twice."""

from alembic import op

revision = "0003"
down_revision = "0002"

_CHECKS = (
    ("items", "items_bought_weight_check"),
    ("items", "items_viewed_weight_check"),
    ("item_pairs", "item_pairs_two_products_check"),
    ("item_pairs", "item_pairs_bought_weight_check"),
    ("item_pairs", "item_pairs_viewed_derived_weight_check"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, name in _CHECKS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {table}_{name}_check TO {name}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, name in _CHECKS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {name} TO {table}_{name}_check")
