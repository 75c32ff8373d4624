"""Reviews that wait, the block list, and timers that escalate reviews."""

from alembic import op

revision = "0012"
down_revision = "0011"

_KINDS = "'review', 'stock-reply', 'backorder', 'payment', 'dispatch', 'cancellation', 'delivery', 'settlement'"

_STATEMENTS = (
    """
    CREATE TABLE order_reviews (
        order_id uuid CONSTRAINT order_reviews_pkey PRIMARY KEY,
        held_at timestamptz NOT NULL,
        ship_by timestamptz NOT NULL,
        score bigint NOT NULL,
        reasons text[] NOT NULL,
        rules text NOT NULL,
        verdict text,
        reason text,
        reviewer text,
        decided_at timestamptz,
        CONSTRAINT order_reviews_verdict_check CHECK (verdict IN ('approve', 'refuse')),
        CONSTRAINT order_reviews_decided_check CHECK (num_nulls(verdict, reason, reviewer, decided_at) IN (0, 4))
    )
    """,
    # Orders that wait already.
    """
    INSERT INTO order_reviews (order_id, held_at, ship_by, score, reasons, rules)
    SELECT id, updated_at, placed_at, 0, string_to_array(coalesce(status_reason, ''), ', '), 'limits/1'
    FROM orders WHERE status = 'held'
    """,
    """
    CREATE TABLE review_blocks (
        id uuid CONSTRAINT review_blocks_pkey PRIMARY KEY,
        subject text NOT NULL,
        value text NOT NULL,
        reason text NOT NULL,
        blocked_at timestamptz NOT NULL,
        blocked_by text NOT NULL,
        expires_at timestamptz,
        lifted_at timestamptz,
        lifted_by text,
        lifted_reason text,
        CONSTRAINT review_blocks_subject_check CHECK (subject IN ('customer', 'address', 'email')),
        CONSTRAINT review_blocks_lifted_check CHECK (num_nulls(lifted_at, lifted_by, lifted_reason) IN (0, 3))
    )
    """,
    "CREATE UNIQUE INDEX review_blocks_active_idx ON review_blocks (subject, value) WHERE lifted_at IS NULL",
    """
    CREATE TABLE review_addresses (
        order_id uuid CONSTRAINT review_addresses_pkey PRIMARY KEY,
        address_hash text NOT NULL
    )
    """,
    "CREATE INDEX review_addresses_address_hash_order_id_idx ON review_addresses (address_hash, order_id)",
    "ALTER TABLE order_timers DROP CONSTRAINT order_timers_kind_check",
    f"""
    ALTER TABLE order_timers ADD CONSTRAINT order_timers_kind_check
    CHECK (kind IN ({_KINDS.replace("'review',", "'review', 'review-escalation',")}))
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM order_timers WHERE kind = 'review-escalation'")
    op.execute("ALTER TABLE order_timers DROP CONSTRAINT order_timers_kind_check")
    op.execute(f"ALTER TABLE order_timers ADD CONSTRAINT order_timers_kind_check CHECK (kind IN ({_KINDS}))")
    for table in ("review_addresses", "review_blocks", "order_reviews"):
        op.execute(f"DROP TABLE {table}")
