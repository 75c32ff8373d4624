"""Warehouses, stock with its ledger, reservations, and what every service has."""

from alembic import op

from libs.common.decisions.storage import create_decisions
from libs.common.messaging.tables import create_inbox
from libs.common.outbox.tables import create_outbox

revision = "0001"
down_revision = None

_WAREHOUSES = """
CREATE TABLE warehouses (
    code text COLLATE "C" CONSTRAINT warehouses_pkey PRIMARY KEY,
    version bigint NOT NULL,
    name text NOT NULL,
    country text NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    priority integer NOT NULL,
    is_active boolean NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT warehouses_coordinates_check
        CHECK (latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180)
)
"""
# Half-empty pages for the rows that every transaction updates: the new version of a row fits beside the old one, and
# as no updated column is indexed, no index is touched.
_STOCK_ITEMS = """
CREATE TABLE stock_items (
    sku text COLLATE "C" CONSTRAINT stock_items_pkey PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
"""
_STOCK_LEVELS = """
CREATE TABLE stock_levels (
    sku text COLLATE "C" NOT NULL CONSTRAINT stock_levels_sku_fkey REFERENCES stock_items (sku),
    warehouse text COLLATE "C" NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL,
    in_transit bigint NOT NULL,
    shortfall bigint NOT NULL,
    counted_at timestamptz,
    counted_by uuid,
    CONSTRAINT stock_levels_pkey PRIMARY KEY (sku, warehouse),
    CONSTRAINT stock_levels_on_hand_check CHECK (on_hand >= 0),
    CONSTRAINT stock_levels_reserved_check CHECK (reserved >= 0 AND reserved <= on_hand),
    CONSTRAINT stock_levels_in_transit_check CHECK (in_transit >= 0),
    CONSTRAINT stock_levels_shortfall_check CHECK (shortfall >= 0 AND (shortfall = 0 OR on_hand = 0)),
    CONSTRAINT stock_levels_counted_check CHECK ((counted_at IS NULL) = (counted_by IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
"""
_STOCK_MOVEMENTS = """
CREATE TABLE stock_movements (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    event_id uuid NOT NULL,
    leg smallint NOT NULL,
    kind text NOT NULL,
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    delta_on_hand bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    reference text,
    reason text,
    order_id uuid,
    transfer_id uuid,
    sequence bigint,
    unit_cost_minor bigint,
    currency text,
    CONSTRAINT stock_movements_pkey PRIMARY KEY (event_id, leg),
    CONSTRAINT stock_movements_kind_check CHECK (
        kind IN ('receipt', 'pick', 'ship', 'return', 'adjust', 'count', 'transfer-out', 'transfer-in', 'shortfall')
    ),
    CONSTRAINT stock_movements_cost_check CHECK ((unit_cost_minor IS NULL) = (currency IS NULL))
)
"""
_APPEND_ONLY = """
CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: correct it with a movement'
        USING ERRCODE = 'restrict_violation';
END $$
"""
_APPEND_ONLY_TRIGGER = """
CREATE TRIGGER stock_movements_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger()
"""
_STOCK_TRANSFERS = """
CREATE TABLE stock_transfers (
    transfer_id uuid NOT NULL,
    sku text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    dispatched bigint NOT NULL,
    received bigint NOT NULL,
    CONSTRAINT stock_transfers_pkey PRIMARY KEY (transfer_id, sku, destination),
    CONSTRAINT stock_transfers_units_check CHECK (dispatched >= 0 AND received >= 0)
)
"""
_RESERVATIONS = """
CREATE TABLE reservations (
    order_id uuid CONSTRAINT reservations_pkey PRIMARY KEY,
    status text NOT NULL,
    version bigint NOT NULL,
    approved_at timestamptz,
    on_shortage text,
    is_split_allowed boolean,
    country text,
    latitude double precision,
    longitude double precision,
    changed_at timestamptz NOT NULL,
    CONSTRAINT reservations_status_check
        CHECK (status IN ('held', 'waiting', 'rejected', 'released', 'committed')),
    CONSTRAINT reservations_on_shortage_check CHECK (on_shortage IN ('backorder', 'refuse')),
    CONSTRAINT reservations_terms_check CHECK (
        status = 'released' OR num_nulls(approved_at, on_shortage, is_split_allowed, country) = 0
    )
)
"""
_RESERVATION_LINES = """
CREATE TABLE reservation_lines (
    order_id uuid NOT NULL CONSTRAINT reservation_lines_order_id_fkey REFERENCES reservations (order_id),
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    committed_quantity bigint NOT NULL,
    CONSTRAINT reservation_lines_pkey PRIMARY KEY (order_id, sku, warehouse),
    CONSTRAINT reservation_lines_quantity_check
        CHECK (quantity > 0 AND committed_quantity BETWEEN 0 AND quantity)
)
"""
_BACKORDER_LINES = """
CREATE TABLE backorder_lines (
    order_id uuid NOT NULL CONSTRAINT backorder_lines_order_id_fkey REFERENCES reservations (order_id),
    sku text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    approved_at timestamptz NOT NULL,
    CONSTRAINT backorder_lines_pkey PRIMARY KEY (order_id, sku),
    CONSTRAINT backorder_lines_quantity_check CHECK (quantity > 0)
)
"""
_BACKORDER_REVISITS = """
CREATE TABLE backorder_revisits (
    sku text COLLATE "C" CONSTRAINT backorder_revisits_pkey PRIMARY KEY,
    after_approved_at timestamptz NOT NULL,
    after_order_id uuid NOT NULL
)
"""
_INDEXES = (
    "CREATE INDEX stock_movements_sku_occurred_at_id_idx ON stock_movements (sku, occurred_at, id)",
    "CREATE INDEX reservations_waiting_idx ON reservations (approved_at) WHERE status = 'waiting'",
    "CREATE INDEX reservation_lines_held_idx ON reservation_lines (sku, warehouse) WHERE quantity > committed_quantity",
    "CREATE INDEX backorder_lines_queue_idx ON backorder_lines (sku, approved_at, order_id)",
)


def upgrade() -> None:
    create_outbox(op)
    create_inbox(op)
    create_decisions(op)
    for statement in (
        _WAREHOUSES,
        _STOCK_ITEMS,
        _STOCK_LEVELS,
        _STOCK_MOVEMENTS,
        _APPEND_ONLY,
        _APPEND_ONLY_TRIGGER,
        _STOCK_TRANSFERS,
        _RESERVATIONS,
        _RESERVATION_LINES,
        _BACKORDER_LINES,
        _BACKORDER_REVISITS,
        *_INDEXES,
    ):
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "backorder_revisits",
        "backorder_lines",
        "reservation_lines",
        "reservations",
        "stock_transfers",
        "stock_movements",
        "stock_levels",
        "stock_items",
        "warehouses",
        "decisions",
        "inbox_events",
        "relay_leases",
        "outbox_events",
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_change_of_ledger()")
