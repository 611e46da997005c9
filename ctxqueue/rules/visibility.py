"""What an agent sees: nested scopes, innermost first, then what is relevant for its type and role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.errors import InvalidInput
from ctxqueue.models import (
    Address,
    Agent,
    ContextEntry,
    ContextPriority,
    ContextScope,
    EntryFilter,
    checked_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def inner_addresses(agent: Agent, key: str) -> list[Address]:
    """Return where a workflow may hold ``key`` for the agent, innermost first; the global context comes after."""
    return [
        Address(ContextScope.PRIVATE, agent.agent_id, key),
        *(Address(ContextScope.AGENT_GROUP, group, key) for group in agent.groups),
        Address(ContextScope.WORKFLOW, "", key),
    ]


def nesting(agent: Agent, entry: ContextEntry) -> int:
    """Return how far out an entry stands for the agent: 0 is its own."""
    if entry.scope is ContextScope.PRIVATE:
        return 0
    if entry.scope is ContextScope.AGENT_GROUP:
        return 1 + agent.groups.index(entry.owner)
    return 1 + len(agent.groups) + (entry.scope is ContextScope.GLOBAL)


def nested(agent: Agent, entries: Iterable[ContextEntry]) -> dict[str, list[ContextEntry]]:
    """Return entries that the agent may read, by key, innermost first.

    The operator acts in no scope of its own, so its nested view holds only what stands in no one's.
    """
    by_key: dict[str, list[ContextEntry]] = {}
    for entry in entries:
        if agent.is_operator and entry.owner:
            continue
        by_key.setdefault(entry.key, []).append(entry)
    for standing in by_key.values():
        if len(standing) > 1:
            standing.sort(key=lambda entry: nesting(agent, entry))
    return by_key


def _relevant(words: tuple[str, ...], priorities: frozenset[ContextPriority]) -> EntryFilter:
    def keep(entries: list[ContextEntry], _agent: Agent) -> list[ContextEntry]:
        return [
            entry
            for entry in entries
            if entry.priority in priorities or any(word in entry.key.lower() for word in words)
        ]

    return keep


_CRITICAL = frozenset({ContextPriority.CRITICAL})
_HIGH = _CRITICAL | {ContextPriority.HIGH}


def _checked(entry_filter: EntryFilter) -> EntryFilter:
    if not callable(entry_filter):
        raise InvalidInput(f"the filter is a {type(entry_filter).__name__}: give a function of (entries, agent)")
    return entry_filter


class ContextFilterRegistry:
    """What is relevant, by agent type and by role; an agent of neither sees all that it may read.

    A filter narrows: what it returns beyond what it was given is ignored.
    """

    def __init__(self) -> None:
        self.filters: dict[str, EntryFilter] = {
            "web_extractor": _relevant(("extraction", "validation", "error", "credential", "website"), _HIGH),
            "financial_calculator": _relevant(
                ("financial", "revenue", "calculation", "exchange", "currency", "precision"), _CRITICAL
            ),
            "report_generator": _relevant(("processed", "template", "format", "output", "report", "chart"), _HIGH),
        }
        self.role_filters: dict[str, EntryFilter] = {}
        self.generation = 0
        """Rises with each registration: what was kept of an agent's view until then is looked at again."""

    def register_agent_filter(self, agent_type: str, entry_filter: EntryFilter) -> None:
        """Set the filter of an agent type, replacing a default; raises InvalidName, InvalidInput."""
        self.filters[checked_name(agent_type, "agent_type")] = _checked(entry_filter)
        self.generation += 1

    def register_role_filter(self, role: str, entry_filter: EntryFilter) -> None:
        """Set the filter of a role; it narrows what the type's filter left. Raises InvalidName, InvalidInput."""
        self.role_filters[checked_name(role, "role")] = _checked(entry_filter)
        self.generation += 1

    def narrows(self, agent: Agent) -> bool:
        """Whether a filter says what is relevant for the agent."""
        return agent.agent_type in self.filters or (agent.agent_role or "") in self.role_filters

    def relevant_keys(self, entries: list[ContextEntry], agent: Agent, *, needed: frozenset[str]) -> frozenset[str]:
        """Return the keys that pass; what a task needs, or a passing entry depends on, always does."""
        filters = (self.filters.get(agent.agent_type), self.role_filters.get(agent.agent_role or ""))
        if filters == (None, None):
            return frozenset(entry.key for entry in entries)
        kept = entries
        for entry_filter in filters:
            if entry_filter is not None:
                kept = entry_filter(list(kept), agent)
        wanted = needed.union(entry.key for entry in kept)
        return wanted.union(key for entry in kept for key in entry.dependencies).intersection(
            entry.key for entry in entries
        )
