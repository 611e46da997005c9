"""Memories, their owners, and which of them were removed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _key(*names: str) -> list[sa.Column[Any]]:
    kinds = {"namespace": sa.String(64)}
    return [sa.Column(name, kinds.get(name, sa.LargeBinary), primary_key=True) for name in ("namespace", *names)]


def _columns(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "ctxqueue_memory_owners",
        *_key("owner"),
        sa.Column("incarnation", sa.String(64), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        *_columns(sa.BigInteger, "clock_us", "number", "floor"),
    )
    op.create_table("ctxqueue_memory_names", *_key("name"), *_columns(sa.BigInteger, "registered_us"))
    op.create_index("ctxqueue_memory_names_registered", "ctxqueue_memory_names", ["namespace", "registered_us"])
    op.create_table(
        "ctxqueue_memories",
        *_key("owner", "memory_id"),
        sa.Column("kind", sa.String(16), nullable=False),
        *_columns(sa.LargeBinary, "body"),
        *_columns(sa.BigInteger, "number", "born", "created_us"),
        sa.Column("expires_us", sa.BigInteger, comment="null: never"),
        *_columns(sa.Boolean, "pinned", "superseded"),
        *_columns(sa.BigInteger, "accesses", "accessed_us"),
        *_columns(sa.LargeBinary, "touch_id"),
    )
    of_kind = ["namespace", "owner", "kind", "pinned"]
    op.create_index("ctxqueue_memories_changed", "ctxqueue_memories", ["namespace", "owner", "number"])
    op.create_index("ctxqueue_memories_aged", "ctxqueue_memories", [*of_kind, "created_us"])
    op.create_index("ctxqueue_memories_used", "ctxqueue_memories", [*of_kind, "accesses", "created_us"])
    there = sa.text("expires_us IS NOT NULL")
    op.create_index(
        "ctxqueue_memories_expiring",
        "ctxqueue_memories",
        ["namespace", "owner", "expires_us"],
        postgresql_where=there,
        sqlite_where=there,
    )
    op.create_table("ctxqueue_memories_removed", *_key("owner", "memory_id"), *_columns(sa.BigInteger, "number"))
    op.create_index("ctxqueue_memories_removed_in_order", "ctxqueue_memories_removed", ["namespace", "owner", "number"])
