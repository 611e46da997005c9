"""Where a key goes and how much it matters, where the caller does not say."""

from __future__ import annotations

from ctxqueue.models import ContextPriority, ContextScope

CRITICAL_KEYS = frozenset({"error_state", "workflow_status", "security_context"})
HIGH_KEYS = frozenset({"user_preferences", "calculation_results", "validation_results"})


def scope_of(key: str) -> ContextScope:
    """Return the scope that the key's prefix asks for."""
    if key.startswith("global_"):
        return ContextScope.GLOBAL
    if key.startswith("private_"):
        return ContextScope.PRIVATE
    return ContextScope.WORKFLOW


def priority_of(key: str) -> ContextPriority:
    """Return the priority of a well-known key, else medium. What a value says of itself does not count."""
    if key in CRITICAL_KEYS:
        return ContextPriority.CRITICAL
    if key in HIGH_KEYS:
        return ContextPriority.HIGH
    return ContextPriority.MEDIUM
