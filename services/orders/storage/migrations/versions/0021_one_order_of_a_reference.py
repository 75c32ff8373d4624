"""Orders that were placed one by one have their channel's number like those of files."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Of these the content was not kept: an empty hash is like no other. Of several the first has the reference.
    op.execute("""
    INSERT INTO imported_orders (channel, reference, order_id, content_hash, imported_at)
    SELECT DISTINCT ON (channel, reference) channel, reference, id, ''::bytea, received_at FROM orders
    WHERE reference IS NOT NULL AND channel NOT IN ('replacement', 'remainder', 'exchange')
    ORDER BY channel, reference, id
    ON CONFLICT (channel, reference) DO NOTHING
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM imported_orders WHERE content_hash = ''::bytea")
