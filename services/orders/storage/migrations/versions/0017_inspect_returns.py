"""Returns with a coded reason, a label, an inspection of their own, and what they are exchanged for."""

from alembic import op

revision = "0017"
down_revision = "0016"

_UPGRADE = (
    """
    ALTER TABLE returns
        ADD COLUMN reason_code text NOT NULL DEFAULT 'other',
        ADD COLUMN label_carrier text,
        ADD COLUMN label_reference text,
        ADD COLUMN inspected_at timestamptz,
        ADD COLUMN inspected_by text,
        ADD COLUMN inspection jsonb,
        ADD COLUMN exchange_for jsonb,
        ADD COLUMN exchange_order_id uuid,
        DROP CONSTRAINT returns_status_check,
        ADD CONSTRAINT returns_status_check CHECK (status IN ('requested', 'received', 'inspected', 'closed')),
        ADD CONSTRAINT returns_label_check CHECK ((label_carrier IS NULL) = (label_reference IS NULL)),
        ADD CONSTRAINT returns_inspected_check CHECK ((inspected_at IS NULL) = (inspected_by IS NULL))
    """,
    """
    ALTER TABLE return_lines
        ADD COLUMN written_off_quantity integer NOT NULL DEFAULT 0,
        ADD CONSTRAINT return_lines_written_off_check
            CHECK (written_off_quantity BETWEEN 0 AND received_quantity - restocked_quantity)
    """,
)
_DOWNGRADE = (
    "ALTER TABLE return_lines DROP COLUMN written_off_quantity",
    # What was inspected and not refunded yet goes on as received; its refund is under way.
    "UPDATE returns SET status = 'received' WHERE status = 'inspected'",
    """
    ALTER TABLE returns
        DROP COLUMN reason_code, DROP COLUMN label_carrier, DROP COLUMN label_reference, DROP COLUMN inspected_at,
        DROP COLUMN inspected_by, DROP COLUMN inspection, DROP COLUMN exchange_for, DROP COLUMN exchange_order_id,
        DROP CONSTRAINT returns_status_check,
        ADD CONSTRAINT returns_status_check CHECK (status IN ('requested', 'received', 'closed'))
    """,
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWNGRADE:
        op.execute(statement)
