"""Shipments of an order that was edited: what a warehouse sends for it may be planned more than once."""

from alembic import op

revision = "0003"
down_revision = "0002"

_UNIQUE = """
ALTER TABLE shipments
    ADD CONSTRAINT shipments_order_id_warehouse_plan_key UNIQUE (order_id, warehouse, plan)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE shipments ADD COLUMN plan integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE shipments ADD CONSTRAINT shipments_plan_check CHECK (plan >= 0)")
    op.execute("ALTER TABLE shipments DROP CONSTRAINT shipments_order_id_warehouse_key")
    op.execute(_UNIQUE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # What was stopped for another plan of the same warehouse has no place in the older form.
    op.execute(
        """
        DELETE FROM shipments AS stopped USING shipments AS later
        WHERE later.order_id = stopped.order_id AND later.warehouse = stopped.warehouse AND later.plan > stopped.plan
        """
    )
    op.execute("ALTER TABLE shipments DROP CONSTRAINT shipments_order_id_warehouse_plan_key")
    op.execute("ALTER TABLE shipments ADD CONSTRAINT shipments_order_id_warehouse_key UNIQUE (order_id, warehouse)")
    op.execute("ALTER TABLE shipments DROP CONSTRAINT shipments_plan_check, DROP COLUMN plan")
