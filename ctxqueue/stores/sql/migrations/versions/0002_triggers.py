"""What became of triggers, and whether a workflow is watched from others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.add_column("ctxqueue_workflows", sa.Column("watched", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "ctxqueue_triggers",
        sa.Column("namespace", sa.String(64), primary_key=True),
        sa.Column("workflow_id", sa.LargeBinary, primary_key=True),
        sa.Column("trigger_id", sa.LargeBinary, primary_key=True),
        sa.Column("ended_us", sa.BigInteger, comment="null: it waits, or its message is on its way"),
        sa.Column("trigger", sa.LargeBinary, nullable=False),
    )
    there = sa.text("ended_us IS NOT NULL")
    op.create_index(
        "ctxqueue_triggers_ended",
        "ctxqueue_triggers",
        ["namespace", "workflow_id", "ended_us"],
        postgresql_where=there,
        sqlite_where=there,
    )
