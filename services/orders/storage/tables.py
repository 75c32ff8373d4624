"""The tables of the orders service. What would be a lie about an order or its money cannot be stored."""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
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
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.db import new_metadata, one_of
from libs.common.decisions.storage import declare_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import declare_inbox
from libs.common.outbox.tables import declare_outbox
from services.orders.domain.charges import ChargeKind
from services.orders.domain.edits import EditStatus
from services.orders.domain.erasure import ErasureStatus
from services.orders.domain.ledger import Fact
from services.orders.domain.order import TERMINAL, CaptureMoment, OrderStatus
from services.orders.domain.promotions import PromotionKind
from services.orders.domain.reminders import Audience, Channel, NotificationStatus
from services.orders.domain.returns import ReturnStatus
from services.orders.domain.review import Subject
from services.orders.domain.state import RemainderStatus, ShipmentStatus, StepKind, StepStatus, TimerKind
from services.orders.domain.webhooks import DeliveryStatus, EndpointStatus

metadata = new_metadata()

declare_outbox(metadata)
declare_inbox(metadata)
declare_decisions(metadata)
idempotency_keys_table(metadata)


_TERMINAL: Final = one_of("status", sorted(TERMINAL))

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    # The last aggregate_version used on orders.order.v1; revision counts every change of what is shown.
    Column("version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("sequence", Integer, nullable=False),
    # The last word of inventory that was followed, by its own number.
    Column("stock_version", BigInteger, nullable=False, server_default=text("0")),
    Column("status_reason", Text),
    Column("deadline_at", DateTime(timezone=True)),
    Column("stuck_since", DateTime(timezone=True)),
    Column("customer_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("reference", Text),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("country", Text, nullable=False),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("on_shortage", Text, nullable=False),
    Column("is_split_allowed", Boolean, nullable=False),
    Column("correlation_id", Text, nullable=False),
    # The trace of the request that placed it (W3C Trace Context).
    Column("traceparent", Text),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # The store where the customer collects it.
    Column("collect_at", Text),
    # What inventory held for it before it was an order.
    Column("hold_id", Uuid),
    # When goods that it waits for should be there.
    Column("expected_at", DateTime(timezone=True)),
    CheckConstraint(one_of("status", OrderStatus), name="status"),
    CheckConstraint("total_minor >= 0", name="total"),
    CheckConstraint("on_shortage IN ('refuse', 'split', 'wait', 'backorder')", name="on_shortage"),
    # An accepted order is at its end or waits for something until a known time.
    CheckConstraint(f"({_TERMINAL}) = (deadline_at IS NULL)", name="deadline"),
    # Serves GET /orders?status=… and the count of open orders by stage.
    Index("orders_status_id_idx", "status", "id"),
    # Serves GET /orders?customer_id=….
    Index("orders_customer_id_id_idx", "customer_id", "id"),
    # Serves the count of stuck orders, of which there should be none.
    Index("orders_stuck_idx", "id", postgresql_where=text("stuck_since IS NOT NULL")),
    # A row changes five or six times in its life: leave room on its page.
    postgresql_with={"fillfactor": "70"},
)

# The rows below are written in the transaction that holds or inserts their order, and orders are never deleted,
# so the hot tables do without foreign keys; those that are about money have them.
order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_minor", BigInteger, nullable=False),
    Column("returned_quantity", Integer, nullable=False, server_default=text("0")),
    # What it bears of the total, if there are discounts, shipping or taxes.
    Column("charged_minor", BigInteger),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("unit_price_minor >= 0", name="unit_price"),
    # Never more back than bought, whoever asks at the same time.
    CheckConstraint("returned_quantity BETWEEN 0 AND quantity", name="returned"),
)

# Discounts, shipping and taxes.
order_charges = Table(
    "order_charges",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("jurisdiction", Text),
    Column("rate_ppm", Integer),
    Column("is_inclusive", Boolean),
    Column("base", Text),
    Column("rounding", Text),
    CheckConstraint("amount_minor >= 0", name="amount"),
    CheckConstraint(one_of("kind", ChargeKind), name="kind"),
    CheckConstraint("(kind = 'tax') = (rate_ppm IS NOT NULL)", name="tax"),
)

# What the checks before the review found; an order that is as it should be has none.
order_findings = Table(
    "order_findings",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("consequence", Text, nullable=False),
    Column("line", Integer),
    Column("sku", Text),
    Column("expected_minor", BigInteger),
    Column("offered_minor", BigInteger, nullable=False),
    Column("code", Text),
    CheckConstraint("consequence IN ('accept', 'hold')", name="consequence"),
)


def _promotion_columns() -> list[Column[Any]]:
    return [
        Column("kind", Text, nullable=False),
        Column("rate_ppm", Integer),
        Column("amount_minor", BigInteger),
        Column("currency", Text),
        Column("skus", ARRAY(Text), nullable=False),
        Column("minimum_minor", BigInteger, nullable=False),
        Column("valid_from", DateTime(timezone=True), nullable=False),
        Column("valid_to", DateTime(timezone=True)),
        Column("uses_max", BigInteger),
        Column("uses_per_customer_max", BigInteger),
        Column("budget_minor", BigInteger),
    ]


promotions = Table(
    "promotions",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    *_promotion_columns(),
    # How often, and for how much, orders use it, while it has limits.
    Column("used", BigInteger, nullable=False, server_default=text("0")),
    Column("spent_minor", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("used >= 0 AND spent_minor >= 0", name="used"),
    CheckConstraint(one_of("kind", PromotionKind), name="kind"),
    CheckConstraint("(kind = 'percent') = (rate_ppm IS NOT NULL)", name="rate"),
    CheckConstraint("(kind = 'amount') = (amount_minor IS NOT NULL)", name="amount"),
)

# Which orders use promotions that have limits; one that ended before it was paid for has given its use back.
promotion_uses = Table(
    "promotion_uses",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("used_at", DateTime(timezone=True), nullable=False),
    Column("given_back_at", DateTime(timezone=True)),
    Index("promotion_uses_customer_idx", "code", "customer_id", postgresql_where=text("given_back_at IS NULL")),
)

# Every version that a promotion had, and who made it.
promotion_changes = Table(
    "promotion_changes",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    *_promotion_columns(),
)

# Orders with their channels' own numbers, sent by the file or one by one, kept for good: a file may be sent again after
# a year.
imported_orders = Table(
    "imported_orders",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("imported_at", DateTime(timezone=True), nullable=False),
)

# What the catalog asked for a SKU, from each version of the product that changed it until the next.
product_prices = Table(
    "product_prices",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("is_listed", Boolean, nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_to", DateTime(timezone=True)),
    CheckConstraint("valid_to >= valid_from", name="period"),
)

# Of SKUs that the catalog has told of since it is kept; without a category it is ''.
product_categories = Table(
    "product_categories",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("category", Text, nullable=False),
)

# Personal data: apart from the order, so that it can be erased and is never copied by an order's updates.
order_addresses = Table(
    "order_addresses",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("address", JSONB, nullable=False),
)

order_allocations = Table(
    "order_allocations",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("warehouses", ARRAY(Text), nullable=False),
    Column("allocations", JSONB, nullable=False),
    # What is not allocated, of an order that goes ahead without it.
    Column("missing", JSONB),
    CheckConstraint("cardinality(warehouses) > 0", name="warehouses"),
)

# The orders that come of others: remainders, replacements, exchanges.
order_origins = Table(
    "order_origins",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("origin_id", Uuid, nullable=False),
    Column("is_remainder", Boolean, nullable=False),
    # What the origin pays for.
    Column("prepaid_minor", BigInteger, nullable=False),
    # Of a remainder: what the origin's own parcels are made of.
    Column("keeps", JSONB, nullable=False),
    CheckConstraint("prepaid_minor >= 0", name="prepaid"),
    # Serves the list of what came of an order.
    Index("order_origins_origin_id_idx", "origin_id"),
    # Serves the lock of an order with its remainder, of which there is one.
    Index("order_origins_remainder_idx", "origin_id", unique=True, postgresql_where=text("is_remainder")),
)

order_shipments = Table(
    "order_shipments",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("shipment_id", Uuid, primary_key=True),
    Column("warehouse", Text),
    Column("status", Text, nullable=False),
    Column("dispatched_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    CheckConstraint(one_of("status", ShipmentStatus), name="status"),
    postgresql_with={"fillfactor": "70"},
)

# Parcels that left although their order was ended; hardly ever is there one.
unstopped_parcels = Table(
    "unstopped_parcels",
    metadata,
    Column("shipment_id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False),
    # Serves reminders.
    Index("unstopped_parcels_noted_at_idx", "noted_at"),
)

order_timeline = Table(
    "order_timeline",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("entered_at", DateTime(timezone=True), nullable=False),
    Column("cause", Text, nullable=False),
    Column("cause_id", Uuid),
    Column("detail", Text),
    CheckConstraint(one_of("stage", OrderStatus), name="stage"),
)

# What an order was short of when it entered a stage; one that is served at once has no row.
order_shortages = Table(
    "order_shortages",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("shortages", JSONB, nullable=False),
)

order_timers = Table(
    "order_timers",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(one_of("kind", TimerKind), name="kind"),
    # Serves the search for due timers.
    Index("order_timers_due_at_idx", "due_at"),
)

payments = Table(
    "payments",
    metadata,
    Column("order_id", Uuid, ForeignKey("orders.id"), primary_key=True),
    # The last aggregate_version used on orders.payment.v1.
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("token", Text, nullable=False),
    Column("provider", Text, nullable=False, server_default=text("'sandbox'")),
    Column("capture_at", Text, nullable=False, server_default=text("'each-dispatch'")),
    Column("reference", Text),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("authorised_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("captured_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("refunded_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("voided_minor", BigInteger, nullable=False, server_default=text("0")),
    # What of the total is for goods that became an order of their own.
    Column("remainder_minor", BigInteger),
    Column("remainder_status", Text),
    # What of that was, or will be, given back for goods that came back, of an order that ended.
    Column("remainder_returned_minor", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("remainder_minor BETWEEN 0 AND total_minor", name="remainder"),
    CheckConstraint(one_of("remainder_status", RemainderStatus), name="remainder_status"),
    CheckConstraint("(remainder_minor IS NULL) = (remainder_status IS NULL)", name="divided"),
    CheckConstraint("remainder_returned_minor >= 0", name="remainder_returned"),
    # Never more refunded than captured, captured or let go than authorised, authorised than was asked for.
    CheckConstraint("refunded_minor BETWEEN 0 AND captured_minor", name="refunded"),
    CheckConstraint("captured_minor >= 0 AND voided_minor >= 0", name="captured"),
    CheckConstraint("captured_minor + voided_minor <= authorised_minor", name="held"),
    CheckConstraint("authorised_minor <= total_minor", name="authorised"),
    CheckConstraint(one_of("capture_at", CaptureMoment), name="capture_at"),
    postgresql_with={"fillfactor": "70"},
)

payment_commands = Table(
    "payment_commands",
    metadata,
    # The idempotency key at the provider.
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, ForeignKey("payments.order_id"), nullable=False),
    # That of the payment, here for the claim.
    Column("provider", Text, nullable=False, server_default=text("'sandbox'")),
    Column("kind", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("return_id", Uuid),
    Column("shipment_id", Uuid),
    # The authorisation that it is about, if the order has several.
    Column("authorisation_id", Uuid),
    # Of an authorisation beside the payment's own: what the provider calls it, and what it was asked with.
    Column("reference", Text),
    Column("token", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # When to try (again); while an executor has the command, the end of its lease.
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("resolved_at", DateTime(timezone=True)),
    CheckConstraint(one_of("kind", StepKind), name="kind"),
    CheckConstraint(one_of("status", StepStatus), name="status"),
    CheckConstraint("amount_minor > 0", name="amount"),
    CheckConstraint("(status IN ('waiting', 'pending')) = (resolved_at IS NULL)", name="resolved"),
    Index("payment_commands_order_id_idx", "order_id"),
    # Serves the claim of a provider's due commands.
    Index("payment_commands_due_idx", "provider", "due_at", postgresql_where=text("status = 'pending'")),
    # One refund for each return, and one capture for each parcel, of each authorisation, whatever the code believes.
    Index(
        "payment_commands_return_id_idx",
        "return_id",
        "authorisation_id",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("return_id IS NOT NULL AND status IN ('waiting', 'pending', 'succeeded')"),
    ),
    # Serves the search for charges that belong to no order.
    Index("payment_commands_reference_idx", "reference", postgresql_where=text("reference IS NOT NULL")),
    Index(
        "payment_commands_capture_idx",
        "order_id",
        "shipment_id",
        "authorisation_id",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("kind = 'capture' AND status IN ('waiting', 'pending', 'succeeded')"),
    ),
)

# Each row moves an amount between two accounts, so that whatever rows there are, they sum to zero.
ledger_transfers = Table(
    "ledger_transfers",
    metadata,
    Column("order_id", Uuid, ForeignKey("payments.order_id"), primary_key=True),
    Column("step_id", Uuid, primary_key=True),
    # Once for each step, whoever books it.
    Column("fact", Text, primary_key=True),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("booked_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount_minor > 0", name="amount"),
    CheckConstraint("debit <> credit", name="accounts"),
    CheckConstraint(one_of("fact", Fact), name="fact"),
)

# What people have decided about orders; rows are only ever added.
order_actions = Table(
    "order_actions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("shipment_id", Uuid),
    Column("refund_minor", BigInteger),
    Column("replacement_order_id", Uuid),
    Column("status_before", Text, nullable=False),
    Column("status_after", Text, nullable=False),
    Column("acted_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("action IN ('retry', 'skip', 'force-compensate', 'refund-parcel', 'reship')", name="action"),
    # Serves the list of an order's actions.
    Index("order_actions_order_id_id_idx", "order_id", "id"),
)

# Orders that the rules held, for the queue; what the rules measured is in the decision record.
order_reviews = Table(
    "order_reviews",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("held_at", DateTime(timezone=True), nullable=False),
    # When it should leave, had it been approved at once.
    Column("ship_by", DateTime(timezone=True), nullable=False),
    Column("score", BigInteger, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("rules", Text, nullable=False),
    Column("verdict", Text),
    Column("reason", Text),
    Column("reviewer", Text),
    Column("decided_at", DateTime(timezone=True)),
    CheckConstraint("verdict IN ('approve', 'refuse')", name="verdict"),
    CheckConstraint("num_nulls(verdict, reason, reviewer, decided_at) IN (0, 4)", name="decided"),
)

# What customers have changed about orders, or wanted to; kept for good.
order_edits = Table(
    "order_edits",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("edited_at", DateTime(timezone=True), nullable=False),
    Column("principal", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lines_before", JSONB, nullable=False),
    Column("lines_after", JSONB, nullable=False),
    Column("total_before_minor", BigInteger, nullable=False),
    Column("total_after_minor", BigInteger, nullable=False),
    Column("is_address_changed", Boolean, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'applied'")),
    Column("refusal", Text),
    # What it costs besides its goods then, if it costs anything.
    Column("charges_after", JSONB),
    Column("shortages", JSONB),
    CheckConstraint(one_of("status", EditStatus), name="status"),
    CheckConstraint("(status = 'refused') = (refusal IS NOT NULL)", name="refusal"),
    # Serves the list of an order's edits.
    Index("order_edits_order_id_id_idx", "order_id", "id"),
    # An order waits for the answer to one edit at a time.
    Index("order_edits_requested_idx", "order_id", unique=True, postgresql_where=text("status = 'requested'")),
)

# Whom the shop does not sell to; lifted, never deleted. Addresses and e-mail addresses are hashes.
review_blocks = Table(
    "review_blocks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("blocked_at", DateTime(timezone=True), nullable=False),
    Column("blocked_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("lifted_at", DateTime(timezone=True)),
    Column("lifted_by", Text),
    Column("lifted_reason", Text),
    CheckConstraint(one_of("subject", Subject), name="subject"),
    CheckConstraint("num_nulls(lifted_at, lifted_by, lifted_reason) IN (0, 3)", name="lifted"),
    # Serves the review of new orders, and keeps a block from being made twice.
    Index("review_blocks_active_idx", "subject", "value", unique=True, postgresql_where=text("lifted_at IS NULL")),
)

# Which address an order goes to, as a hash; only where a rule adds up by address.
review_addresses = Table(
    "review_addresses",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("address_hash", Text, nullable=False),
    # Serves the sums of an address.
    Index("review_addresses_address_hash_order_id_idx", "address_hash", "order_id"),
)

# What payment providers have told on their own account, so that a repeated notice is known; kept for some days.
payment_notices = Table(
    "payment_notices",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False),
    # Serves the purge.
    Index("payment_notices_received_at_idx", "received_at"),
)

returns = Table(
    "returns",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("status", Text, nullable=False),
    # The last aggregate_version used on orders.return.v1.
    Column("version", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("refund_minor", BigInteger, nullable=False),
    Column("warehouse", Text),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    Column("reason_code", Text, nullable=False, server_default=text("'other'")),
    Column("label_carrier", Text),
    Column("label_reference", Text),
    Column("inspected_at", DateTime(timezone=True)),
    Column("inspected_by", Text),
    # What was found, as it was reported.
    Column("inspection", JSONB),
    # What the customer wants instead of money, and the order that it became.
    Column("exchange_for", JSONB),
    Column("exchange_order_id", Uuid),
    # What the customer has agreed to pay for that beside what comes back, and what with.
    Column("payment_token", Text),
    Column("exchange_due_minor", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("exchange_due_minor >= 0", name="exchange_due"),
    CheckConstraint("exchange_due_minor = 0 OR payment_token IS NOT NULL", name="payment"),
    CheckConstraint(one_of("status", ReturnStatus), name="status"),
    CheckConstraint("(label_carrier IS NULL) = (label_reference IS NULL)", name="label"),
    CheckConstraint("(inspected_at IS NULL) = (inspected_by IS NULL)", name="inspected"),
    CheckConstraint("refund_minor >= 0", name="refund"),
    CheckConstraint("(status = 'requested') = (received_at IS NULL)", name="received"),
    CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="closed"),
    Index("returns_order_id_idx", "order_id"),
    # Serves reminders of what was not sent.
    Index("returns_requested_at_idx", "requested_at", postgresql_where=text("status = 'requested'")),
    # Serves the figures on what waits.
    Index("returns_open_idx", "status", postgresql_where=text("status <> 'closed'")),
)

return_lines = Table(
    "return_lines",
    metadata,
    Column("return_id", Uuid, ForeignKey("returns.id"), primary_key=True),
    # The order's line.
    Column("line", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_minor", BigInteger, nullable=False),
    Column("received_quantity", Integer, nullable=False, server_default=text("0")),
    Column("restocked_quantity", Integer, nullable=False, server_default=text("0")),
    Column("written_off_quantity", Integer, nullable=False, server_default=text("0")),
    # What goes back for it, where lines bear more than their price: as announced, or as received once it was; and what
    # an inspection left of that.
    Column("refund_minor", BigInteger),
    CheckConstraint("written_off_quantity BETWEEN 0 AND received_quantity - restocked_quantity", name="written_off"),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("received_quantity BETWEEN 0 AND quantity", name="received"),
    CheckConstraint("restocked_quantity BETWEEN 0 AND received_quantity", name="restocked"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_secret_expires_at", DateTime(timezone=True)),
    Column("disabled_reason", Text),
    Column("disabled_at", DateTime(timezone=True)),
    # Until then the receiver asked not to be called.
    Column("resume_at", DateTime(timezone=True)),
    Column("last_succeeded_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(one_of("status", EndpointStatus), name="status"),
    CheckConstraint("cardinality(event_types) > 0", name="event_types"),
    CheckConstraint("(status = 'disabled') = (disabled_at IS NOT NULL)", name="disabled"),
    CheckConstraint("(previous_secret IS NULL) = (previous_secret_expires_at IS NULL)", name="previous_secret"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The order in which messages about one order are sent.
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("order_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # When to try (again), or the end of a lease; empty while an earlier message about the same order is pending.
    Column("due_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("delivered_at", DateTime(timezone=True)),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    CheckConstraint(one_of("status", DeliveryStatus), name="status"),
    CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered"),
    CheckConstraint("status = 'pending' OR due_at IS NULL", name="due"),
    # One message for each event, however often the bus brings it.
    UniqueConstraint("endpoint_id", "event_id"),
    # Serves the claim of due deliveries, endpoint by endpoint.
    Index(
        "webhook_deliveries_due_idx",
        "endpoint_id",
        "due_at",
        postgresql_where=text("status = 'pending' AND due_at IS NOT NULL"),
    ),
    # Serves the question which delivery of an order is next.
    Index(
        "webhook_deliveries_queue_idx",
        "endpoint_id",
        "order_id",
        "position",
        postgresql_where=text("status = 'pending'"),
    ),
    # Serves GET /webhooks/{id}/deliveries, newest first.
    Index("webhook_deliveries_endpoint_id_position_idx", "endpoint_id", "position"),
    # Serves the replay of what failed.
    Index("webhook_deliveries_failed_idx", "endpoint_id", "position", postgresql_where=text("status = 'failed'")),
    # Serves the purge.
    Index("webhook_deliveries_created_at_idx", "created_at"),
    postgresql_with={"fillfactor": "80"},
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("attempted_at", DateTime(timezone=True), nullable=False),
    Column("status", SmallInteger),
    Column("error", Text),
    Column("duration_seconds", Double, nullable=False),
    Column("excerpt", Text, nullable=False),
)

# What only logistics tells of parcels, and the reports want to know.
order_parcels = Table(
    "order_parcels",
    metadata,
    Column("shipment_id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("carrier", Text),
    Column("first_scanned_at", DateTime(timezone=True)),
    Column("last_scanned_at", DateTime(timezone=True)),
    Index("order_parcels_order_id_idx", "order_id"),
    postgresql_with={"fillfactor": "80"},
)

# One row for each order, made anew from the tables above whenever something happened to it; times are business times.
order_journeys = Table(
    "order_journeys",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    # When the customer placed it: everything is summed by this day.
    Column("day", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("customer_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("captured_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("refunded_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("warehouse", Text, nullable=False, server_default=text("''")),
    Column("carrier", Text, nullable=False, server_default=text("''")),
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    Column("is_backordered", Boolean, nullable=False, server_default=text("false")),
    Column("is_confirmed", Boolean, nullable=False, server_default=text("false")),
    Column("is_returned", Boolean, nullable=False, server_default=text("false")),
    Column("dispatched_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    # In the order of `domain.delays.STAGES`; what was typical of them when the promise was made.
    Column("stage_seconds", ARRAY(Double)),
    Column("typical_seconds", ARRAY(Double)),
    Column("promised_by", DateTime(timezone=True)),
    Column("ship_by", DateTime(timezone=True)),
    Column("allowance_seconds", Double),
    Column("probability_late", Double),
    Column("probability_at_confirmation", Double),
    Column("probability_at_dispatch", Double),
    Column("published_probability", Double),
    Column("is_at_risk", Boolean, nullable=False, server_default=text("false")),
    # By the system's clock, unlike the times above; empty unless a promise is still to be kept.
    Column("rescore_at", DateTime(timezone=True)),
    Column("lateness_seconds", Double),
    # In the order of `domain.delays.CAUSES`; they add up to the lateness.
    Column("late_shares", ARRAY(Double)),
    CheckConstraint("(promised_by IS NULL) = (ship_by IS NULL)", name="promise"),
    CheckConstraint("probability_late BETWEEN 0 AND 1", name="probability"),
    # Serves the sums of a day.
    Index("order_journeys_day_idx", "day"),
    # Serves GET /delays/queue.
    Index("order_journeys_queue_idx", "ship_by", "order_id", postgresql_where=text("is_at_risk")),
    # Serves the search for orders whose risk is to be looked at again.
    Index("order_journeys_rescore_at_idx", "rescore_at", postgresql_where=text("rescore_at IS NOT NULL")),
    # Serve reminders.
    Index("order_journeys_open_ship_by_idx", "ship_by", postgresql_where=text("rescore_at IS NOT NULL")),
    Index("order_journeys_open_promised_by_idx", "promised_by", postgresql_where=text("rescore_at IS NOT NULL")),
    postgresql_with={"fillfactor": "70"},
)

# Days whose sums are to be made anew: appended with each change, so that nobody waits for anybody.
journey_marks = Table(
    "journey_marks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("day", Date, nullable=False),
)

order_summaries = Table(
    "order_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("country", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            "orders",
            "held",
            "backordered",
            "confirmed",
            "refused",
            "cancelled",
            "shipped",
            "delivered",
            "settled",
            "returned",
        )
    ),
    Column("total_minor", Numeric, nullable=False),
    Column("captured_minor", Numeric, nullable=False),
    Column("refunded_minor", Numeric, nullable=False),
)

reason_summaries = Table(
    "reason_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("orders", BigInteger, nullable=False),
    Column("amount_minor", Numeric, nullable=False),
    CheckConstraint("outcome IN ('cancelled', 'refused', 'returned')", name="outcome"),
)

# The durations of stages as counts by bucket (`domain.durations`): reports and promises come from here.
stage_summaries = Table(
    "stage_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("warehouse", Text, primary_key=True),
    Column("carrier", Text, primary_key=True),
    Column("country", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("orders", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
)

late_summaries = Table(
    "late_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("warehouse", Text, primary_key=True),
    Column("carrier", Text, primary_key=True),
    Column("country", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("lateness_seconds", Double, nullable=False),
    Column("shares", ARRAY(Double), nullable=False),
)

# An order counts in each category that it has goods of.
late_category_summaries = Table(
    "late_category_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("lateness_seconds", Double, nullable=False),
    Column("shares", ARRAY(Double), nullable=False),
)

calibration_summaries = Table(
    "calibration_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("point", Text, primary_key=True),
    Column("bin", Integer, primary_key=True, autoincrement=False),
    Column("orders", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("probability_sum", Double, nullable=False),
    Column("squared_error_sum", Double, nullable=False),
    CheckConstraint("point IN ('confirmation', 'dispatch')", name="point"),
)

customer_months = Table(
    "customer_months",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("month", Date, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("orders", BigInteger, nullable=False),
    Column("revenue_minor", Numeric, nullable=False),
    # Serves making a month anew.
    Index("customer_months_month_idx", "month"),
)

# By the month of a customer's first order (`cohort`).
cohort_summaries = Table(
    "cohort_summaries",
    metadata,
    Column("cohort", Date, primary_key=True),
    Column("month", Date, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("customers", BigInteger, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("revenue_minor", Numeric, nullable=False),
)

cohort_marks = Table("cohort_marks", metadata, Column("month", Date, primary_key=True))

# A reminder is decided once for each rule and order, return or parcel, whatever becomes of its notifications.
reminders = Table(
    "reminders",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("subject_id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("condition", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("order_id", Uuid, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # When to try (again), or the end of a lease.
    Column("due_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("sent_at", DateTime(timezone=True)),
    Column("last_outcome", Text),
    CheckConstraint(one_of("status", NotificationStatus), name="status"),
    CheckConstraint(one_of("audience", Audience), name="audience"),
    CheckConstraint(one_of("channel", Channel), name="channel"),
    CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name="due"),
    # Serves the claim of due notifications.
    Index("notifications_due_at_idx", "due_at", postgresql_where=text("status = 'pending'")),
    # Serves GET /orders/{id}/reminders.
    Index("notifications_order_id_idx", "order_id"),
)

# Personal data: apart from everything, so that it can be erased at once and is in no event and no log.
customer_contacts = Table(
    "customer_contacts",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

# Who is to be forgotten. What names them is a pseudonym; their id is kept until it is done.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("customer", Text, nullable=False),
    Column("customer_id", Text),
    Column("visitors", ARRAY(Text), nullable=False),
    Column("order_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("erased_at", DateTime(timezone=True)),
    Column("done_at", DateTime(timezone=True)),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("customer"),
    CheckConstraint(one_of("status", ErasureStatus), name="status"),
    CheckConstraint("status = 'requested' OR customer_id IS NULL", name="customer_id"),
    CheckConstraint("(status = 'done') = (done_at IS NOT NULL)", name="done"),
    # Serves the search for what is to be done.
    Index("erasures_open_idx", "id", postgresql_where=text("status <> 'done'")),
    # Serves the copies of the register.
    Index("erasures_requested_at_idx", "requested_at"),
)

# From whom an answer is expected, and who has given it.
erasure_answers = Table(
    "erasure_answers",
    metadata,
    Column("part_id", Uuid, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("erasure_id", Uuid, ForeignKey("erasures.id"), nullable=False),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    Column("answered_at", DateTime(timezone=True)),
    Index("erasure_answers_erasure_id_idx", "erasure_id"),
)
