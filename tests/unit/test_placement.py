"""Where a key goes and how much it matters, by its name."""

from __future__ import annotations

import pytest

from ctxqueue.errors import UnknownPriority, UnknownScope
from ctxqueue.models import BY_RANK, Address, ContextPriority, ContextScope
from ctxqueue.rules.placement import priority_of, scope_of


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        ("global_rates", ContextScope.GLOBAL),
        ("private_notes", ContextScope.PRIVATE),
        ("rates", ContextScope.WORKFLOW),
        ("not_global_rates", ContextScope.WORKFLOW),
        ("global", ContextScope.WORKFLOW),
        ("Private_notes", ContextScope.WORKFLOW),
    ],
)
def test_scope_by_prefix(key: str, scope: ContextScope) -> None:
    assert scope_of(key) is scope


def test_priority_by_name() -> None:
    by_priority = {
        ContextPriority.CRITICAL: ("error_state", "workflow_status", "security_context"),
        ContextPriority.HIGH: ("user_preferences", "calculation_results", "validation_results"),
        ContextPriority.MEDIUM: ("rates", "error_states", "my_error_state", "Error_State", "critical"),
    }
    for priority, keys in by_priority.items():
        assert {priority_of(key) for key in keys} == {priority}


def test_priorities_are_ordered_by_rank_and_not_by_text() -> None:
    assert [priority.value for priority in BY_RANK] == ["low", "medium", "high", "critical"]
    assert [priority.rank for priority in BY_RANK] == [0, 1, 2, 3]
    assert sorted(ContextPriority, key=lambda priority: priority.rank) == list(BY_RANK)


def test_parsing_takes_members_and_values() -> None:
    assert ContextScope.parse("agent_group") is ContextScope.parse(ContextScope.AGENT_GROUP) is ContextScope.AGENT_GROUP
    assert ContextPriority.parse("high") is ContextPriority.parse(ContextPriority.HIGH) is ContextPriority.HIGH
    for wrong in ("HIGH", "", None, 2, ["high"]):
        with pytest.raises(UnknownPriority, match="critical, high, medium, low"):
            ContextPriority.parse(wrong)  # type: ignore[arg-type]
        with pytest.raises(UnknownScope, match="global, workflow, agent_group, private"):
            ContextScope.parse(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ContextScope)
def test_an_address_comes_back_from_its_encoded_form(scope: ContextScope) -> None:
    owned = scope in (ContextScope.PRIVATE, ContextScope.AGENT_GROUP)
    address = Address(scope, "own:er" if owned else "", "a key/ä")
    assert Address.decode(address.encode(), of_global=scope is ContextScope.GLOBAL) == address
