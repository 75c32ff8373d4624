"""Edits of confirmed orders: a stage of their own, parcels that are replaced, and authorisations beside the first."""

from alembic import op

revision = "0022"
down_revision = "0021"

_STAGES = "'received', 'held', 'approved', 'backordered', 'reserved', 'confirmed'"
_LATER_STAGES = "'cancelling', 'shipped', 'delivered', 'settled', 'refused', 'cancelled'"
_PARCELS = "'dispatched', 'failed', 'lost', 'delivered'"
_OPEN = "status IN ('waiting', 'pending', 'succeeded')"

_UPGRADE = (
    f"""
    ALTER TABLE orders
        DROP CONSTRAINT orders_status_check,
        ADD CONSTRAINT orders_status_check CHECK (status IN ({_STAGES}, 'editing', {_LATER_STAGES}))
    """,
    f"""
    ALTER TABLE order_timeline
        DROP CONSTRAINT order_timeline_stage_check,
        ADD CONSTRAINT order_timeline_stage_check CHECK (stage IN ({_STAGES}, 'editing', {_LATER_STAGES}))
    """,
    f"""
    ALTER TABLE order_shipments
        DROP CONSTRAINT order_shipments_status_check,
        ADD CONSTRAINT order_shipments_status_check
            CHECK (status IN ('planned', 'cancelled', 'replaced', {_PARCELS}))
    """,
    """
    ALTER TABLE payment_commands
        ADD COLUMN authorisation_id uuid,
        ADD COLUMN reference text,
        ADD COLUMN token text
    """,
    "DROP INDEX payment_commands_return_id_idx",
    f"""
    CREATE UNIQUE INDEX payment_commands_return_id_idx ON payment_commands (return_id, authorisation_id)
        NULLS NOT DISTINCT WHERE return_id IS NOT NULL AND {_OPEN}
    """,
    "DROP INDEX payment_commands_capture_idx",
    f"""
    CREATE UNIQUE INDEX payment_commands_capture_idx ON payment_commands (order_id, shipment_id, authorisation_id)
        NULLS NOT DISTINCT WHERE kind = 'capture' AND {_OPEN}
    """,
    "CREATE INDEX payment_commands_reference_idx ON payment_commands (reference) WHERE reference IS NOT NULL",
)
_DOWNGRADE = (
    "DROP INDEX payment_commands_reference_idx",
    "DROP INDEX payment_commands_capture_idx",
    f"""
    CREATE UNIQUE INDEX payment_commands_capture_idx ON payment_commands (order_id, shipment_id)
        NULLS NOT DISTINCT WHERE kind = 'capture' AND {_OPEN}
    """,
    "DROP INDEX payment_commands_return_id_idx",
    f"""
    CREATE UNIQUE INDEX payment_commands_return_id_idx ON payment_commands (return_id)
        WHERE return_id IS NOT NULL AND {_OPEN}
    """,
    "ALTER TABLE payment_commands DROP COLUMN authorisation_id, DROP COLUMN reference, DROP COLUMN token",
    # What the older form has no word for: a parcel that was stopped, an order whose parcels may be stopped.
    "UPDATE order_shipments SET status = 'cancelled' WHERE status = 'replaced'",
    "UPDATE order_timeline SET stage = 'confirmed' WHERE stage = 'editing'",
    "UPDATE orders SET status = 'cancelling' WHERE status = 'editing'",
    f"""
    ALTER TABLE order_shipments
        DROP CONSTRAINT order_shipments_status_check,
        ADD CONSTRAINT order_shipments_status_check CHECK (status IN ('planned', 'cancelled', {_PARCELS}))
    """,
    f"""
    ALTER TABLE order_timeline
        DROP CONSTRAINT order_timeline_stage_check,
        ADD CONSTRAINT order_timeline_stage_check CHECK (stage IN ({_STAGES}, {_LATER_STAGES}))
    """,
    f"""
    ALTER TABLE orders
        DROP CONSTRAINT orders_status_check,
        ADD CONSTRAINT orders_status_check CHECK (status IN ({_STAGES}, {_LATER_STAGES}))
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _DOWNGRADE:
        op.execute(statement)
