"""Limits of how often promotions are used and what they may cost, and who has used them."""

from alembic import op

revision = "0020"
down_revision = "0019"

_LIMITS = """
ADD COLUMN uses_max bigint,
ADD COLUMN uses_per_customer_max bigint,
ADD COLUMN budget_minor bigint
"""
_STATEMENTS = (
    f"ALTER TABLE promotion_changes {_LIMITS}",
    f"""
    ALTER TABLE promotions {_LIMITS},
    ADD COLUMN used bigint NOT NULL DEFAULT 0,
    ADD COLUMN spent_minor bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT promotions_used_check CHECK (used >= 0 AND spent_minor >= 0)
    """,
    """
    CREATE TABLE promotion_uses (
        order_id uuid,
        code text,
        customer_id text NOT NULL,
        amount_minor bigint NOT NULL,
        used_at timestamptz NOT NULL,
        given_back_at timestamptz,
        CONSTRAINT promotion_uses_pkey PRIMARY KEY (order_id, code)
    )
    """,
    """
    CREATE INDEX promotion_uses_customer_idx ON promotion_uses (code, customer_id) WHERE given_back_at IS NULL
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE promotion_uses")
    op.execute("ALTER TABLE promotions DROP COLUMN used, DROP COLUMN spent_minor")
    for table in ("promotions", "promotion_changes"):
        op.execute(
            f"ALTER TABLE {table} DROP COLUMN uses_max, DROP COLUMN uses_per_customer_max, DROP COLUMN budget_minor"
        )
