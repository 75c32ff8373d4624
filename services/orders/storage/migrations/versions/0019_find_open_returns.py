"""Find what is not closed of returns without reading those that are."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("CREATE INDEX returns_open_idx ON returns (status) WHERE status <> 'closed'")


def downgrade() -> None:
    op.execute("DROP INDEX returns_open_idx")
