"""What the auditor has added up of the ledger, how far it is, and what it found."""

from alembic import op

revision = "0006"
down_revision = "0005"

_STATEMENTS = (
    "CREATE INDEX stock_movements_id_idx ON stock_movements (id)",
    """
CREATE TABLE ledger_followers (
    name text CONSTRAINT ledger_followers_pkey PRIMARY KEY,
    movement_id bigint NOT NULL,
    moved_at timestamptz
)
""",
    # Half-empty pages, like those of the levels: rows are updated over and over and no updated column is indexed.
    """
CREATE TABLE ledger_checkpoints (
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    units bigint NOT NULL,
    CONSTRAINT ledger_checkpoints_pkey PRIMARY KEY (sku, warehouse)
) WITH (fillfactor = 50)
""",
    """
CREATE TABLE audit_drifts (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_drifts_pkey PRIMARY KEY,
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    book text NOT NULL,
    units bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_changed_at timestamptz NOT NULL,
    resolved_at timestamptz,
    CONSTRAINT audit_drifts_book_check CHECK (book IN ('ledger', 'reservations')),
    CONSTRAINT audit_drifts_units_check CHECK (units <> 0)
)
""",
    "CREATE UNIQUE INDEX audit_drifts_open_idx ON audit_drifts (sku, warehouse, book) WHERE resolved_at IS NULL",
    "CREATE INDEX audit_drifts_resolved_idx ON audit_drifts (resolved_at) WHERE resolved_at IS NOT NULL",
    """
CREATE TABLE audit_rounds (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_rounds_pkey PRIMARY KEY,
    look text NOT NULL,
    after_sku text COLLATE "C" NOT NULL,
    skus bigint NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    ledger_units bigint,
    reservation_units bigint,
    CONSTRAINT audit_rounds_look_check CHECK (look IN ('levels', 'rescan'))
)
""",
    "CREATE UNIQUE INDEX audit_rounds_under_way_idx ON audit_rounds (look) WHERE finished_at IS NULL",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in ("audit_rounds", "audit_drifts", "ledger_checkpoints", "ledger_followers"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX stock_movements_id_idx")
