"""What people do without ctxqueue: a workflow's whole context as one JSON text in Redis, without a lock.

So updates get lost, and each one costs what the whole context costs. Two kinds: entries with what is known of them
(who, when, scope, priority, version, expiry, dependencies), as objects in the process; and a bare mapping of values.
redis-py asks for SET with EX where SETEX was.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ctxqueue import ContextPriority, ContextScope
from tests.benchmarks.contents import key, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

LIFE = 86_400
"""Seconds."""


@dataclass
class Entry:
    """One entry of such a context."""

    key: str
    value: Any
    agent_id: str
    timestamp: datetime
    scope: ContextScope = ContextScope.WORKFLOW
    priority: ContextPriority = ContextPriority.MEDIUM
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    expires_at: datetime | None = None
    dependencies: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's values."""
        return {
            "key": self.key,
            "value": self.value,
            "agent_id": self.agent_id,
            "timestamp": self.timestamp.isoformat(),
            "scope": self.scope.value,
            "priority": self.priority.value,
            "metadata": self.metadata,
            "version": self.version,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "dependencies": self.dependencies,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Entry:
        """Undo ``to_dict``."""
        return cls(
            key=data["key"],
            value=data["value"],
            agent_id=data["agent_id"],
            timestamp=datetime.fromisoformat(data["timestamp"]),
            scope=ContextScope(data["scope"]),
            priority=ContextPriority(data["priority"]),
            metadata=data["metadata"],
            version=data["version"],
            expires_at=datetime.fromisoformat(data["expires_at"]) if data["expires_at"] else None,
            dependencies=data["dependencies"],
        )


def _entry(number: int, content: dict[str, Any]) -> Entry:
    return Entry(key(number), content, "analyst_001", datetime.now(UTC))


def changing_entries(client: redis.Redis, entries: int) -> Callable[[], object]:
    """Changes of one entry among many that are stored with what is known of them."""
    context = {key(number): _entry(number, value(number)) for number in range(entries)}
    client.set("entries", json.dumps({name: entry.to_dict() for name, entry in context.items()}), ex=LIFE)
    numbers = itertools.count()

    def change() -> None:
        held: Any = client.get("entries")
        context = {name: Entry.from_dict(data) for name, data in json.loads(held).items()}
        context[key(1)] = _entry(1, value(next(numbers)))
        client.set("entries", json.dumps({name: entry.to_dict() for name, entry in context.items()}), ex=LIFE)

    return change


def changing_values(client: redis.Redis, entries: int) -> Callable[[], object]:
    """Changes of one value among many of which nothing else is known."""
    client.set("values", json.dumps({key(number): value(number) for number in range(entries)}), ex=LIFE)
    numbers = itertools.count()

    def change() -> None:
        held: Any = client.get("values")
        context = json.loads(held)
        context[key(1)] = value(next(numbers))
        client.set("values", json.dumps(context), ex=LIFE)

    return change
