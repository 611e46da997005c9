"""The audit log, and which policy a namespace is held to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "ctxqueue_audit",
        sa.Column("namespace", sa.String(64), primary_key=True),
        sa.Column("record_id", sa.LargeBinary, primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("ctxqueue_audit_in_order", "ctxqueue_audit", ["namespace", "at_us", "record_id"])
    op.create_table(
        "ctxqueue_policies",
        sa.Column("namespace", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
    )
