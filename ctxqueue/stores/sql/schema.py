r"""The tables, all named ``ctxqueue_...``: whatever else is in the database is somebody else's.

Names are kept as the bytes of their UTF-8, so that every database orders them alike, and holds the \0 that parts an
address. Instants are microseconds since 1970. What only the engine looks into is one packed column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    false,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

PREFIX = "ctxqueue_"
VERSION_TABLE = "ctxqueue_alembic_version"
VECTORS_PREFIX = "ctxqueue_vectors_"
"""Of tables that stand beside the schema's: one for each embedder's model, where pgvector is used."""

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Of the schema, in order; the last one is what this version works with."""


class Name(TypeDecorator[str]):
    """Text as its bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 - its interface
        """Return the bytes."""
        return None if value is None else value.encode()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text."""
        return None if value is None else value.decode()


metadata = MetaData()


def _namespace() -> Column[str]:
    return Column("namespace", String(64), primary_key=True)


def _part_of_key(name: str) -> Column[str]:
    return Column(name, Name, primary_key=True)


workflows = Table(
    "ctxqueue_workflows",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    Column("incarnation", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("clock_us", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("commit_id", LargeBinary, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("parked", Integer, nullable=False),
    Column("closed_us", BigInteger, nullable=False),
    Column("removing", Boolean, nullable=False),
    Column("graph", BigInteger, nullable=False),
    Column("inbox", LargeBinary, nullable=False),
    Column("watched", Boolean, nullable=False, server_default=false()),
)

entries = Table(
    "ctxqueue_entries",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("address"),
    Column("version", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("expires_us", BigInteger),
    Column("evict_order", BigInteger, comment="null: never removed to make room"),
    Column("sensitive", Boolean, nullable=False),
    Column("depends_on", LargeBinary),
    Column("record", LargeBinary, nullable=False),
)


def _index(name: str, *columns: Column[Any]) -> None:
    """Index the rows of which the last column is not null."""
    there = columns[-1].is_not(None)
    Index(name, *columns, postgresql_where=there, sqlite_where=there)


_index("ctxqueue_entries_expiring", entries.c.namespace, entries.c.workflow_id, entries.c.expires_us)
_index("ctxqueue_entries_evictable", entries.c.namespace, entries.c.workflow_id, entries.c.evict_order)
_depending = entries.c.depends_on.is_not(None)
Index(
    "ctxqueue_entries_depending",
    entries.c.namespace,
    entries.c.workflow_id,
    entries.c.address,  # not the keys: an index takes no more than 2 KB of them
    postgresql_where=_depending,
    sqlite_where=_depending,
)

log = Table(
    "ctxqueue_log",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    Column("revision", BigInteger, primary_key=True),
    Column("record", LargeBinary, nullable=False),
)

history = Table(
    "ctxqueue_history",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("address"),
    Column("version", BigInteger, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("record", LargeBinary, nullable=False),
)

guards = Table(
    "ctxqueue_guards",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("run_id"),
    Column("until_us", BigInteger, nullable=False),
    Column("condition", LargeBinary, nullable=False),
)

runs = Table(
    "ctxqueue_runs",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("run_id"),
    Column("ends_us", BigInteger, nullable=False),
    Column("run", LargeBinary, nullable=False),
)
Index("ctxqueue_runs_ending", runs.c.namespace, runs.c.ends_us)

calls = Table(
    "ctxqueue_calls",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("owner"),
    _part_of_key("call_id"),
    Column("number", BigInteger, nullable=False),
    Column("ends_us", BigInteger, comment="null: with its run"),
    Column("answer", LargeBinary, nullable=False),
)
_index("ctxqueue_calls_ending", calls.c.namespace, calls.c.ends_us)

parked = Table(
    "ctxqueue_parked",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("run_id"),
    Column("parked", LargeBinary, nullable=False),
)

ready = Table(
    "ctxqueue_ready",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("run_id"),
    Column("ready", LargeBinary, nullable=False),
)

waiters = Table(
    "ctxqueue_waiters",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("address"),
    _part_of_key("run_id"),
)
Index("ctxqueue_waiters_of_run", waiters.c.namespace, waiters.c.workflow_id, waiters.c.run_id)

triggers = Table(
    "ctxqueue_triggers",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("trigger_id"),
    Column("ended_us", BigInteger, comment="null: it waits, or its message is on its way"),
    Column("trigger", LargeBinary, nullable=False),
)
_index("ctxqueue_triggers_ended", triggers.c.namespace, triggers.c.workflow_id, triggers.c.ended_us)

notices = Table(
    "ctxqueue_notices",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("agent_id"),
    Column("notices", LargeBinary, nullable=False),
)

updates = Table(
    "ctxqueue_updates",
    metadata,
    _namespace(),
    _part_of_key("workflow_id"),
    _part_of_key("update_id"),
    Column("payload", LargeBinary, nullable=False),
    Column("item_id", Name, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("enqueued_us", BigInteger, nullable=False),
    Column("queued", Boolean, nullable=False),
    Column("ends_us", BigInteger, nullable=False),
    Column("place", BigInteger, comment="null: not in the queue"),
    Column("remind_us", BigInteger, comment="null: its message is not sent again"),
    Column("attempts", Integer, nullable=False),
    Column("about", LargeBinary, comment="null: no dead letter"),
)
_index("ctxqueue_updates_queued", updates.c.namespace, updates.c.workflow_id, updates.c.place)
_index("ctxqueue_updates_reminded", updates.c.namespace, updates.c.workflow_id, updates.c.remind_us)

due = Table(
    "ctxqueue_due",
    metadata,
    _namespace(),
    Column("kind", String(16), primary_key=True),
    _part_of_key("workflow_id"),
    _part_of_key("detail"),
    Column("due_us", BigInteger, nullable=False),
)
Index("ctxqueue_due_first", due.c.namespace, due.c.due_us)

outbox = Table(
    "ctxqueue_outbox",
    metadata,
    _namespace(),
    _part_of_key("item_id"),
    Column("app", Name, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
)
Index("ctxqueue_outbox_first", outbox.c.namespace, outbox.c.app, outbox.c.from_us)

memory_owners = Table(
    "ctxqueue_memory_owners",
    metadata,
    _namespace(),
    _part_of_key("owner"),
    Column("incarnation", String(64), nullable=False),
    Column("model", String(256), nullable=False),
    Column("clock_us", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),
)

memory_names = Table(
    "ctxqueue_memory_names",
    metadata,
    _namespace(),
    _part_of_key("name"),
    Column("registered_us", BigInteger, nullable=False),
)
Index("ctxqueue_memory_names_registered", memory_names.c.namespace, memory_names.c.registered_us)

memories = Table(
    "ctxqueue_memories",
    metadata,
    _namespace(),
    _part_of_key("owner"),
    _part_of_key("memory_id"),
    Column("kind", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("born", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, comment="null: never"),
    Column("pinned", Boolean, nullable=False),
    Column("superseded", Boolean, nullable=False),
    Column("accesses", BigInteger, nullable=False),
    Column("accessed_us", BigInteger, nullable=False),
    Column("touch_id", LargeBinary, nullable=False),
)
_of_kind = (memories.c.namespace, memories.c.owner, memories.c.kind, memories.c.pinned)
Index("ctxqueue_memories_changed", memories.c.namespace, memories.c.owner, memories.c.number)
Index("ctxqueue_memories_aged", *_of_kind, memories.c.created_us)
Index("ctxqueue_memories_used", *_of_kind, memories.c.accesses, memories.c.created_us)
_index("ctxqueue_memories_expiring", memories.c.namespace, memories.c.owner, memories.c.expires_us)

memories_removed = Table(
    "ctxqueue_memories_removed",
    metadata,
    _namespace(),
    _part_of_key("owner"),
    _part_of_key("memory_id"),
    Column("number", BigInteger, nullable=False),
)
Index(
    "ctxqueue_memories_removed_in_order",
    memories_removed.c.namespace,
    memories_removed.c.owner,
    memories_removed.c.number,
)

audit = Table(
    "ctxqueue_audit",
    metadata,
    _namespace(),
    Column("record_id", LargeBinary, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
)
Index("ctxqueue_audit_in_order", audit.c.namespace, audit.c.at_us, audit.c.record_id)

policies = Table(
    "ctxqueue_policies",
    metadata,
    _namespace(),
    Column("digest", String(64), nullable=False),
)
