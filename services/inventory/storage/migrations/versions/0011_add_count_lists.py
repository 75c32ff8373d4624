"""Count lists."""

from alembic import op

revision = "0011"
down_revision = "0010"

_LISTS = """
CREATE TABLE count_lists (
    list_id uuid CONSTRAINT count_lists_pkey PRIMARY KEY,
    warehouse text COLLATE "C" NOT NULL,
    day date,
    abc_class text,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    closed_at timestamptz,
    CONSTRAINT count_lists_warehouse_day_key UNIQUE (warehouse, day),
    CONSTRAINT count_lists_status_check CHECK (status IN ('open', 'counting', 'done', 'cancelled')),
    CONSTRAINT count_lists_abc_class_check CHECK (abc_class IN ('A', 'B', 'C')),
    CONSTRAINT count_lists_closed_at_check CHECK ((closed_at IS NOT NULL) = (status IN ('done', 'cancelled')))
)
"""
_LINES = """
CREATE TABLE count_list_lines (
    list_id uuid NOT NULL CONSTRAINT count_list_lines_list_id_fkey REFERENCES count_lists (list_id),
    number integer NOT NULL,
    sku text COLLATE "C" NOT NULL,
    abc_class text NOT NULL,
    reason text NOT NULL,
    event_id uuid,
    counted_at timestamptz,
    counted bigint,
    expected bigint,
    CONSTRAINT count_list_lines_pkey PRIMARY KEY (list_id, number),
    CONSTRAINT count_list_lines_list_id_sku_key UNIQUE (list_id, sku),
    CONSTRAINT count_list_lines_abc_class_check CHECK (abc_class IN ('A', 'B', 'C')),
    CONSTRAINT count_list_lines_counted_check CHECK (num_nulls(event_id, counted_at, counted, expected) IN (0, 4))
)
"""


def upgrade() -> None:
    op.execute(_LISTS)
    op.execute(_LINES)
    op.execute("CREATE INDEX count_lists_created_at_list_id_idx ON count_lists (created_at, list_id)")
    op.execute("CREATE INDEX count_list_lines_uncounted_idx ON count_list_lines (sku) WHERE event_id IS NULL")
    op.execute("CREATE INDEX count_list_lines_event_id_idx ON count_list_lines (event_id)")


def downgrade() -> None:
    op.execute("DROP TABLE count_list_lines")
    op.execute("DROP TABLE count_lists")
