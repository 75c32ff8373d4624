"""Decision records are kept as they were written, which costs half of taking them apart first."""

from alembic import op

from libs.common.decisions.storage import keep_records_as_written, take_records_apart

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    keep_records_as_written(op)


def downgrade() -> None:
    take_records_apart(op)
