"""Who made which hold. Holds from before have no owner, and end within a day or so."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE hold_owners (
            reservation_id uuid CONSTRAINT hold_owners_pkey PRIMARY KEY,
            owner text NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE hold_owners")
