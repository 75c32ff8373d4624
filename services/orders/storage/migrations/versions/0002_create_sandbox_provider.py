"""The memory of the built-in sandbox payment provider, apart from the tables of the service."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "CREATE SCHEMA sandbox",
    """
    CREATE TABLE sandbox.sandbox_charges (
        reference text CONSTRAINT sandbox_charges_pkey PRIMARY KEY,
        token text NOT NULL,
        currency text NOT NULL,
        authorised_minor bigint NOT NULL,
        captured_minor bigint NOT NULL DEFAULT 0,
        refunded_minor bigint NOT NULL DEFAULT 0,
        voided_minor bigint NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE sandbox.sandbox_operations (
        key uuid CONSTRAINT sandbox_operations_pkey PRIMARY KEY,
        kind text NOT NULL,
        amount_minor bigint NOT NULL,
        reference text NOT NULL,
        outcome text NOT NULL,
        reason text NOT NULL,
        -- Until then the provider does not say what came out.
        answers_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT sandbox_operations_outcome_check CHECK (outcome IN ('succeeded', 'declined'))
    )
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP SCHEMA sandbox CASCADE")
