"""Transfers are objects with a plan and lines; what was reported of them so far becomes one each."""

from alembic import op

revision = "0014"
down_revision = "0013"

_STATUSES = (
    "'proposed', 'approved', 'cancelled', 'dispatched', 'partially-received', 'received', 'discrepancy', 'closed'"
)
_TRANSFERS = f"""
CREATE TABLE transfers (
    transfer_id uuid CONSTRAINT transfers_pkey PRIMARY KEY,
    status text NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    plan text,
    is_automatic boolean NOT NULL DEFAULT false,
    source text COLLATE "C",
    destination text COLLATE "C",
    from_warehouse text COLLATE "C",
    to_warehouse text COLLATE "C",
    expected_at timestamptz,
    dispatched_at timestamptz,
    received_at timestamptz,
    is_closed boolean NOT NULL DEFAULT false,
    reason text,
    proposed_by text,
    decided_by text,
    decision_id uuid,
    value_minor bigint,
    currency text,
    automatic_sku text COLLATE "C",
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT transfers_status_check CHECK (status IN ({_STATUSES})),
    CONSTRAINT transfers_plan_check CHECK (plan IN ('proposed', 'approved', 'cancelled')),
    CONSTRAINT transfers_ends_check CHECK (plan IS NULL OR (source IS NOT NULL AND destination <> source)),
    CONSTRAINT transfers_value_check CHECK ((value_minor IS NULL) = (currency IS NULL))
)
"""
_UPGRADE = (
    _TRANSFERS,
    "CREATE INDEX transfers_created_at_transfer_id_idx ON transfers (created_at, transfer_id)",
    "CREATE INDEX transfers_status_created_at_transfer_id_idx ON transfers (status, created_at, transfer_id)",
    """
    CREATE UNIQUE INDEX transfers_proposal_idx ON transfers (automatic_sku, source, destination)
        WHERE is_automatic AND status = 'proposed'
    """,
    "ALTER TABLE stock_transfers RENAME TO transfer_lines",
    "ALTER TABLE transfer_lines RENAME CONSTRAINT stock_transfers_pkey TO transfer_lines_pkey",
    "ALTER TABLE transfer_lines DROP CONSTRAINT stock_transfers_units_check",
    """
    ALTER TABLE transfer_lines
        ADD COLUMN source text COLLATE "C",
        ADD COLUMN is_planned boolean NOT NULL DEFAULT false,
        ADD COLUMN requested bigint NOT NULL DEFAULT 0,
        ADD COLUMN held bigint NOT NULL DEFAULT 0,
        ADD COLUMN returned bigint NOT NULL DEFAULT 0,
        ADD COLUMN written_off bigint NOT NULL DEFAULT 0,
        ADD COLUMN found bigint NOT NULL DEFAULT 0,
        ADD CONSTRAINT transfer_lines_units_check
            CHECK (least(requested, held, dispatched, received, returned, written_off, found) >= 0),
        ADD CONSTRAINT transfer_lines_held_check CHECK (held = 0 OR source IS NOT NULL)
    """,
    # The ledger has said nothing of where a dispatch went, but of where it came from.
    """
    UPDATE transfer_lines SET source = sent.source FROM (
        SELECT transfer_id, sku, min(warehouse) AS source FROM stock_movements
        WHERE kind = 'transfer-out' AND leg = 0 GROUP BY transfer_id, sku
    ) AS sent
    WHERE transfer_lines.transfer_id = sent.transfer_id AND transfer_lines.sku = sent.sku
        AND transfer_lines.dispatched > 0
    """,
    """
    INSERT INTO transfers (
        transfer_id, status, version, from_warehouse, to_warehouse, dispatched_at, received_at, created_at, changed_at
    )
    SELECT transfer_id,
           CASE WHEN bool_or(received > dispatched) THEN 'discrepancy'
                WHEN sum(dispatched) = sum(received) THEN 'received'
                WHEN sum(received) > 0 THEN 'partially-received'
                ELSE 'dispatched' END,
           1, min(source), min(destination), min(moved.dispatched_at), max(moved.received_at),
           coalesce(min(moved.first_at), now()), coalesce(max(moved.last_at), now())
    FROM transfer_lines LEFT JOIN (
        SELECT transfer_id,
               min(occurred_at) FILTER (WHERE kind = 'transfer-out') AS dispatched_at,
               max(occurred_at) FILTER (WHERE kind = 'transfer-in') AS received_at,
               min(recorded_at) AS first_at, max(recorded_at) AS last_at
        FROM stock_movements WHERE transfer_id IS NOT NULL AND leg = 0 GROUP BY transfer_id
    ) AS moved USING (transfer_id)
    GROUP BY transfer_id
    """,
    """
    ALTER TABLE transfer_lines
        ADD CONSTRAINT transfer_lines_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (transfer_id)
    """,
    "CREATE INDEX transfer_lines_sku_idx ON transfer_lines (sku)",
    "CREATE INDEX transfer_lines_held_idx ON transfer_lines (sku, source) WHERE held > 0",
)
_DOWNGRADE = (
    "DROP INDEX transfer_lines_sku_idx, transfer_lines_held_idx",
    """
    ALTER TABLE transfer_lines
        DROP CONSTRAINT transfer_lines_transfer_id_fkey,
        DROP CONSTRAINT transfer_lines_units_check,
        DROP CONSTRAINT transfer_lines_held_check,
        DROP COLUMN source, DROP COLUMN is_planned, DROP COLUMN requested, DROP COLUMN held,
        DROP COLUMN returned, DROP COLUMN written_off, DROP COLUMN found
    """,
    """
    ALTER TABLE transfer_lines
        ADD CONSTRAINT stock_transfers_units_check CHECK (dispatched >= 0 AND received >= 0)
    """,
    "ALTER TABLE transfer_lines RENAME CONSTRAINT transfer_lines_pkey TO stock_transfers_pkey",
    "ALTER TABLE transfer_lines RENAME TO stock_transfers",
    "DROP TABLE transfers",
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWNGRADE:
        op.execute(statement)
