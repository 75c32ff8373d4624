"""The recommender's tables."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    Index,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.db import new_metadata
from libs.common.messaging.tables import declare_inbox

metadata = new_metadata()

inbox_events = declare_inbox(metadata)

# Weights are in thousandths of a basket or browsing window.
items = Table(
    "items",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("bought_weight", BigInteger, nullable=False),
    Column("viewed_weight", BigInteger, nullable=False),
    # See domain/popularity.py; comparable at any time without being updated.
    Column("popularity_log2", Double, nullable=False),
    CheckConstraint("bought_weight >= 0", name="bought_weight"),
    CheckConstraint("viewed_weight >= 0", name="viewed_weight"),
    # Serves the most popular products.
    Index("items_popularity_log2_idx", text("popularity_log2 DESC")),
)

# Every pair stands here twice, once from each side: written twice as often, it is read by one range of one index.
item_pairs = Table(
    "item_pairs",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("neighbour", Text, primary_key=True),
    Column("bought_weight", BigInteger, nullable=False),
    Column("viewed_weight", BigInteger, nullable=False),
    # The part of viewed_weight that was computed from other data instead of observed.
    Column("viewed_derived_weight", BigInteger, nullable=False),
    # Which neighbours are candidates at all; their order is the ranking's business.
    Column(
        "candidate_weight",
        BigInteger,
        Computed("3 * bought_weight + viewed_weight", persisted=True),
        nullable=False,
    ),
    CheckConstraint("sku <> neighbour", name="two_products"),
    CheckConstraint("bought_weight >= 0", name="bought_weight"),
    CheckConstraint("viewed_derived_weight BETWEEN 0 AND viewed_weight", name="viewed_derived_weight"),
    # Serves the strongest neighbours of a product, however many it has.
    Index("item_pairs_sku_candidate_weight_idx", "sku", text("candidate_weight DESC")),
)

browsing_windows = Table(
    "browsing_windows",
    metadata,
    Column("visitor_id", Text, primary_key=True),
    # "" for a visitor's views that name no session.
    Column("session_id", Text, primary_key=True),
    Column("views", JSONB, nullable=False),
    # Real time, unlike the event times within: what retention goes by. Not indexed, so that updates stay HOT.
    Column("touched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

histories = Table(
    "histories",
    metadata,
    # A visitor's or a customer's id.
    Column("user_id", Text, primary_key=True),
    # SKU to latest event time, bounded by domain/histories.py.
    Column("viewed", JSONB, nullable=False),
    Column("bought", JSONB, nullable=False),
    Column("touched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Of somebody who was erased: nothing is learned of them any more, whatever comes again.
    Column("erased_at", DateTime(timezone=True)),
    CheckConstraint("erased_at IS NULL OR (viewed = '{}' AND bought = '{}')", name="erased"),
)

# Who asked for what was erased, until the answer is on the bus.
erasure_answers = Table(
    "erasure_answers",
    metadata,
    Column("part_id", Uuid, primary_key=True),
    Column("erasure_id", Uuid, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("answered_at", DateTime(timezone=True)),
    # Serves the search for answers that are due.
    Index("erasure_answers_due_idx", "part_id", postgresql_where=text("answered_at IS NULL")),
)
