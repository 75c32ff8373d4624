"""What stock cost at the end of each day, and what is needed to go on from there."""

from alembic import op

revision = "0010"
down_revision = "0009"

_STATEMENTS = (
    """
CREATE TABLE stock_cost_queue (
    sku text COLLATE "C" CONSTRAINT stock_cost_queue_pkey PRIMARY KEY,
    since date NOT NULL
)
""",
    """
CREATE TABLE stock_cost_states (
    sku text COLLATE "C" NOT NULL,
    day date NOT NULL,
    state text NOT NULL,
    is_monthly boolean NOT NULL,
    CONSTRAINT stock_cost_states_pkey PRIMARY KEY (sku, day)
)
""",
    """
CREATE TABLE stock_cost_days (
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    day date NOT NULL,
    units bigint NOT NULL,
    uncosted_units bigint NOT NULL,
    received_units bigint NOT NULL,
    unpriced_units bigint NOT NULL,
    sold_units bigint NOT NULL,
    returned_units bigint NOT NULL,
    adjusted_units bigint NOT NULL,
    transferred_units bigint NOT NULL,
    unit_days numeric NOT NULL,
    empty_days bigint NOT NULL,
    first_day date NOT NULL,
    last_sold_on date,
    last_received_on date,
    CONSTRAINT stock_cost_days_pkey PRIMARY KEY (sku, warehouse, day)
)
""",
    """
CREATE TABLE stock_cost_values (
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    day date NOT NULL,
    currency text COLLATE "C" NOT NULL,
    value_minor numeric NOT NULL,
    received_minor numeric NOT NULL,
    sold_minor numeric NOT NULL,
    returned_minor numeric NOT NULL,
    adjusted_minor numeric NOT NULL,
    transferred_minor numeric NOT NULL,
    value_days_minor numeric NOT NULL,
    CONSTRAINT stock_cost_values_pkey PRIMARY KEY (sku, warehouse, day, currency)
)
""",
    """
CREATE TABLE stock_classes (
    sku text COLLATE "C" CONSTRAINT stock_classes_pkey PRIMARY KEY,
    abc text NOT NULL,
    xyz text NOT NULL,
    currency text NOT NULL,
    consumption_minor numeric NOT NULL,
    consumption_units bigint NOT NULL,
    variation double precision,
    classed_at timestamptz NOT NULL,
    CONSTRAINT stock_classes_abc_check CHECK (abc IN ('A', 'B', 'C')),
    CONSTRAINT stock_classes_xyz_check CHECK (xyz IN ('X', 'Y', 'Z'))
)
""",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "stock_classes",
        "stock_cost_values",
        "stock_cost_days",
        "stock_cost_states",
        "stock_cost_queue",
    ):
        op.execute(f"DROP TABLE {table}")
