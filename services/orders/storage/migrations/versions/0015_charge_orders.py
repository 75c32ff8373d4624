"""Discounts, shipping, taxes and promotions, what lines bear of them, and what goes back for them."""

from alembic import op

revision = "0015"
down_revision = "0014"

_STATEMENTS = (
    """
    CREATE TABLE order_charges (
        order_id uuid,
        position integer,
        kind text NOT NULL,
        code text NOT NULL,
        amount_minor bigint NOT NULL,
        lines jsonb NOT NULL,
        jurisdiction text,
        rate_ppm integer,
        is_inclusive boolean,
        base text,
        rounding text,
        CONSTRAINT order_charges_pkey PRIMARY KEY (order_id, position),
        CONSTRAINT order_charges_amount_check CHECK (amount_minor >= 0),
        CONSTRAINT order_charges_kind_check CHECK (kind IN ('discount', 'shipping', 'tax')),
        CONSTRAINT order_charges_tax_check CHECK ((kind = 'tax') = (rate_ppm IS NOT NULL))
    )
    """,
    """
    CREATE TABLE promotions (
        code text CONSTRAINT promotions_pkey PRIMARY KEY,
        version integer NOT NULL,
        kind text NOT NULL,
        rate_ppm integer,
        amount_minor bigint,
        currency text,
        skus text[] NOT NULL,
        minimum_minor bigint NOT NULL,
        valid_from timestamptz NOT NULL,
        valid_to timestamptz,
        CONSTRAINT promotions_kind_check CHECK (kind IN ('percent', 'amount')),
        CONSTRAINT promotions_rate_check CHECK ((kind = 'percent') = (rate_ppm IS NOT NULL)),
        CONSTRAINT promotions_amount_check CHECK ((kind = 'amount') = (amount_minor IS NOT NULL))
    )
    """,
    """
    CREATE TABLE promotion_changes (
        code text,
        version integer,
        principal text NOT NULL,
        changed_at timestamptz NOT NULL,
        kind text NOT NULL,
        rate_ppm integer,
        amount_minor bigint,
        currency text,
        skus text[] NOT NULL,
        minimum_minor bigint NOT NULL,
        valid_from timestamptz NOT NULL,
        valid_to timestamptz,
        CONSTRAINT promotion_changes_pkey PRIMARY KEY (code, version)
    )
    """,
    "ALTER TABLE order_lines ADD COLUMN charged_minor bigint",
    "ALTER TABLE order_findings ADD COLUMN code text",
    "ALTER TABLE return_lines ADD COLUMN refund_minor bigint",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE return_lines DROP COLUMN refund_minor")
    op.execute("ALTER TABLE order_findings DROP COLUMN code")
    op.execute("ALTER TABLE order_lines DROP COLUMN charged_minor")
    for table in ("promotion_changes", "promotions", "order_charges"):
        op.execute(f"DROP TABLE {table}")
