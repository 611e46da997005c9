"""What agents were notified of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "ctxqueue_notices",
        sa.Column("namespace", sa.String(64), primary_key=True),
        sa.Column("workflow_id", sa.LargeBinary, primary_key=True),
        sa.Column("agent_id", sa.LargeBinary, primary_key=True),
        sa.Column("notices", sa.LargeBinary, nullable=False),
    )
