"""What every service has, and one table for effects."""

from alembic import op

from libs.common.decisions.storage import create_decisions
from libs.common.messaging.tables import create_inbox
from libs.common.outbox.tables import create_outbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_outbox(op)
    create_inbox(op)
    create_decisions(op)
    op.execute("CREATE TABLE effects (event_id uuid, sku text, quantity int)")


def downgrade() -> None:
    for table in ("effects", "decisions", "inbox_events", "relay_leases", "outbox_events"):
        op.execute(f"DROP TABLE {table}")
