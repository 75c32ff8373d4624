"""The tables of logistics."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.db import new_metadata
from libs.common.decisions.storage import declare_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import declare_inbox
from libs.common.outbox.tables import declare_outbox

metadata = new_metadata()

declare_outbox(metadata)
declare_inbox(metadata)
declare_decisions(metadata)
idempotency_keys_table(metadata)

shipments = Table(
    "shipments",
    metadata,
    # Made from the order and the warehouse, so that planning twice meets its own row.
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("warehouse", Text, nullable=False),
    Column("status", Text, nullable=False),
    # The aggregate_version of the last event; events of a shipment count from 1 without gaps.
    Column("version", BigInteger, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("origin_country", Text),
    Column("origin_latitude", Float),
    Column("origin_longitude", Float),
    Column("destination_country", Text, nullable=False),
    Column("destination_latitude", Float),
    Column("destination_longitude", Float),
    Column("carrier", Text, nullable=False),
    Column("carrier_service", Text, nullable=False),
    Column("cost_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("transit_days", Integer, nullable=False),
    Column("decision_id", Uuid, nullable=False),
    Column("planned_at", DateTime(timezone=True), nullable=False),
    Column("ready_at", DateTime(timezone=True), nullable=False),
    Column("promised_at", DateTime(timezone=True), nullable=False),
    Column("estimated_delivery_at", DateTime(timezone=True), nullable=False),
    Column("tracking_number", Text),
    Column("dispatched_at", DateTime(timezone=True)),
    Column("last_scanned_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    Column("failed_at", DateTime(timezone=True)),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("reason", Text),
    # Of which confirmation of its order it is: what is stopped for an edit is planned anew.
    Column("plan", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("order_id", "warehouse", "plan"),
    CheckConstraint("plan >= 0", name="plan"),
    CheckConstraint("status IN ('planned', 'dispatched', 'delivered', 'failed', 'cancelled')", name="status"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("jsonb_array_length(lines) > 0", name="lines"),
    CheckConstraint("cost_minor >= 0", name="cost"),
    CheckConstraint("transit_days >= 0", name="transit_days"),
    # A state and its facts come together: none without the other.
    CheckConstraint(
        "(status IN ('dispatched', 'delivered', 'failed')) = (dispatched_at IS NOT NULL)",
        name="dispatched",
    ),
    CheckConstraint("(dispatched_at IS NULL) = (tracking_number IS NULL)", name="tracking_number"),
    CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered"),
    CheckConstraint("(status = 'failed') = (failed_at IS NOT NULL)", name="failed"),
    CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled"),
    CheckConstraint("(status IN ('failed', 'cancelled')) = (reason IS NOT NULL)", name="reason"),
    CheckConstraint("delivered_at >= dispatched_at", name="delivered_after_dispatched"),
    CheckConstraint("failed_at >= dispatched_at", name="failed_after_dispatched"),
    CheckConstraint("last_scanned_at >= dispatched_at", name="scanned_after_dispatched"),
    # GET /v1/shipments, newest first; with ?status= the scan stops at the page's end all the same.
    Index(None, "planned_at", "id"),
    # What is not finished: the simulator's search for work, the gauge of live shipments, ?status=planned.
    Index(
        "shipments_live_idx",
        "status",
        "planned_at",
        "id",
        postgresql_where=text("status IN ('planned', 'dispatched')"),
    ),
)

shipment_scans = Table(
    "shipment_scans",
    metadata,
    Column("shipment_id", Uuid, ForeignKey("shipments.id"), primary_key=True),
    Column("scanned_at", DateTime(timezone=True), primary_key=True),
    Column("place", Text, primary_key=True),
    Column("latitude", Float),
    Column("longitude", Float),
    CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="coordinates"),
)

cancellation_tombstones = Table(
    "cancellation_tombstones",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("reason", Text, nullable=False),
)

warehouses = Table(
    "warehouses",
    metadata,
    Column("warehouse", Text, primary_key=True),
    Column("country", Text, nullable=False),
    Column("latitude", Float),
    Column("longitude", Float),
    # The version of inventory's event; older ones that come late are ignored.
    Column("version", BigInteger, nullable=False),
)

rate_table = Table(
    "rate_table",
    metadata,
    # One row, locked by whoever changes any rate; its version goes into every decision.
    Column("is_only_row", Boolean, primary_key=True),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("is_only_row", name="is_only_row"),
)

carriers = Table(
    "carriers",
    metadata,
    Column("carrier", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("version >= 1", name="version"),
)

carrier_services = Table(
    "carrier_services",
    metadata,
    Column("carrier", Text, ForeignKey("carriers.carrier"), primary_key=True),
    Column("service", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("cut_off", Time, nullable=False),
)

carrier_rates = Table(
    "carrier_rates",
    metadata,
    Column("carrier", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("distance_km_max", Integer),
    Column("base_minor", BigInteger, nullable=False),
    Column("per_kg_minor", BigInteger, nullable=False),
    Column("transit_days", Integer, nullable=False),
    # One rate for each zone and distance, and one for the zone in general.
    UniqueConstraint("carrier", "service", "zone", "distance_km_max", postgresql_nulls_not_distinct=True),
    ForeignKeyConstraint(["carrier", "service"], ["carrier_services.carrier", "carrier_services.service"]),
    CheckConstraint("zone IN ('domestic', 'europe', 'world')", name="zone"),
    CheckConstraint("distance_km_max > 0", name="distance"),
    CheckConstraint("base_minor >= 0 AND per_kg_minor >= 0", name="price"),
    CheckConstraint("transit_days BETWEEN 1 AND 60", name="transit_days"),
)

simulations = Table(
    "simulations",
    metadata,
    Column("shipment_id", Uuid, ForeignKey("shipments.id"), primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("steps_done", SmallInteger, nullable=False),
    Column("next_step_at", DateTime(timezone=True), nullable=False),
    # The simulator's claim: what is due, longest due first.
    Index(None, "next_step_at"),
)
