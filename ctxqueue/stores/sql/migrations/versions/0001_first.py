"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _key(*names: str) -> list[sa.Column[Any]]:
    kinds = {"namespace": sa.String(64), "kind": sa.String(16)}
    return [sa.Column(name, kinds.get(name, sa.LargeBinary), primary_key=True) for name in ("namespace", *names)]


def _columns(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def upgrade() -> None:
    """Make all of them."""
    _make_entries()
    _make_history()
    _make_runs()
    _make_inbox()
    _make_outbox()


def _make_entries() -> None:
    op.create_table(
        "ctxqueue_workflows",
        *_key("workflow_id"),
        sa.Column("incarnation", sa.String(64), nullable=False),
        *_columns(sa.BigInteger, "created_us"),
        *_columns(sa.LargeBinary, "metadata"),
        *_columns(sa.BigInteger, "clock_us", "revision"),
        *_columns(sa.LargeBinary, "commit_id"),
        *_columns(sa.BigInteger, "floor"),
        *_columns(sa.Integer, "entries"),
        *_columns(sa.BigInteger, "size"),
        *_columns(sa.Integer, "parked"),
        *_columns(sa.BigInteger, "closed_us"),
        *_columns(sa.Boolean, "removing"),
        *_columns(sa.BigInteger, "graph"),
        *_columns(sa.LargeBinary, "inbox"),
    )
    op.create_table(
        "ctxqueue_entries",
        *_key("workflow_id", "address"),
        *_columns(sa.BigInteger, "version"),
        *_columns(sa.Integer, "size"),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("evict_order", sa.BigInteger, comment="null: never removed to make room"),
        *_columns(sa.Boolean, "sensitive"),
        sa.Column("depends_on", sa.LargeBinary),
        *_columns(sa.LargeBinary, "record"),
    )
    for name, column in (("expiring", "expires_us"), ("evictable", "evict_order")):
        _index_where(f"ctxqueue_entries_{name}", "ctxqueue_entries", ["namespace", "workflow_id", column])
    depending = ["namespace", "workflow_id", "address"]
    _index_where("ctxqueue_entries_depending", "ctxqueue_entries", depending, there="depends_on")


def _make_history() -> None:
    op.create_table(
        "ctxqueue_log",
        *_key("workflow_id"),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        *_columns(sa.LargeBinary, "record"),
    )
    op.create_table(
        "ctxqueue_history",
        *_key("workflow_id", "address"),
        sa.Column("version", sa.BigInteger, primary_key=True),
        *_columns(sa.BigInteger, "until"),
        *_columns(sa.Integer, "size"),
        *_columns(sa.LargeBinary, "record"),
    )
    op.create_table(
        "ctxqueue_guards",
        *_key("workflow_id", "run_id"),
        *_columns(sa.BigInteger, "until_us"),
        *_columns(sa.LargeBinary, "condition"),
    )


def _make_runs() -> None:
    op.create_table(
        "ctxqueue_runs",
        *_key("workflow_id", "run_id"),
        *_columns(sa.BigInteger, "ends_us"),
        *_columns(sa.LargeBinary, "run"),
    )
    op.create_index("ctxqueue_runs_ending", "ctxqueue_runs", ["namespace", "ends_us"])
    op.create_table(
        "ctxqueue_calls",
        *_key("workflow_id", "owner", "call_id"),
        *_columns(sa.BigInteger, "number"),
        sa.Column("ends_us", sa.BigInteger, comment="null: with its run"),
        *_columns(sa.LargeBinary, "answer"),
    )
    _index_where("ctxqueue_calls_ending", "ctxqueue_calls", ["namespace", "ends_us"])
    op.create_table("ctxqueue_parked", *_key("workflow_id", "run_id"), *_columns(sa.LargeBinary, "parked"))
    op.create_table("ctxqueue_ready", *_key("workflow_id", "run_id"), *_columns(sa.LargeBinary, "ready"))
    op.create_table("ctxqueue_waiters", *_key("workflow_id", "address", "run_id"))
    op.create_index("ctxqueue_waiters_of_run", "ctxqueue_waiters", ["namespace", "workflow_id", "run_id"])


def _make_inbox() -> None:
    op.create_table(
        "ctxqueue_updates",
        *_key("workflow_id", "update_id"),
        *_columns(sa.LargeBinary, "payload", "item_id", "message"),
        *_columns(sa.BigInteger, "enqueued_us"),
        *_columns(sa.Boolean, "queued"),
        *_columns(sa.BigInteger, "ends_us"),
        sa.Column("place", sa.BigInteger, comment="null: not in the queue"),
        sa.Column("remind_us", sa.BigInteger, comment="null: its message is not sent again"),
        *_columns(sa.Integer, "attempts"),
        sa.Column("about", sa.LargeBinary, comment="null: no dead letter"),
    )
    for name, column in (("queued", "place"), ("reminded", "remind_us")):
        _index_where(f"ctxqueue_updates_{name}", "ctxqueue_updates", ["namespace", "workflow_id", column])


def _make_outbox() -> None:
    op.create_table("ctxqueue_due", *_key("kind", "workflow_id", "detail"), *_columns(sa.BigInteger, "due_us"))
    op.create_index("ctxqueue_due_first", "ctxqueue_due", ["namespace", "due_us"])
    op.create_table(
        "ctxqueue_outbox",
        *_key("item_id"),
        *_columns(sa.LargeBinary, "app"),
        *_columns(sa.BigInteger, "from_us"),
        *_columns(sa.LargeBinary, "message"),
    )
    op.create_index("ctxqueue_outbox_first", "ctxqueue_outbox", ["namespace", "app", "from_us"])


def _index_where(name: str, table: str, columns: list[str], there: str = "") -> None:
    condition = sa.text(f"{there or columns[-1]} IS NOT NULL")
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)
