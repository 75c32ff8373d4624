"""What was received of the numbers that warehouses give their reports, and what is missing of them."""

from alembic import op

revision = "0003"
down_revision = "0002"

_UPGRADE = (
    """
    CREATE TABLE warehouse_sequences (
        warehouse text COLLATE "C" CONSTRAINT warehouse_sequences_pkey PRIMARY KEY,
        received int8multirange NOT NULL,
        given_up bigint NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE sequence_gaps (
        warehouse text COLLATE "C" NOT NULL,
        first bigint NOT NULL,
        last bigint NOT NULL,
        since timestamptz NOT NULL,
        CONSTRAINT sequence_gaps_pkey PRIMARY KEY (warehouse, first),
        CONSTRAINT sequence_gaps_range_check CHECK (0 < first AND first <= last)
    )
    """,
    """
    CREATE TABLE sequence_conflicts (
        warehouse text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL,
        latest_at timestamptz NOT NULL,
        CONSTRAINT sequence_conflicts_pkey PRIMARY KEY (warehouse, sequence)
    )
    """,
    """
    CREATE TABLE sequence_acceptances (
        warehouse text COLLATE "C" NOT NULL,
        first bigint NOT NULL,
        last bigint NOT NULL,
        missing bigint NOT NULL,
        reason text NOT NULL,
        accepted_by text NOT NULL,
        accepted_at timestamptz NOT NULL,
        CONSTRAINT sequence_acceptances_pkey PRIMARY KEY (warehouse, first, last, accepted_at)
    )
    """,
    """
    CREATE INDEX stock_movements_warehouse_sequence_idx ON stock_movements (warehouse, sequence)
        WHERE sequence IS NOT NULL
    """,
    # What came before this was watched. The time since when a number has been missing is not known any more.
    """
    INSERT INTO warehouse_sequences (warehouse, received)
    SELECT warehouse, range_agg(int8range(sequence, sequence, '[]'))
    FROM stock_movements WHERE sequence IS NOT NULL GROUP BY warehouse
    """,
    """
    INSERT INTO sequence_gaps (warehouse, first, last, since)
    SELECT warehouse, lower(missing), upper(missing) - 1, now()
    FROM warehouse_sequences, unnest(int8multirange(int8range(1, upper(received))) - received) AS missing
    """,
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX stock_movements_warehouse_sequence_idx")
    for table in ("sequence_acceptances", "sequence_conflicts", "sequence_gaps", "warehouse_sequences"):
        op.execute(f"DROP TABLE {table}")
