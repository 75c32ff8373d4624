"""Webhook endpoints, what is on its way to them, and every attempt."""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    """
    CREATE TABLE webhook_endpoints (
        id uuid CONSTRAINT webhook_endpoints_pkey PRIMARY KEY,
        url text NOT NULL,
        description text NOT NULL,
        event_types text[] NOT NULL,
        status text NOT NULL,
        secret text NOT NULL,
        previous_secret text,
        previous_secret_expires_at timestamptz,
        disabled_reason text,
        disabled_at timestamptz,
        resume_at timestamptz,
        last_succeeded_at timestamptz,
        created_at timestamptz NOT NULL,
        CONSTRAINT webhook_endpoints_status_check CHECK (status IN ('active', 'disabled')),
        CONSTRAINT webhook_endpoints_event_types_check CHECK (cardinality(event_types) > 0),
        CONSTRAINT webhook_endpoints_disabled_check CHECK ((status = 'disabled') = (disabled_at IS NOT NULL)),
        CONSTRAINT webhook_endpoints_previous_secret_check
            CHECK ((previous_secret IS NULL) = (previous_secret_expires_at IS NULL))
    )
    """,
    """
    CREATE TABLE webhook_deliveries (
        id uuid CONSTRAINT webhook_deliveries_pkey PRIMARY KEY,
        position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        endpoint_id uuid NOT NULL
            CONSTRAINT webhook_deliveries_endpoint_id_fkey REFERENCES webhook_endpoints (id),
        event_id uuid NOT NULL,
        order_id uuid NOT NULL,
        type text NOT NULL,
        payload bytea NOT NULL,
        status text NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz,
        created_at timestamptz NOT NULL,
        delivered_at timestamptz,
        last_status smallint,
        last_error text,
        CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'delivered', 'failed')),
        CONSTRAINT webhook_deliveries_delivered_check CHECK ((status = 'delivered') = (delivered_at IS NOT NULL)),
        CONSTRAINT webhook_deliveries_due_check CHECK (status = 'pending' OR due_at IS NULL),
        CONSTRAINT webhook_deliveries_endpoint_id_event_id_key UNIQUE (endpoint_id, event_id)
    )
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)
    """,
    """
    CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (endpoint_id, due_at)
        WHERE status = 'pending' AND due_at IS NOT NULL
    """,
    """
    CREATE INDEX webhook_deliveries_queue_idx ON webhook_deliveries (endpoint_id, order_id, position)
        WHERE status = 'pending'
    """,
    "CREATE INDEX webhook_deliveries_endpoint_id_position_idx ON webhook_deliveries (endpoint_id, position)",
    """
    CREATE INDEX webhook_deliveries_failed_idx ON webhook_deliveries (endpoint_id, position)
        WHERE status = 'failed'
    """,
    "CREATE INDEX webhook_deliveries_created_at_idx ON webhook_deliveries (created_at)",
    """
    CREATE TABLE webhook_attempts (
        delivery_id uuid NOT NULL,
        attempt integer NOT NULL,
        attempted_at timestamptz NOT NULL,
        status smallint,
        error text,
        duration_seconds double precision NOT NULL,
        excerpt text NOT NULL,
        CONSTRAINT webhook_attempts_pkey PRIMARY KEY (delivery_id, attempt)
    )
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("webhook_attempts", "webhook_deliveries", "webhook_endpoints"):
        op.execute(f"DROP TABLE {table}")
