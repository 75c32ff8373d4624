"""The catalog's prices over time, and what the checks of new orders found."""

from alembic import op

revision = "0010"
down_revision = "0009"

_STATEMENTS = (
    """
    CREATE TABLE product_prices (
        sku text,
        version bigint,
        currency text NOT NULL,
        price_minor bigint NOT NULL,
        is_listed boolean NOT NULL,
        valid_from timestamptz NOT NULL,
        valid_to timestamptz,
        CONSTRAINT product_prices_pkey PRIMARY KEY (sku, version),
        CONSTRAINT product_prices_period_check CHECK (valid_to >= valid_from)
    )
    """,
    """
    CREATE TABLE order_findings (
        order_id uuid,
        position integer,
        kind text NOT NULL,
        consequence text NOT NULL,
        line integer,
        sku text,
        expected_minor bigint,
        offered_minor bigint NOT NULL,
        CONSTRAINT order_findings_pkey PRIMARY KEY (order_id, position),
        CONSTRAINT order_findings_consequence_check CHECK (consequence IN ('accept', 'hold'))
    )
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("order_findings", "product_prices"):
        op.execute(f"DROP TABLE {table}")
