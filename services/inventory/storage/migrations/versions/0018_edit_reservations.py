"""Which edits of orders that wait for goods were answered."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("CREATE TABLE reservation_edits (edit_id uuid CONSTRAINT reservation_edits_pkey PRIMARY KEY)")


def downgrade() -> None:
    op.execute("DROP TABLE reservation_edits")
