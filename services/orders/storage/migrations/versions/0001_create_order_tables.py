"""Orders, their money, their returns, and what every service has."""

from alembic import op

from libs.common.db import new_metadata
from libs.common.decisions.storage import create_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import create_inbox
from libs.common.outbox.tables import create_outbox

revision = "0001"
down_revision = None

_ORDERS = """
CREATE TABLE orders (
    id uuid CONSTRAINT orders_pkey PRIMARY KEY,
    status text NOT NULL,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    sequence integer NOT NULL,
    status_reason text,
    deadline_at timestamptz,
    stuck_since timestamptz,
    customer_id text NOT NULL,
    channel text NOT NULL,
    reference text,
    currency text NOT NULL,
    total_minor bigint NOT NULL,
    country text NOT NULL,
    latitude double precision,
    longitude double precision,
    on_shortage text NOT NULL,
    is_split_allowed boolean NOT NULL,
    correlation_id text NOT NULL,
    traceparent text,
    placed_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT orders_status_check CHECK (status IN (
        'received', 'held', 'approved', 'backordered', 'reserved', 'confirmed', 'cancelling', 'shipped',
        'delivered', 'settled', 'refused', 'cancelled')),
    CONSTRAINT orders_total_check CHECK (total_minor >= 0),
    CONSTRAINT orders_on_shortage_check CHECK (on_shortage IN ('backorder', 'refuse')),
    CONSTRAINT orders_deadline_check
        CHECK ((status IN ('cancelled', 'refused', 'settled')) = (deadline_at IS NULL))
)
-- A row changes five or six times within days and is then history: room for its next states on its own page.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX orders_status_id_idx ON orders (status, id);
CREATE INDEX orders_customer_id_id_idx ON orders (customer_id, id);
CREATE INDEX orders_stuck_idx ON orders (id) WHERE stuck_since IS NOT NULL;
CREATE TABLE order_lines (
    order_id uuid,
    line integer,
    sku text NOT NULL,
    quantity integer NOT NULL,
    unit_price_minor bigint NOT NULL,
    returned_quantity integer NOT NULL DEFAULT 0,
    CONSTRAINT order_lines_pkey PRIMARY KEY (order_id, line),
    CONSTRAINT order_lines_quantity_check CHECK (quantity > 0),
    CONSTRAINT order_lines_unit_price_check CHECK (unit_price_minor >= 0),
    CONSTRAINT order_lines_returned_check CHECK (returned_quantity BETWEEN 0 AND quantity)
);
CREATE TABLE order_addresses (
    order_id uuid CONSTRAINT order_addresses_pkey PRIMARY KEY,
    address jsonb NOT NULL
);
"""
_PROGRESS = """
CREATE TABLE order_allocations (
    order_id uuid CONSTRAINT order_allocations_pkey PRIMARY KEY,
    warehouses text[] NOT NULL,
    allocations jsonb NOT NULL,
    CONSTRAINT order_allocations_warehouses_check CHECK (cardinality(warehouses) > 0)
);
CREATE TABLE order_shipments (
    order_id uuid,
    shipment_id uuid,
    warehouse text,
    status text NOT NULL,
    dispatched_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT order_shipments_pkey PRIMARY KEY (order_id, shipment_id),
    CONSTRAINT order_shipments_status_check
        CHECK (status IN ('planned', 'cancelled', 'dispatched', 'failed', 'delivered'))
) WITH (fillfactor = 70);
CREATE TABLE order_timeline (
    order_id uuid,
    sequence integer,
    stage text NOT NULL,
    entered_at timestamptz NOT NULL,
    cause text NOT NULL,
    cause_id uuid,
    detail text,
    CONSTRAINT order_timeline_pkey PRIMARY KEY (order_id, sequence),
    CONSTRAINT order_timeline_stage_check CHECK (stage IN (
        'received', 'held', 'approved', 'backordered', 'reserved', 'confirmed', 'cancelling', 'shipped',
        'delivered', 'settled', 'refused', 'cancelled'))
);
CREATE TABLE order_timers (
    order_id uuid,
    kind text,
    due_at timestamptz NOT NULL,
    CONSTRAINT order_timers_pkey PRIMARY KEY (order_id, kind),
    CONSTRAINT order_timers_kind_check CHECK (kind IN (
        'review', 'stock-reply', 'backorder', 'payment', 'dispatch', 'cancellation', 'delivery', 'settlement'))
)
-- Most timers live for less than a second: vacuum by count, at full speed.
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX order_timers_due_at_idx ON order_timers (due_at);
"""
_MONEY = """
CREATE TABLE payments (
    order_id uuid CONSTRAINT payments_pkey PRIMARY KEY
        CONSTRAINT payments_order_id_fkey REFERENCES orders (id),
    version bigint NOT NULL DEFAULT 0,
    token text NOT NULL,
    reference text,
    currency text NOT NULL,
    total_minor bigint NOT NULL,
    authorised_minor bigint NOT NULL DEFAULT 0,
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    voided_minor bigint NOT NULL DEFAULT 0,
    CONSTRAINT payments_refunded_check CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    CONSTRAINT payments_captured_check CHECK (captured_minor >= 0 AND voided_minor >= 0),
    CONSTRAINT payments_held_check CHECK (captured_minor + voided_minor <= authorised_minor),
    CONSTRAINT payments_authorised_check CHECK (authorised_minor <= total_minor)
) WITH (fillfactor = 70);
CREATE TABLE payment_commands (
    id uuid CONSTRAINT payment_commands_pkey PRIMARY KEY,
    order_id uuid NOT NULL CONSTRAINT payment_commands_order_id_fkey REFERENCES payments (order_id),
    kind text NOT NULL,
    amount_minor bigint NOT NULL,
    status text NOT NULL,
    return_id uuid,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    resolved_at timestamptz,
    CONSTRAINT payment_commands_kind_check CHECK (kind IN ('authorise', 'capture', 'void', 'refund')),
    CONSTRAINT payment_commands_status_check
        CHECK (status IN ('waiting', 'pending', 'succeeded', 'declined', 'withdrawn')),
    CONSTRAINT payment_commands_amount_check CHECK (amount_minor > 0),
    CONSTRAINT payment_commands_resolved_check
        CHECK ((status IN ('waiting', 'pending')) = (resolved_at IS NULL))
)
-- A queue whose rows stay as history: each is updated two or three times within a second of its insertion.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX payment_commands_order_id_idx ON payment_commands (order_id);
CREATE INDEX payment_commands_due_at_idx ON payment_commands (due_at) WHERE status = 'pending';
CREATE UNIQUE INDEX payment_commands_return_id_idx ON payment_commands (return_id) WHERE return_id IS NOT NULL;
CREATE UNIQUE INDEX payment_commands_capture_idx ON payment_commands (order_id)
    WHERE kind = 'capture' AND status IN ('waiting', 'pending', 'succeeded');
CREATE TABLE returns (
    id uuid CONSTRAINT returns_pkey PRIMARY KEY,
    order_id uuid NOT NULL CONSTRAINT returns_order_id_fkey REFERENCES orders (id),
    status text NOT NULL,
    version bigint NOT NULL,
    reason text NOT NULL,
    currency text NOT NULL,
    refund_minor bigint NOT NULL,
    warehouse text,
    requested_at timestamptz NOT NULL,
    received_at timestamptz,
    closed_at timestamptz,
    CONSTRAINT returns_status_check CHECK (status IN ('requested', 'received', 'closed')),
    CONSTRAINT returns_refund_check CHECK (refund_minor >= 0),
    CONSTRAINT returns_received_check CHECK ((status = 'requested') = (received_at IS NULL)),
    CONSTRAINT returns_closed_check CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);
CREATE INDEX returns_order_id_idx ON returns (order_id);
CREATE TABLE return_lines (
    return_id uuid CONSTRAINT return_lines_return_id_fkey REFERENCES returns (id),
    line integer,
    sku text NOT NULL,
    quantity integer NOT NULL,
    unit_price_minor bigint NOT NULL,
    received_quantity integer NOT NULL DEFAULT 0,
    restocked_quantity integer NOT NULL DEFAULT 0,
    CONSTRAINT return_lines_pkey PRIMARY KEY (return_id, line),
    CONSTRAINT return_lines_quantity_check CHECK (quantity > 0),
    CONSTRAINT return_lines_received_check CHECK (received_quantity BETWEEN 0 AND quantity),
    CONSTRAINT return_lines_restocked_check CHECK (restocked_quantity BETWEEN 0 AND received_quantity)
);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    create_outbox(op)
    create_inbox(op)
    create_decisions(op)
    idempotency_keys_table(new_metadata()).create(op.get_bind())
    for statements in (_ORDERS, _PROGRESS, _MONEY):
        for statement in statements.split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    for table in (
        "return_lines",
        "returns",
        "payment_commands",
        "payments",
        "order_timers",
        "order_timeline",
        "order_shipments",
        "order_allocations",
        "order_addresses",
        "order_lines",
        "orders",
        "idempotency_keys",
        "decisions",
        "inbox_events",
        "relay_leases",
        "outbox_events",
    ):
        op.execute(f"DROP TABLE {table}")
