"""The tables of inventory."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB

from libs.common.db import new_metadata, one_of
from libs.common.decisions.storage import declare_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import declare_inbox
from libs.common.outbox.tables import declare_outbox
from services.inventory.domain.arrivals import ArrivalKind
from services.inventory.domain.classes import AbcClass, XyzClass
from services.inventory.domain.count_lists import CountListStatus
from services.inventory.domain.counts import CountStatus
from services.inventory.domain.reservations import ReservationStatus
from services.inventory.domain.stock import MovementKind
from services.inventory.domain.transfers import Plan, TransferStatus
from services.inventory.domain.warehouses import WarehouseKind
from services.inventory.handlers.audit import Book, Look

metadata = new_metadata()
declare_outbox(metadata)
declare_inbox(metadata)
declare_decisions(metadata)
idempotency_keys_table(metadata)

# Codes sort by their bytes everywhere: the order in which rows are locked must not depend on a locale.
_CODE = Text(collation="C")
_TIME = DateTime(timezone=True)


warehouses = Table(
    "warehouses",
    metadata,
    Column("code", _CODE, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("latitude", Double, nullable=False),
    Column("longitude", Double, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("changed_at", _TIME, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'warehouse'")),
    Column("ships_orders", Boolean, nullable=False, server_default=text("true")),
    Column("is_collection_point", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name="coordinates"),
    CheckConstraint(one_of("kind", WarehouseKind), name="kind"),
)

# One row per SKU: what a transaction locks before it touches anything of that SKU.
stock_items = Table(
    "stock_items",
    metadata,
    Column("sku", _CODE, primary_key=True),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    # Whether arrivals of it were ever announced: only then they are looked for.
    Column("has_arrivals", Boolean, nullable=False, server_default=text("false")),
    Column("tracks_lots", Boolean, nullable=False, server_default=text("false")),
    Column("shelf_life_days_min", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("shelf_life_days_min >= 0", name="shelf_life_days_min"),
    # Kept back in each warehouse, or in each as the object from warehouse to units says.
    Column("safety_stock_units", BigInteger, nullable=False, server_default=text("0")),
    Column("safety_stock_by_warehouse", JSONB),
    # What a bundle is made of: an object from SKU to units; NULL for all others.
    Column("components", JSONB),
    # Orders may wait for that many units together; NULL for any number.
    Column("backorder_units_max", BigInteger),
    CheckConstraint("safety_stock_units >= 0 AND backorder_units_max >= 0", name="policy"),
    # Finds bundles; there are few.
    Index("stock_items_bundles_idx", "sku", postgresql_where=text("components IS NOT NULL")),
)

stock_levels = Table(
    "stock_levels",
    metadata,
    Column("sku", _CODE, ForeignKey("stock_items.sku"), nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("in_transit", BigInteger, nullable=False),
    Column("shortfall", BigInteger, nullable=False),
    Column("counted_at", _TIME),
    Column("counted_by", Uuid),
    Column("blocked", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("sku", "warehouse"),
    # The last line of defence: with these no fault of the code can oversell.
    CheckConstraint("on_hand >= 0", name="on_hand"),
    CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="reserved"),
    CheckConstraint("blocked >= 0 AND blocked <= on_hand", name="blocked"),
    CheckConstraint("in_transit >= 0", name="in_transit"),
    CheckConstraint("shortfall >= 0 AND (shortfall = 0 OR on_hand = 0)", name="shortfall"),
    CheckConstraint("(counted_at IS NULL) = (counted_by IS NULL)", name="counted"),
)

stock_movements = Table(
    "stock_movements",
    metadata,
    # The sequence of recording; what happened first is said by occurred_at.
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("leg", SmallInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("delta_on_hand", BigInteger, nullable=False),
    Column("occurred_at", _TIME, nullable=False),
    Column("recorded_at", _TIME, nullable=False),
    Column("reference", Text),
    Column("reason", Text),
    Column("order_id", Uuid),
    Column("transfer_id", Uuid),
    Column("sequence", BigInteger),
    Column("unit_cost_minor", BigInteger),
    Column("currency", Text),
    Column("lot", _CODE),
    Column("expires_on", Date),
    # What a count found, and what was packed for an order and is still there.
    Column("counted", BigInteger),
    Column("picked", BigInteger),
    # One effect per event, whichever way and however often it comes in.
    PrimaryKeyConstraint("event_id", "leg"),
    CheckConstraint(one_of("kind", MovementKind), name="kind"),
    CheckConstraint("(unit_cost_minor IS NULL) = (currency IS NULL)", name="cost"),
    # Serves the ledger of a SKU by pages, what moved since a count, and the auditor.
    Index("stock_movements_sku_occurred_at_id_idx", "sku", "occurred_at", "id"),
    # Serves the ageing of stock and what a unit costs: most movements are no arrivals.
    Index(
        "stock_movements_arrivals_idx",
        "sku",
        "occurred_at",
        postgresql_include=["warehouse", "id", "kind", "delta_on_hand", "unit_cost_minor", "currency"],
        postgresql_where=text("kind IN ('receipt', 'return', 'transfer-in') AND delta_on_hand > 0"),
    ),
    # Serves whoever follows the ledger.
    Index("stock_movements_id_idx", "id"),
    # Finds the events of a number.
    Index(
        "stock_movements_warehouse_sequence_idx",
        "warehouse",
        "sequence",
        postgresql_where=text("sequence IS NOT NULL"),
    ),
)

# What came of the numbers that a warehouse gives its reports; what is missing of them is a row of sequence_gaps.
warehouse_sequences = Table(
    "warehouse_sequences",
    metadata,
    Column("warehouse", _CODE, primary_key=True),
    Column("received", INT8MULTIRANGE, nullable=False),
    Column("given_up", BigInteger, nullable=False, server_default=text("0")),
)

sequence_gaps = Table(
    "sequence_gaps",
    metadata,
    Column("warehouse", _CODE, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("since", _TIME, nullable=False),
    PrimaryKeyConstraint("warehouse", "first"),
    CheckConstraint("0 < first AND first <= last", name="range"),
)

# The numbers of reports that move nothing: `is_counted` says that they are among the received ones.
numbered_announcements = Table(
    "numbered_announcements",
    metadata,
    Column("warehouse", _CODE, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("recorded_at", _TIME, nullable=False),
    Column("is_counted", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("warehouse", "sequence", "event_id"),
    Index("numbered_announcements_uncounted_idx", "warehouse", postgresql_where=text("NOT is_counted")),
)

# Numbers under which several different events came; the ledger has the events.
sequence_conflicts = Table(
    "sequence_conflicts",
    metadata,
    Column("warehouse", _CODE, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("latest_at", _TIME, nullable=False),
    PrimaryKeyConstraint("warehouse", "sequence"),
)

# Who took which missing numbers for lost, and why.
sequence_acceptances = Table(
    "sequence_acceptances",
    metadata,
    Column("warehouse", _CODE, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", _TIME, nullable=False),
    PrimaryKeyConstraint("warehouse", "first", "last", "accepted_at"),
)

# Up to which movement a follower has seen the ledger.
ledger_followers = Table(
    "ledger_followers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("movement_id", BigInteger, nullable=False),
    Column("moved_at", _TIME),
)

# The sums of the ledger up to where the auditor has followed it.
ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("units", BigInteger, nullable=False),
    PrimaryKeyConstraint("sku", "warehouse"),
)

# Levels that were off from what the book says, by so many units, and since when.
audit_drifts = Table(
    "audit_drifts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("book", Text, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("first_seen_at", _TIME, nullable=False),
    Column("last_changed_at", _TIME, nullable=False),
    Column("resolved_at", _TIME),
    CheckConstraint(one_of("book", Book), name="book"),
    CheckConstraint("units <> 0", name="units"),
    Index(
        "audit_drifts_open_idx", "sku", "warehouse", "book", unique=True, postgresql_where=text("resolved_at IS NULL")
    ),
    Index("audit_drifts_resolved_idx", "resolved_at", postgresql_where=text("resolved_at IS NOT NULL")),
)

# Rounds of the auditor over all SKUs; the one that is not finished has come to `after_sku`.
audit_rounds = Table(
    "audit_rounds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("look", Text, nullable=False),
    Column("after_sku", _CODE, nullable=False),
    Column("skus", BigInteger, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("finished_at", _TIME),
    Column("ledger_units", BigInteger),
    Column("reservation_units", BigInteger),
    CheckConstraint(one_of("look", Look), name="look"),
    Index("audit_rounds_under_way_idx", "look", unique=True, postgresql_where=text("finished_at IS NULL")),
)

# Goods that are on their way: what was said last of each reference, and how much of it came.
expected_arrivals = Table(
    "expected_arrivals",
    metadata,
    Column("sku", _CODE, ForeignKey("stock_items.sku"), nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("expected_at", _TIME, nullable=False),
    Column("announced_at", _TIME, nullable=False),
    Column("announced_by", Uuid, nullable=False),
    PrimaryKeyConstraint("sku", "warehouse", "kind", "reference"),
    CheckConstraint(one_of("kind", ArrivalKind), name="kind"),
    CheckConstraint("units >= 0 AND received >= 0", name="units"),
    # Those that have yet to come; closed ones pile up beside them.
    Index("expected_arrivals_open_idx", "sku", postgresql_where=text("received < units")),
)

# A transfer: what was planned, and what its lines add up to.
transfers = Table(
    "transfers",
    metadata,
    Column("transfer_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("events", BigInteger, nullable=False, server_default=text("0")),
    # Empty if it came into being by a report.
    Column("plan", Text),
    Column("is_automatic", Boolean, nullable=False, server_default=text("false")),
    Column("source", _CODE),
    Column("destination", _CODE),
    # The two ends, planned or reported.
    Column("from_warehouse", _CODE),
    Column("to_warehouse", _CODE),
    Column("expected_at", _TIME),
    Column("dispatched_at", _TIME),
    Column("received_at", _TIME),
    Column("is_closed", Boolean, nullable=False, server_default=text("false")),
    Column("reason", Text),
    Column("proposed_by", Text),
    Column("decided_by", Text),
    Column("decision_id", Uuid),
    Column("value_minor", BigInteger),
    Column("currency", Text),
    Column("automatic_sku", _CODE),
    Column("created_at", _TIME, nullable=False),
    Column("changed_at", _TIME, nullable=False),
    CheckConstraint(one_of("status", TransferStatus), name="status"),
    CheckConstraint(one_of("plan", Plan), name="plan"),
    CheckConstraint("plan IS NULL OR (source IS NOT NULL AND destination <> source)", name="ends"),
    CheckConstraint("(value_minor IS NULL) = (currency IS NULL)", name="value"),
    Index("transfers_created_at_transfer_id_idx", "created_at", "transfer_id"),
    Index("transfers_status_created_at_transfer_id_idx", "status", "created_at", "transfer_id"),
    # However often and wherever transfers are proposed by rule, there is one open proposal.
    Index(
        "transfers_proposal_idx",
        "automatic_sku",
        "source",
        "destination",
        unique=True,
        postgresql_where=text("is_automatic AND status = 'proposed'"),
    ),
)

transfer_lines = Table(
    "transfer_lines",
    metadata,
    Column("transfer_id", Uuid, ForeignKey("transfers.transfer_id"), nullable=False),
    Column("sku", _CODE, nullable=False),
    Column("destination", _CODE, nullable=False),
    Column("source", _CODE),
    Column("is_planned", Boolean, nullable=False, server_default=text("false")),
    Column("requested", BigInteger, nullable=False, server_default=text("0")),
    Column("held", BigInteger, nullable=False, server_default=text("0")),
    Column("dispatched", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False, server_default=text("0")),
    Column("written_off", BigInteger, nullable=False, server_default=text("0")),
    Column("found", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("transfer_id", "sku", "destination"),
    CheckConstraint("least(requested, held, dispatched, received, returned, written_off, found) >= 0", name="units"),
    CheckConstraint("held = 0 OR source IS NOT NULL", name="held"),
    Index("transfer_lines_sku_idx", "sku"),
    # Finds who holds units of a level.
    Index("transfer_lines_held_idx", "sku", "source", postgresql_where=text("held > 0")),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    # What the order asked for; an order that was called off before it asked has none of these.
    Column("approved_at", _TIME),
    Column("on_shortage", Text),
    Column("is_split_allowed", Boolean),
    Column("country", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    # None for orders from before it was kept.
    Column("channel", Text),
    # The store where the customer collects the order.
    Column("collect_at", _CODE),
    # What the bundles among what was asked for were made of then: an object from SKU to its components.
    Column("bundles", JSONB),
    # Of a hold, until an order takes it over.
    Column("expires_at", _TIME),
    Column("changed_at", _TIME, nullable=False),
    CheckConstraint(one_of("status", ReservationStatus), name="status"),
    CheckConstraint("on_shortage IN ('backorder', 'refuse', 'partial', 'best-effort')", name="on_shortage"),
    CheckConstraint(
        "status = 'released' OR num_nulls(approved_at, on_shortage, is_split_allowed, country) = 0", name="terms"
    ),
    # Counts the orders that wait; tiny, because few do.
    Index("reservations_waiting_idx", "approved_at", postgresql_where=text("status IN ('waiting', 'partly-held')")),
    # Finds the holds that have expired.
    Index(
        "reservations_expiry_idx",
        "expires_at",
        postgresql_where=text("status = 'held' AND expires_at IS NOT NULL"),
    ),
)

# Units allocated to an order. Those not committed are held, and their sum is what stock_levels has as reserved. There
# is no foreign key: a line is only ever written with its reservation, and the check took two thirds of writing it.
reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("order_id", Uuid, nullable=False),
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("committed_quantity", BigInteger, nullable=False),
    PrimaryKeyConstraint("order_id", "sku", "warehouse"),
    CheckConstraint("quantity > 0 AND committed_quantity BETWEEN 0 AND quantity", name="quantity"),
    # Finds who holds units of a level, for the auditor and for when they are not there any more.
    Index(
        "reservation_lines_held_idx",
        "sku",
        "warehouse",
        postgresql_where=text("quantity > committed_quantity"),
    ),
)

# The callers who made holds: apart from the reservations, of which most are no holds and need none.
hold_owners = Table(
    "hold_owners",
    metadata,
    Column("reservation_id", Uuid, primary_key=True),
    Column("owner", Text, nullable=False),
)

# Edits of orders that were answered, so that one that comes again does not undo a later one.
reservation_edits = Table("reservation_edits", metadata, Column("edit_id", Uuid, primary_key=True))

# What waiting orders wait for: a row goes when its order is served or called off.
backorder_lines = Table(
    "backorder_lines",
    metadata,
    Column("order_id", Uuid, nullable=False),
    Column("sku", _CODE, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("approved_at", _TIME, nullable=False),
    PrimaryKeyConstraint("order_id", "sku"),
    CheckConstraint("quantity > 0", name="quantity"),
    # The queue of a SKU.
    Index("backorder_lines_queue_idx", "sku", "approved_at", "order_id"),
)

# Queues that were too long for one transaction: the orders behind this place have yet to be served.
backorder_revisits = Table(
    "backorder_revisits",
    metadata,
    Column("sku", _CODE, primary_key=True),
    Column("after_approved_at", _TIME, nullable=False),
    Column("after_order_id", Uuid, nullable=False),
)

# What is there of each lot of a SKU that tracks them: folded from the ledger, and can be again at any time. Units whose
# lot nobody named stand under an empty one.
stock_lots = Table(
    "stock_lots",
    metadata,
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("lot", _CODE, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("expires_on", Date),
    # The last day on which the units may be promised: `shelf_life_days_min` before they expire.
    Column("usable_until", Date),
    Column("received_at", _TIME),
    Column("is_blocked", Boolean, nullable=False),
    PrimaryKeyConstraint("sku", "warehouse", "lot"),
    CheckConstraint("units > 0", name="units"),
    CheckConstraint("(expires_on IS NULL) = (usable_until IS NULL)", name="expires_on"),
    CheckConstraint("NOT is_blocked OR expires_on IS NOT NULL", name="is_blocked"),
    # Finds the lots that have to be blocked next.
    Index("stock_lots_usable_until_idx", "usable_until", postgresql_where=text("NOT is_blocked")),
)

# Counts that were too far off the ledger to be believed at once, and what was decided about them.
held_counts = Table(
    "held_counts",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("counted_at", _TIME, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("expected", BigInteger, nullable=False),
    Column("value_minor", BigInteger),
    Column("currency", Text),
    Column("reference", Text),
    Column("reason", Text),
    Column("counted_by", Text),
    Column("lot", _CODE),
    Column("held_because", Text, nullable=False),
    Column("held_at", _TIME, nullable=False),
    Column("status", Text, nullable=False),
    Column("decided_at", _TIME),
    Column("decided_by", Text),
    Column("decision_reason", Text),
    Column("booked_units", BigInteger),
    CheckConstraint(one_of("status", CountStatus), name="status"),
    CheckConstraint(
        "CASE WHEN status IN ('approved', 'rejected') THEN num_nulls(decided_at, decided_by, decision_reason) = 0"
        " ELSE decided_by IS NULL END",
        name="decided",
    ),
    CheckConstraint("(booked_units IS NOT NULL) = (status = 'approved')", name="booked_units"),
    Index("held_counts_held_at_event_id_idx", "held_at", "event_id"),
    # Finds what a later count overtakes; tiny, because few wait.
    Index("held_counts_pending_idx", "sku", "warehouse", postgresql_where=text("status = 'pending'")),
)

# SKUs whose costs have to be folded again, from a day on.
stock_cost_queue = Table(
    "stock_cost_queue",
    metadata,
    Column("sku", _CODE, primary_key=True),
    Column("since", Date, nullable=False),
)

# What the fold of a SKU's costs was at the end of a day, to go on from there.
stock_cost_states = Table(
    "stock_cost_states",
    metadata,
    Column("sku", _CODE, nullable=False),
    Column("day", Date, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_monthly", Boolean, nullable=False),
    PrimaryKeyConstraint("sku", "day"),
)

# A row for each day on which something happened. All but the first two figures are totals since the beginning, so that
# any period is a difference of two rows. What is on its way between warehouses has '' as its warehouse.
stock_cost_days = Table(
    "stock_cost_days",
    metadata,
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("day", Date, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("uncosted_units", Numeric, nullable=False),
    Column("received_units", BigInteger, nullable=False),
    Column("unpriced_units", BigInteger, nullable=False),
    Column("sold_units", BigInteger, nullable=False),
    Column("returned_units", BigInteger, nullable=False),
    Column("adjusted_units", BigInteger, nullable=False),
    Column("transferred_units", BigInteger, nullable=False),
    Column("unit_days", Numeric, nullable=False),
    Column("empty_days", BigInteger, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_sold_on", Date),
    Column("last_received_on", Date),
    PrimaryKeyConstraint("sku", "warehouse", "day"),
)

# The amounts of such a day, in every currency that the SKU was ever bought in there.
stock_cost_values = Table(
    "stock_cost_values",
    metadata,
    Column("sku", _CODE, nullable=False),
    Column("warehouse", _CODE, nullable=False),
    Column("day", Date, nullable=False),
    Column("currency", _CODE, nullable=False),
    Column("value_minor", Numeric, nullable=False),
    Column("received_minor", Numeric, nullable=False),
    Column("sold_minor", Numeric, nullable=False),
    Column("returned_minor", Numeric, nullable=False),
    Column("adjusted_minor", Numeric, nullable=False),
    Column("transferred_minor", Numeric, nullable=False),
    Column("value_days_minor", Numeric, nullable=False),
    PrimaryKeyConstraint("sku", "warehouse", "day", "currency"),
)

# How much each SKU matters and how steady it is, as last computed.
stock_classes = Table(
    "stock_classes",
    metadata,
    Column("sku", _CODE, primary_key=True),
    Column("abc", Text, nullable=False),
    Column("xyz", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("consumption_minor", Numeric, nullable=False),
    Column("consumption_units", BigInteger, nullable=False),
    Column("variation", Double),
    Column("classed_at", _TIME, nullable=False),
    CheckConstraint(one_of("abc", AbcClass), name="abc"),
    CheckConstraint(one_of("xyz", XyzClass), name="xyz"),
)

# SKUs to be counted; those that were made by themselves are one for a warehouse and day.
count_lists = Table(
    "count_lists",
    metadata,
    Column("list_id", Uuid, primary_key=True),
    Column("warehouse", _CODE, nullable=False),
    Column("day", Date),
    Column("abc_class", Text),
    Column("status", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("closed_at", _TIME),
    UniqueConstraint("warehouse", "day"),
    CheckConstraint(one_of("status", CountListStatus), name="status"),
    CheckConstraint(one_of("abc_class", AbcClass), name="abc_class"),
    CheckConstraint("(closed_at IS NOT NULL) = (status IN ('done', 'cancelled'))", name="closed_at"),
    Index("count_lists_created_at_list_id_idx", "created_at", "list_id"),
)

count_list_lines = Table(
    "count_list_lines",
    metadata,
    Column("list_id", Uuid, ForeignKey("count_lists.list_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("sku", _CODE, nullable=False),
    Column("abc_class", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # The count that ticked it off, and what that found.
    Column("event_id", Uuid),
    Column("counted_at", _TIME),
    Column("counted", BigInteger),
    Column("expected", BigInteger),
    PrimaryKeyConstraint("list_id", "number"),
    UniqueConstraint("list_id", "sku"),
    CheckConstraint(one_of("abc_class", AbcClass), name="abc_class"),
    CheckConstraint("num_nulls(event_id, counted_at, counted, expected) IN (0, 4)", name="counted"),
    # Finds the line that a count is of; small, because few wait.
    Index("count_list_lines_uncounted_idx", "sku", postgresql_where=text("event_id IS NULL")),
    Index("count_list_lines_event_id_idx", "event_id"),
)
