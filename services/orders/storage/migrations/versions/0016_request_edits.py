"""Edits that inventory has to answer."""

from alembic import op

revision = "0016"
down_revision = "0015"

_STATEMENTS = (
    "ALTER TABLE order_edits ADD COLUMN status text NOT NULL DEFAULT 'applied', ADD COLUMN refusal text",
    """
    ALTER TABLE order_edits
        ADD CONSTRAINT order_edits_status_check CHECK (status IN ('requested', 'applied', 'refused')),
        ADD CONSTRAINT order_edits_refusal_check CHECK ((status = 'refused') = (refusal IS NOT NULL))
    """,
    "CREATE UNIQUE INDEX order_edits_requested_idx ON order_edits (order_id) WHERE status = 'requested'",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP INDEX order_edits_requested_idx")
    op.execute("ALTER TABLE order_edits DROP COLUMN refusal, DROP COLUMN status")
