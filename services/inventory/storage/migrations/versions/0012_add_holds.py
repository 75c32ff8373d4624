"""Holds with their expiry, and orders that hold a part of what they want."""

from alembic import op

revision = "0012"
down_revision = "0011"

_WAITING_INDEX = "CREATE INDEX reservations_waiting_idx ON reservations (approved_at) WHERE {}"


def upgrade() -> None:
    op.execute("ALTER TABLE reservations ADD COLUMN expires_at timestamptz")
    _replace_check("status", "status IN ('held', 'partly-held', 'waiting', 'rejected', 'released', 'committed')")
    _replace_check("on_shortage", "on_shortage IN ('backorder', 'refuse', 'partial', 'best-effort')")
    op.execute("DROP INDEX reservations_waiting_idx")
    op.execute(_WAITING_INDEX.format("status IN ('waiting', 'partly-held')"))
    op.execute(
        """
        CREATE INDEX reservations_expiry_idx ON reservations (expires_at)
            WHERE status = 'held' AND expires_at IS NOT NULL
        """
    )


def downgrade() -> None:
    op.execute("DROP INDEX reservations_expiry_idx")
    op.execute("DROP INDEX reservations_waiting_idx")
    op.execute(_WAITING_INDEX.format("status = 'waiting'"))
    _replace_check("on_shortage", "on_shortage IN ('backorder', 'refuse')")
    _replace_check("status", "status IN ('held', 'waiting', 'rejected', 'released', 'committed')")
    op.execute("ALTER TABLE reservations DROP COLUMN expires_at")


def _replace_check(name: str, condition: str) -> None:
    op.execute(f"ALTER TABLE reservations DROP CONSTRAINT reservations_{name}_check")
    op.execute(f"ALTER TABLE reservations ADD CONSTRAINT reservations_{name}_check CHECK ({condition})")
