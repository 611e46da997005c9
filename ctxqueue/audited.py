"""What the audit log tells the operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from ctxqueue.models import ContextScope


@dataclass(frozen=True, slots=True)
class AuditedEntry:
    """Which entry a record is about; never what it holds."""

    key: str
    scope: ContextScope
    owner: str
    version: int
    """That was read, written or deleted; 0: none stood there, or it is not known."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what, or was refused it, when and from where."""

    id: str
    at: datetime
    """By the store's clock."""
    action: Literal["read", "revealed", "wrote", "deleted", "denied", "refused", "policy"]
    """refused: a message that was not signed, or forged. policy: another one holds from now on."""
    agent_id: str
    agent_type: str
    agent_role: str
    workflow_id: str
    """Empty: the global context, or none."""
    entries: tuple[AuditedEntry, ...]
    revision: int
    """That wrote them; 0 for what wrote nothing."""
    detail: str
    """By which call it was read; what was denied, and why; a policy's digest before and after."""
    task_id: str
    run_id: str
    trace_id: str
    """As far as they are known."""
