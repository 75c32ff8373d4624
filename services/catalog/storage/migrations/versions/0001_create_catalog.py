"""Categories, products, and what every service has."""

from alembic import op
from sqlalchemy import text

from libs.common.db import new_metadata
from libs.common.decisions.storage import create_decisions
from libs.common.http.idempotency import idempotency_keys_table
from libs.common.messaging.tables import create_inbox
from libs.common.outbox.tables import create_outbox
from libs.common.telemetry.logs import get_logger

revision = "0001"
down_revision = None

log = get_logger()

_CATEGORIES = """
CREATE TABLE categories (
    code text CONSTRAINT categories_pkey PRIMARY KEY,
    version bigint NOT NULL CONSTRAINT categories_version_check CHECK (version > 0),
    name text NOT NULL,
    parent text CONSTRAINT categories_parent_fkey REFERENCES categories (code),
    ancestors text[] NOT NULL,
    path_name text NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT categories_named_check CHECK (code <> '' AND name <> ''),
    CONSTRAINT categories_acyclic_check CHECK (NOT code = ANY (ancestors)),
    CONSTRAINT categories_ancestors_check CHECK (ancestors[cardinality(ancestors)] IS NOT DISTINCT FROM parent)
)
"""
_PRODUCTS = """
CREATE TABLE products (
    sku text CONSTRAINT products_pkey PRIMARY KEY,
    version bigint NOT NULL CONSTRAINT products_version_check CHECK (version > 0),
    title text NOT NULL,
    description text NOT NULL,
    category text CONSTRAINT products_category_fkey REFERENCES categories (code),
    category_path text NOT NULL,
    price_minor bigint NOT NULL,
    currency text NOT NULL CONSTRAINT products_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    attributes jsonb NOT NULL CONSTRAINT products_attributes_check CHECK (jsonb_typeof(attributes) = 'object'),
    is_listed boolean NOT NULL,
    listed_at timestamptz,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    search tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english'::regconfig, lower(title COLLATE "pg_c_utf8")), 'A')
        || setweight(to_tsvector('english'::regconfig, lower(sku COLLATE "pg_c_utf8")), 'A')
        || setweight(to_tsvector('english'::regconfig, lower(category_path COLLATE "pg_c_utf8")), 'B')
        || setweight(to_tsvector('english'::regconfig, lower(description COLLATE "pg_c_utf8")), 'C')
        || setweight(
            jsonb_to_tsvector(
                'english'::regconfig, lower(attributes::text COLLATE "pg_c_utf8")::jsonb, '["string"]'::jsonb
            ),
            'C'
        )
    ) STORED,
    similar_text text NOT NULL GENERATED ALWAYS AS (
        lower((title || ' ' || category_path) COLLATE "pg_c_utf8")
    ) STORED,
    CONSTRAINT products_price_minor_check CHECK (price_minor BETWEEN 0 AND 9007199254740991),
    CONSTRAINT products_named_check CHECK (sku <> '' AND title <> ''),
    CONSTRAINT products_listed_at_check CHECK (listed_at IS NOT NULL OR NOT is_listed),
    CONSTRAINT products_category_path_check CHECK (category IS NOT NULL OR category_path = '')
) WITH (fillfactor = 50)
"""
_INDEXES = (
    "CREATE INDEX categories_parent_idx ON categories (parent)",
    "CREATE INDEX products_search_idx ON products USING gin (search)",
    "CREATE INDEX products_newest_idx ON products (coalesce(listed_at, created_at) DESC, sku)",
    "CREATE INDEX products_title_sku_idx ON products (title, sku)",
    "CREATE INDEX products_category_sku_idx ON products (category, sku)",
)
_SIMILAR_INDEX = "CREATE INDEX products_similar_idx ON products USING gin (similar_text gin_trgm_ops)"


def upgrade() -> None:
    create_outbox(op)
    create_inbox(op)
    create_decisions(op)
    idempotency_keys_table(new_metadata()).create(op.get_bind())
    op.execute(_CATEGORIES)
    op.execute(_PRODUCTS)
    for statement in _INDEXES:
        op.execute(statement)
    if _has_trigrams():
        op.execute(_SIMILAR_INDEX)
    else:
        log.warning("catalog.trigrams_missing", effect="search does not forgive misspelt words")


def downgrade() -> None:
    for table in ("products", "categories", "idempotency_keys", "decisions", "inbox_events", "relay_leases"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP TABLE outbox_events")


def _has_trigrams() -> bool:
    """Install pg_trgm where the server ships it and this role may; a database may have it beforehand."""
    op.execute("""
        DO $$ BEGIN
            CREATE EXTENSION IF NOT EXISTS pg_trgm;
        EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
            NULL;
        END $$
    """)
    installed = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")
    return bool(op.get_bind().execute(installed).scalar_one())
