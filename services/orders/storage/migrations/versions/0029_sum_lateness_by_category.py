"""Which category a SKU is of, and what made deliveries of its goods late."""

from alembic import op

revision = "0029"
down_revision = "0028"

_STATEMENTS = (
    """
    CREATE TABLE product_categories (
        sku text,
        version bigint NOT NULL,
        category text NOT NULL,
        CONSTRAINT product_categories_pkey PRIMARY KEY (sku)
    )
    """,
    """
    CREATE TABLE late_category_summaries (
        day date,
        category text,
        delivered bigint NOT NULL,
        late bigint NOT NULL,
        lateness_seconds double precision NOT NULL,
        shares double precision[] NOT NULL,
        CONSTRAINT late_category_summaries_pkey PRIMARY KEY (day, category)
    )
    """,
    # Summed up from what there is.
    "INSERT INTO journey_marks (day) SELECT DISTINCT day FROM late_summaries",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("late_category_summaries", "product_categories"):
        op.execute(f"DROP TABLE {table}")
