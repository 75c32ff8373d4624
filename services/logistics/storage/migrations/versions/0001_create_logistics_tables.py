"""Shipments, their carriers, and what every service has."""

from alembic import op

from libs.common.db import new_metadata
from libs.common.decisions.storage import create_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import create_inbox
from libs.common.outbox.tables import create_outbox

revision = "0001"
down_revision = None

_SHIPMENTS = """
CREATE TABLE shipments (
    id uuid CONSTRAINT shipments_pkey PRIMARY KEY,
    order_id uuid NOT NULL,
    warehouse text NOT NULL,
    status text NOT NULL,
    version bigint NOT NULL,
    lines jsonb NOT NULL,
    origin_country text,
    origin_latitude double precision,
    origin_longitude double precision,
    destination_country text NOT NULL,
    destination_latitude double precision,
    destination_longitude double precision,
    carrier text NOT NULL,
    carrier_service text NOT NULL,
    cost_minor bigint NOT NULL,
    currency text NOT NULL,
    transit_days integer NOT NULL,
    decision_id uuid NOT NULL,
    planned_at timestamptz NOT NULL,
    ready_at timestamptz NOT NULL,
    promised_at timestamptz NOT NULL,
    estimated_delivery_at timestamptz NOT NULL,
    tracking_number text,
    dispatched_at timestamptz,
    last_scanned_at timestamptz,
    delivered_at timestamptz,
    failed_at timestamptz,
    cancelled_at timestamptz,
    reason text,
    CONSTRAINT shipments_order_id_warehouse_key UNIQUE (order_id, warehouse),
    CONSTRAINT shipments_status_check
        CHECK (status IN ('planned', 'dispatched', 'delivered', 'failed', 'cancelled')),
    CONSTRAINT shipments_version_check CHECK (version >= 1),
    CONSTRAINT shipments_lines_check CHECK (jsonb_array_length(lines) > 0),
    CONSTRAINT shipments_cost_check CHECK (cost_minor >= 0),
    CONSTRAINT shipments_transit_days_check CHECK (transit_days >= 0),
    CONSTRAINT shipments_dispatched_check
        CHECK ((status IN ('dispatched', 'delivered', 'failed')) = (dispatched_at IS NOT NULL)),
    CONSTRAINT shipments_tracking_number_check
        CHECK ((dispatched_at IS NULL) = (tracking_number IS NULL)),
    CONSTRAINT shipments_delivered_check
        CHECK ((status = 'delivered') = (delivered_at IS NOT NULL)),
    CONSTRAINT shipments_failed_check CHECK ((status = 'failed') = (failed_at IS NOT NULL)),
    CONSTRAINT shipments_cancelled_check
        CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT shipments_reason_check
        CHECK ((status IN ('failed', 'cancelled')) = (reason IS NOT NULL)),
    CONSTRAINT shipments_delivered_after_dispatched_check CHECK (delivered_at >= dispatched_at),
    CONSTRAINT shipments_failed_after_dispatched_check CHECK (failed_at >= dispatched_at),
    CONSTRAINT shipments_scanned_after_dispatched_check CHECK (last_scanned_at >= dispatched_at)
)
-- A row changes four or five times within days and is then history: room for its next states on its own page.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)
"""
_INDEXES = """
CREATE INDEX shipments_planned_at_id_idx ON shipments (planned_at, id);
CREATE INDEX shipments_live_idx ON shipments (status, planned_at, id)
    WHERE status IN ('planned', 'dispatched');
"""
_SCANS = """
CREATE TABLE shipment_scans (
    shipment_id uuid CONSTRAINT shipment_scans_shipment_id_fkey REFERENCES shipments (id),
    scanned_at timestamptz,
    place text,
    latitude double precision,
    longitude double precision,
    CONSTRAINT shipment_scans_pkey PRIMARY KEY (shipment_id, scanned_at, place),
    CONSTRAINT shipment_scans_coordinates_check CHECK ((latitude IS NULL) = (longitude IS NULL))
);
CREATE TABLE cancellation_tombstones (
    order_id uuid CONSTRAINT cancellation_tombstones_pkey PRIMARY KEY,
    reason text NOT NULL
);
CREATE TABLE warehouses (
    warehouse text CONSTRAINT warehouses_pkey PRIMARY KEY,
    country text NOT NULL,
    latitude double precision,
    longitude double precision,
    version bigint NOT NULL
);
"""
_CARRIERS = """
CREATE TABLE rate_table (
    is_only_row boolean CONSTRAINT rate_table_pkey PRIMARY KEY,
    version bigint NOT NULL,
    CONSTRAINT rate_table_is_only_row_check CHECK (is_only_row)
);
INSERT INTO rate_table VALUES (true, 0);
CREATE TABLE carriers (
    carrier text CONSTRAINT carriers_pkey PRIMARY KEY,
    name text NOT NULL,
    currency text NOT NULL,
    is_active boolean NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT carriers_version_check CHECK (version >= 1)
);
CREATE TABLE carrier_services (
    carrier text CONSTRAINT carrier_services_carrier_fkey REFERENCES carriers (carrier),
    service text,
    name text NOT NULL,
    cut_off time NOT NULL,
    CONSTRAINT carrier_services_pkey PRIMARY KEY (carrier, service)
);
CREATE TABLE carrier_rates (
    carrier text NOT NULL,
    service text NOT NULL,
    zone text NOT NULL,
    distance_km_max integer,
    base_minor bigint NOT NULL,
    per_kg_minor bigint NOT NULL,
    transit_days integer NOT NULL,
    CONSTRAINT carrier_rates_carrier_service_zone_distance_km_max_key
        UNIQUE NULLS NOT DISTINCT (carrier, service, zone, distance_km_max),
    CONSTRAINT carrier_rates_carrier_fkey
        FOREIGN KEY (carrier, service) REFERENCES carrier_services (carrier, service),
    CONSTRAINT carrier_rates_zone_check CHECK (zone IN ('domestic', 'europe', 'world')),
    CONSTRAINT carrier_rates_distance_check CHECK (distance_km_max > 0),
    CONSTRAINT carrier_rates_price_check CHECK (base_minor >= 0 AND per_kg_minor >= 0),
    CONSTRAINT carrier_rates_transit_days_check CHECK (transit_days BETWEEN 1 AND 60)
);
"""
_SIMULATIONS = """
CREATE TABLE simulations (
    shipment_id uuid CONSTRAINT simulations_pkey PRIMARY KEY
        CONSTRAINT simulations_shipment_id_fkey REFERENCES shipments (id),
    started_at timestamptz NOT NULL,
    steps_done smallint NOT NULL,
    next_step_at timestamptz NOT NULL
)
-- A queue: rows live for seconds and each is updated a few times, so vacuum goes by count, at full speed.
WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX simulations_next_step_at_idx ON simulations (next_step_at);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    create_outbox(op)
    create_inbox(op)
    create_decisions(op)
    idempotency_keys_table(new_metadata()).create(op.get_bind())
    for statements in (_SHIPMENTS, _INDEXES, _SCANS, _CARRIERS, _SIMULATIONS):
        for statement in statements.split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    for table in (
        "simulations",
        "carrier_rates",
        "carrier_services",
        "carriers",
        "rate_table",
        "warehouses",
        "cancellation_tombstones",
        "shipment_scans",
        "shipments",
        "idempotency_keys",
        "decisions",
        "inbox_events",
        "relay_leases",
        "outbox_events",
    ):
        op.execute(f"DROP TABLE {table}")
