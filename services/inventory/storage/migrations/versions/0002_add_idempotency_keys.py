"""Keys of writes over HTTP that may be sent twice."""

from alembic import op

from libs.common.db import new_metadata
from libs.common.http.idempotency import idempotency_keys_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    idempotency_keys_table(new_metadata()).create(op.get_bind())


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys")
