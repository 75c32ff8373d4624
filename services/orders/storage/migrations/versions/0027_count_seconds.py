"""Stages that are over within seconds are told apart: their days are summed up anew."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.execute("INSERT INTO journey_marks (day) SELECT DISTINCT day FROM stage_summaries")


def downgrade() -> None:
    op.execute("INSERT INTO journey_marks (day) SELECT DISTINCT day FROM stage_summaries")
