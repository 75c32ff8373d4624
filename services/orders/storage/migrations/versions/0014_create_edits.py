"""What customers have changed about their orders."""

from alembic import op

revision = "0014"
down_revision = "0013"

_STATEMENTS = (
    """
    CREATE TABLE order_edits (
        id uuid CONSTRAINT order_edits_pkey PRIMARY KEY,
        order_id uuid NOT NULL CONSTRAINT order_edits_order_id_fkey REFERENCES orders,
        edited_at timestamptz NOT NULL,
        principal text NOT NULL,
        reason text NOT NULL,
        lines_before jsonb NOT NULL,
        lines_after jsonb NOT NULL,
        total_before_minor bigint NOT NULL,
        total_after_minor bigint NOT NULL,
        is_address_changed boolean NOT NULL
    )
    """,
    "CREATE INDEX order_edits_order_id_id_idx ON order_edits (order_id, id)",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE order_edits")
