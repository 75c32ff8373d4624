"""The catalog's tables."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from libs.common.db import new_metadata
from libs.common.decisions.storage import declare_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import declare_inbox
from libs.common.money import MINOR_MAX
from libs.common.outbox.tables import declare_outbox

# The language whose words are reduced to their stems, for the stored vectors and for what is searched alike.
SEARCH_LANGUAGE = "english"

# Lower case by Unicode's rules whatever the database's locale: in the C locale only ASCII would fold.
_SEARCH = f"""
setweight(to_tsvector('{SEARCH_LANGUAGE}'::regconfig, lower(title COLLATE "pg_c_utf8")), 'A')
|| setweight(to_tsvector('{SEARCH_LANGUAGE}'::regconfig, lower(sku COLLATE "pg_c_utf8")), 'A')
|| setweight(to_tsvector('{SEARCH_LANGUAGE}'::regconfig, lower(category_path COLLATE "pg_c_utf8")), 'B')
|| setweight(to_tsvector('{SEARCH_LANGUAGE}'::regconfig, lower(description COLLATE "pg_c_utf8")), 'C')
|| setweight(
    jsonb_to_tsvector('{SEARCH_LANGUAGE}'::regconfig, lower(attributes::text COLLATE "pg_c_utf8")::jsonb, '["string"]'::jsonb), 'C'
)
"""  # noqa: E501 - one term of the expression

metadata = new_metadata()

categories = Table(
    "categories",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent", Text, ForeignKey("categories.code")),
    # Codes from the root down to the parent, so that a subtree is one look-up and a circle cannot be stored.
    Column("ancestors", ARRAY(Text), nullable=False),
    # The names on the way from the root to this category: the words by which its products are found.
    Column("path_name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("code <> '' AND name <> ''", name="named"),
    CheckConstraint("NOT code = ANY(ancestors)", name="acyclic"),
    CheckConstraint("ancestors[cardinality(ancestors)] IS NOT DISTINCT FROM parent", name="ancestors"),
    # Serves the list of the categories below one, and the check of the foreign key.
    Index(None, "parent"),
)

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    # Counts the product's events as well: every version is published, and only once.
    Column("version", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, ForeignKey("categories.code")),
    # A copy of the category's path_name: a generated column sees only its own row.
    Column("category_path", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("is_listed", Boolean, nullable=False),
    Column("listed_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("search", TSVECTOR, Computed(_SEARCH, persisted=True), nullable=False),
    # What misspelt words are compared with.
    Column(
        "similar_text",
        Text,
        Computed("lower((title || ' ' || category_path) COLLATE \"pg_c_utf8\")", persisted=True),
        nullable=False,
    ),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("sku <> '' AND title <> ''", name="named"),
    CheckConstraint(f"price_minor BETWEEN 0 AND {MINOR_MAX}", name="price_minor"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    CheckConstraint("jsonb_typeof(attributes) = 'object'", name="attributes"),
    CheckConstraint("listed_at IS NOT NULL OR NOT is_listed", name="listed_at"),
    CheckConstraint("category IS NOT NULL OR category_path = ''", name="category_path"),
    # Prices change most, a whole catalog at a time, and no index names the price: with as much room as this on each
    # page a new price touches no index at all, where each of the two GIN indexes costs more than the row.
    postgresql_with={"fillfactor": 50},
)
# Serves full-text search.
Index("products_search_idx", products.c.search, postgresql_using="gin")
# Serve the pages of the product list. Its order by price has none: see the note on the table.
Index(
    "products_newest_idx",
    func.coalesce(products.c.listed_at, products.c.created_at).desc(),
    products.c.sku,
)
Index(None, products.c.title, products.c.sku)
# Serves the list and the search within a category, and the check of the foreign key.
Index(None, products.c.category, products.c.sku)
# Serves the search for misspelt words. Built only where the database has pg_trgm; without it that search is off.
Index(
    "products_similar_idx",
    products.c.similar_text,
    postgresql_using="gin",
    postgresql_ops={"similar_text": "gin_trgm_ops"},
)

outbox_events, relay_leases = declare_outbox(metadata)
inbox_events = declare_inbox(metadata)
decisions = declare_decisions(metadata)
idempotency_keys = idempotency_keys_table(metadata)
