"""Who was erased, and the answers that are due about it."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "ALTER TABLE histories ADD COLUMN erased_at timestamptz",
    """
    ALTER TABLE histories ADD CONSTRAINT histories_erased_check
    CHECK (erased_at IS NULL OR (viewed = '{}' AND bought = '{}')) NOT VALID
    """,
    # Alembic reads no constraint that is not validated.
    "ALTER TABLE histories VALIDATE CONSTRAINT histories_erased_check",
    """
    CREATE TABLE erasure_answers (
        part_id uuid CONSTRAINT erasure_answers_pkey PRIMARY KEY,
        erasure_id uuid NOT NULL,
        rows bigint NOT NULL,
        answered_at timestamptz
    )
    """,
    "CREATE INDEX erasure_answers_due_idx ON erasure_answers (part_id) WHERE answered_at IS NULL",
)


def upgrade() -> None:
    """Apply."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Take back."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE erasure_answers")
    op.execute("ALTER TABLE histories DROP COLUMN erased_at")
