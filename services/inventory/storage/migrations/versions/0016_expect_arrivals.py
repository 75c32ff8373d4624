"""Goods that are on their way."""

from alembic import op

revision = "0016"
down_revision = "0015"

_EXPECTED_ARRIVALS = """
CREATE TABLE expected_arrivals (
    sku text COLLATE "C" NOT NULL CONSTRAINT expected_arrivals_sku_fkey REFERENCES stock_items (sku),
    warehouse text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    units bigint NOT NULL,
    received bigint NOT NULL,
    expected_at timestamptz NOT NULL,
    announced_at timestamptz NOT NULL,
    announced_by uuid NOT NULL,
    CONSTRAINT expected_arrivals_pkey PRIMARY KEY (sku, warehouse, kind, reference),
    CONSTRAINT expected_arrivals_kind_check CHECK (kind IN ('purchase', 'transfer')),
    CONSTRAINT expected_arrivals_units_check CHECK (units >= 0 AND received >= 0)
)
"""


def upgrade() -> None:
    op.execute("ALTER TABLE stock_items ADD COLUMN has_arrivals boolean NOT NULL DEFAULT false")
    op.execute(_EXPECTED_ARRIVALS)
    op.execute("CREATE INDEX expected_arrivals_open_idx ON expected_arrivals (sku) WHERE received < units")


def downgrade() -> None:
    op.execute("DROP TABLE expected_arrivals")
    op.execute("ALTER TABLE stock_items DROP COLUMN has_arrivals")
