"""How each order fared: its stages, its promise, its risk, and the sums of them by day."""

from alembic import op

revision = "0006"
down_revision = "0005"

_STATEMENTS = (
    """
    CREATE TABLE order_parcels (
        shipment_id uuid CONSTRAINT order_parcels_pkey PRIMARY KEY,
        order_id uuid NOT NULL,
        carrier text,
        first_scanned_at timestamptz,
        last_scanned_at timestamptz
    )
    WITH (fillfactor = 80)
    """,
    "CREATE INDEX order_parcels_order_id_idx ON order_parcels (order_id)",
    """
    CREATE TABLE order_journeys (
        order_id uuid CONSTRAINT order_journeys_pkey PRIMARY KEY,
        day date NOT NULL,
        status text NOT NULL,
        reason text,
        customer_id text NOT NULL,
        channel text NOT NULL,
        country text NOT NULL,
        currency text NOT NULL,
        total_minor bigint NOT NULL,
        captured_minor bigint NOT NULL DEFAULT 0,
        refunded_minor bigint NOT NULL DEFAULT 0,
        warehouse text NOT NULL DEFAULT '',
        carrier text NOT NULL DEFAULT '',
        is_held boolean NOT NULL DEFAULT false,
        is_backordered boolean NOT NULL DEFAULT false,
        is_confirmed boolean NOT NULL DEFAULT false,
        is_returned boolean NOT NULL DEFAULT false,
        dispatched_at timestamptz,
        delivered_at timestamptz,
        stage_seconds double precision[],
        typical_seconds double precision[],
        promised_by timestamptz,
        ship_by timestamptz,
        allowance_seconds double precision,
        probability_late double precision,
        probability_at_confirmation double precision,
        probability_at_dispatch double precision,
        published_probability double precision,
        is_at_risk boolean NOT NULL DEFAULT false,
        rescore_at timestamptz,
        lateness_seconds double precision,
        late_shares double precision[],
        CONSTRAINT order_journeys_promise_check CHECK ((promised_by IS NULL) = (ship_by IS NULL)),
        CONSTRAINT order_journeys_probability_check CHECK (probability_late BETWEEN 0 AND 1)
    )
    WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)
    """,
    "CREATE INDEX order_journeys_day_idx ON order_journeys (day)",
    "CREATE INDEX order_journeys_queue_idx ON order_journeys (ship_by, order_id) WHERE is_at_risk",
    "CREATE INDEX order_journeys_rescore_at_idx ON order_journeys (rescore_at) WHERE rescore_at IS NOT NULL",
    """
    CREATE TABLE journey_marks (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT journey_marks_pkey PRIMARY KEY,
        day date NOT NULL
    )
    """,
    """
    CREATE TABLE order_summaries (
        day date,
        channel text,
        country text,
        currency text,
        orders bigint NOT NULL,
        held bigint NOT NULL,
        backordered bigint NOT NULL,
        confirmed bigint NOT NULL,
        refused bigint NOT NULL,
        cancelled bigint NOT NULL,
        shipped bigint NOT NULL,
        delivered bigint NOT NULL,
        settled bigint NOT NULL,
        returned bigint NOT NULL,
        total_minor numeric NOT NULL,
        captured_minor numeric NOT NULL,
        refunded_minor numeric NOT NULL,
        CONSTRAINT order_summaries_pkey PRIMARY KEY (day, channel, country, currency)
    )
    """,
    """
    CREATE TABLE reason_summaries (
        day date,
        outcome text,
        reason text,
        currency text,
        orders bigint NOT NULL,
        amount_minor numeric NOT NULL,
        CONSTRAINT reason_summaries_pkey PRIMARY KEY (day, outcome, reason, currency),
        CONSTRAINT reason_summaries_outcome_check CHECK (outcome IN ('cancelled', 'refused', 'returned'))
    )
    """,
    """
    CREATE TABLE stage_summaries (
        day date,
        stage text,
        warehouse text,
        carrier text,
        country text,
        channel text,
        bucket integer,
        orders bigint NOT NULL,
        seconds double precision NOT NULL,
        CONSTRAINT stage_summaries_pkey PRIMARY KEY (day, stage, warehouse, carrier, country, channel, bucket)
    )
    """,
    """
    CREATE TABLE late_summaries (
        day date,
        warehouse text,
        carrier text,
        country text,
        channel text,
        delivered bigint NOT NULL,
        late bigint NOT NULL,
        lateness_seconds double precision NOT NULL,
        shares double precision[] NOT NULL,
        CONSTRAINT late_summaries_pkey PRIMARY KEY (day, warehouse, carrier, country, channel)
    )
    """,
    """
    CREATE TABLE calibration_summaries (
        day date,
        point text,
        bin integer,
        orders bigint NOT NULL,
        late bigint NOT NULL,
        probability_sum double precision NOT NULL,
        squared_error_sum double precision NOT NULL,
        CONSTRAINT calibration_summaries_pkey PRIMARY KEY (day, point, bin),
        CONSTRAINT calibration_summaries_point_check CHECK (point IN ('confirmation', 'dispatch'))
    )
    """,
    """
    CREATE TABLE customer_months (
        customer_id text,
        month date,
        currency text,
        orders bigint NOT NULL,
        revenue_minor numeric NOT NULL,
        CONSTRAINT customer_months_pkey PRIMARY KEY (customer_id, month, currency)
    )
    """,
    "CREATE INDEX customer_months_month_idx ON customer_months (month)",
    """
    CREATE TABLE cohort_summaries (
        cohort date,
        month date,
        currency text,
        customers bigint NOT NULL,
        orders bigint NOT NULL,
        revenue_minor numeric NOT NULL,
        CONSTRAINT cohort_summaries_pkey PRIMARY KEY (cohort, month, currency)
    )
    """,
    "CREATE TABLE cohort_marks (month date CONSTRAINT cohort_marks_pkey PRIMARY KEY)",
)
_TABLES = (
    "cohort_marks",
    "cohort_summaries",
    "customer_months",
    "calibration_summaries",
    "late_summaries",
    "stage_summaries",
    "reason_summaries",
    "order_summaries",
    "journey_marks",
    "order_journeys",
    "order_parcels",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in _TABLES:
        op.execute(f"DROP TABLE {table}")
