"""The settings and limits, with their defaults: the only place where these numbers stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import msgspec

from ctxqueue.clock import LONGEST_DURATION
from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

OnDivergence = Literal["first", "apply", "error"]
OnAuditFailure = Literal["refuse", "warn"]

MAX_COMMIT_KEYS = 200
MAX_COMMIT_BYTES = 1024 * 1024
MAX_RUN_CALLS = 1_000
MAX_SAVED_RESULT = 64 * 1024
MAX_SCRIPT_MERGE = 64 * 1024
MAX_TRIGGERS = 10_000
"""Of a workflow, the last hundred that ended among them."""
MAX_TRIGGER_DEPTH = 16
"""A trigger whose task arms the next, and so on: a loop ends here."""
MAX_RECURRING = 500
"""Triggers of a workflow that fire each time."""
MAX_SUBSCRIPTIONS = 50
"""Of an agent in a workflow."""
MAX_CONDITION_DEPTH = 10
MAX_CONDITION_LEAVES = 1_000
MAX_PAGE = 1_000


MAY_BE_NONE = frozenset({"audit_limit", "history", "wait_replicas", "quota_entries", "quota_bytes"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment may choose. Durations are seconds, sizes bytes of a packed value."""

    sweep_interval: float = 10.0
    """Seconds between two runs of `ctxqueue.cleanup_sweep` and of `ctxqueue.dependency_callbacks`."""
    retention_interval: float = 3_600.0
    """Seconds between two runs of `ctxqueue.memory_retention`."""
    lease: float = 30.0
    """Seconds that an attempt or a message under way is left alone without a sign of life."""
    horizon: float = 24 * 3600.0
    """Seconds that the outcome of a call is remembered."""
    on_divergence: OnDivergence = "first"
    """What a repeated call with another input gets: the `first` outcome, its way (`apply`), or an `error`."""
    max_value: int = 1024 * 1024
    """Bytes of one packed value."""
    max_entries: int = 10_000
    """Entries of one workflow."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes of the values of one workflow."""
    quota_entries: int = 0
    """Entries of one workflow that one agent may hold, as it wrote them last; 0: as many as there is room for."""
    quota_bytes: int = 0
    """Bytes of the values of these; 0: likewise."""
    history: int = 20
    """Values kept of one address, the standing one included; 0 and 1 keep no other."""
    log_limit: int = 1_000
    """Revisions kept in a workflow's log."""
    idle_life: float = 24 * 3600.0
    """Seconds that a workflow stays after its last commit; one with a parked task stays."""
    needs_timeout: float = 3600.0
    """Seconds that a task waits for its keys, where it does not say."""
    max_lost_attempts: int = 5
    """Workers that may die over one message of an agent's or claimed task; then the task fails with `RunAbandoned`."""
    signature_age: float = 7 * 24 * 3600.0
    """Seconds that a message's signature counts, with `ctxqueue_signing_keys`."""
    wait_replicas: int = 0
    """How many replicas must have a commit before its caller is told of it; for one Redis, or behind Sentinels."""
    audit_failure: OnAuditFailure = "refuse"
    """What follows where the audit log cannot be written: a sensitive value is not handed out (`refuse`), or a line in
    the process's log (`warn`)."""
    audit_limit: int = 1_000_000
    """Records of the audit log; on Redis each of the 1,024 shards keeps up to a hundredth of it. 0 turns it off."""
    audit_age: float = 90 * 24 * 3600.0
    """Seconds that a record of the audit log is kept."""
    inbox_limit: int = 10_000
    """Stored updates of one workflow that wait for their outcome, dead letters among them; then `InboxFull`."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            least = 0 if field.name in MAY_BE_NONE else 1
            if field.type is int and not (type(value) is int and value >= least):
                raise ConfigurationError(
                    f"ctxqueue_{field.name} is {value!r}: it must be a whole number, at least {least}"
                )
            if field.type is float and not (type(value) in (int, float) and 0 < value <= LONGEST_DURATION):
                raise ConfigurationError(
                    f"ctxqueue_{field.name} is {value!r}: it must be a number above 0, in seconds,"
                    " up to a hundred years"
                )
        for name, choices in (("on_divergence", OnDivergence), ("audit_failure", OnAuditFailure)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigurationError(
                    f"ctxqueue_{name} is {getattr(self, name)!r}: it is one of {', '.join(get_args(choices))}"
                )

    @classmethod
    def read(cls, lookup: Callable[[str, Any], Any]) -> Self:
        """Build from ``lookup("ctxqueue_lease", default)`` and so on, as ``app.conf.get`` answers it."""
        return cls(
            **{field.name: lookup(f"ctxqueue_{field.name}", field.default) for field in msgspec.structs.fields(cls)}
        )
