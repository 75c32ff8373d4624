"""Reminders, each once, their notifications, and how customers are reached."""

from alembic import op

revision = "0009"
down_revision = "0008"

_STATEMENTS = (
    """
    CREATE TABLE reminders (
        rule text,
        subject_id uuid,
        order_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT reminders_pkey PRIMARY KEY (rule, subject_id)
    )
    """,
    """
    CREATE TABLE notifications (
        id uuid CONSTRAINT notifications_pkey PRIMARY KEY,
        rule text NOT NULL,
        condition text NOT NULL,
        audience text NOT NULL,
        channel text NOT NULL,
        order_id uuid NOT NULL,
        subject_id uuid NOT NULL,
        status text NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz,
        created_at timestamptz NOT NULL,
        sent_at timestamptz,
        last_outcome text,
        CONSTRAINT notifications_status_check CHECK (status IN ('pending', 'sent', 'failed', 'withdrawn')),
        CONSTRAINT notifications_audience_check CHECK (audience IN ('operator', 'customer')),
        CONSTRAINT notifications_channel_check CHECK (channel IN ('email', 'webhook', 'log')),
        CONSTRAINT notifications_due_check CHECK ((status = 'pending') = (due_at IS NOT NULL))
    )
    """,
    "CREATE INDEX notifications_due_at_idx ON notifications (due_at) WHERE status = 'pending'",
    "CREATE INDEX notifications_order_id_idx ON notifications (order_id)",
    """
    CREATE TABLE customer_contacts (
        customer_id text CONSTRAINT customer_contacts_pkey PRIMARY KEY,
        email text NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX returns_requested_at_idx ON returns (requested_at) WHERE status = 'requested'",
    "CREATE INDEX order_journeys_open_ship_by_idx ON order_journeys (ship_by) WHERE rescore_at IS NOT NULL",
    "CREATE INDEX order_journeys_open_promised_by_idx ON order_journeys (promised_by) WHERE rescore_at IS NOT NULL",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for index in (
        "order_journeys_open_promised_by_idx",
        "order_journeys_open_ship_by_idx",
        "returns_requested_at_idx",
    ):
        op.execute(f"DROP INDEX {index}")
    for table in ("customer_contacts", "notifications", "reminders"):
        op.execute(f"DROP TABLE {table}")
