"""Scopes: nested name spaces, where a write goes, and rules by key."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import AccessDenied, InvalidName, MixedWorkflows
from ctxqueue.models import ContextPriority, ContextScope, Put
from ctxqueue.testing.contract.base import Contract, nothing_written

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

RULES = {
    "totals": ("workflow", "medium"),
    "global_rates": ("global", "medium"),
    "private_notes": ("private", "medium"),
    "error_state": ("workflow", "critical"),
    "workflow_status": ("workflow", "critical"),
    "security_context": ("workflow", "critical"),
    "user_preferences": ("workflow", "high"),
    "calculation_results": ("workflow", "high"),
    "validation_results": ("workflow", "high"),
    "my_global_rates": ("workflow", "medium"),
    "globalrates": ("workflow", "medium"),
    "ERROR_STATE": ("workflow", "medium"),
}


class Scopes(Contract):
    """Where entries stand and which one a reader meets."""

    @pytest.fixture
    def member(self, manager: SharedContextManager, operator: WorkflowHandle) -> WorkflowHandle:
        return manager.workflow(operator.workflow_id, agent_id="analyst_001", groups=["audit", "risk"])

    @pytest.mark.parametrize(("key", "expected"), RULES.items())
    def test_rules_by_key(self, wf: WorkflowHandle, key: str, expected: tuple[str, str]) -> None:
        entry = wf.put(key, {"priority": "critical"})
        wf.update({f"{key}2": 1})
        assert (entry.scope.value, entry.priority.value) == expected
        assert wf.get(key) == entry
        assert wf.get(key, scope=expected[0]) == entry

    def test_what_the_caller_says_goes_before_the_rules(self, wf: WorkflowHandle) -> None:
        assert wf.put("global_rates", 1, scope="workflow").scope is ContextScope.WORKFLOW
        assert wf.put("private_notes", 1, scope=ContextScope.WORKFLOW).scope is ContextScope.WORKFLOW
        assert wf.put("error_state", 1, priority=ContextPriority.LOW).priority is ContextPriority.LOW
        assert wf.put("rates", 1, scope="global").scope is ContextScope.GLOBAL
        wf.update({"calculation_results": Put(1, priority="low")})
        assert wf.get("calculation_results", scope="workflow").priority is ContextPriority.LOW  # type: ignore[union-attr]

    def test_a_read_finds_the_innermost(self, member: WorkflowHandle) -> None:
        where: list[dict[str, Any]] = [
            *({"scope": "global"}, {"scope": "workflow"}, {"group": "risk"}, {"group": "audit"}, {"scope": "private"}),
        ]
        for depth, place in enumerate(where):
            member.put("k", depth, **place)
            assert member["k"] == depth
            assert member.view()["k"] == depth
        for depth, place in enumerate(where):
            assert member.get("k", **place).value == depth
        view = member.view()
        assert [entry.value for entry in view.shadowed["k"]] == [3, 2, 1, 0]
        for depth in (4, 3, 2, 1, 0):
            assert member["k"] == depth
            assert member.delete("k", **where[depth]) is True
        assert member.get("k") is None

    def test_groups_nest_in_the_agents_own_order(self, manager: SharedContextManager, member: WorkflowHandle) -> None:
        assert member.put("private_k", 1, group="audit").scope is ContextScope.AGENT_GROUP
        member.put("k", "of audit", group="audit")
        member.put("k", "of risk", group="risk")
        turned = manager.workflow(member.workflow_id, agent_id="analyst_001", groups=["risk", "audit"])
        assert (member["k"], turned["k"]) == ("of audit", "of risk")
        assert (member.view()["k"], turned.view()["k"]) == ("of audit", "of risk")

    def test_private_entries_are_their_owners(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", "mine", scope="private")
        other = manager.workflow(wf.workflow_id, agent_id="analyst_002")
        assert other.get("k") is None
        assert other.get("k", scope="private") is None
        assert dict(other.view()) == {}
        other.put("k", "theirs", scope="private")
        assert (wf["k"], other["k"]) == ("mine", "theirs")
        assert other.delete("k", scope="private") is True
        assert wf["k"] == "mine"

    def test_a_group_is_closed_to_others(self, member: WorkflowHandle, wf: WorkflowHandle) -> None:
        member.put("k", 1, group="audit")
        assert wf.get("k") is None
        assert "k" not in wf.view()
        with pytest.raises(AccessDenied, match="analyst_001 is not in group 'audit'"):
            wf.get("k", group="audit")

        with pytest.raises(AccessDenied, match="analyst_001 is not in group 'audit': it may not write there"):
            wf.put("k", 2, group="audit")
        with pytest.raises(AccessDenied):
            wf.update({"k": Put(2, group="audit")})
        with pytest.raises(AccessDenied):
            wf.delete("k", group="audit")
        assert member["k"] == 1

    def test_the_global_context_is_the_namespaces(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("global_rates", {"USD": 1})
        other = manager.workflow("other", agent_id="other_1")
        other.open()
        assert other["global_rates"] == {"USD": 1}
        other.update({"global_rates": {"CHF": 2}})
        assert wf["global_rates"] == wf.view()["global_rates"] == {"USD": 1, "CHF": 2}
        assert wf.view().revision == 0
        assert wf.view().global_revision == 2
        assert other.delete("global_rates") is True
        assert wf.get("global_rates") is None

    def test_a_write_never_searches(self, member: WorkflowHandle) -> None:
        member.put("k", {"a": 1}, scope="private")
        member.update({"k": {"b": 2}})
        assert member["k"] == {"a": 1}
        assert member.get("k", scope="workflow").value == {"b": 2}  # type: ignore[union-attr]
        member.delete("k")
        assert member["k"] == {"a": 1}

    def test_one_update_addresses_one_workflow(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("global_k", 1)
        with nothing_written(operator):
            for updates in ({"k": 1, "global_k": 2}, {"k": Put(1, scope="global"), "j": 2}):
                with pytest.raises(MixedWorkflows, match="two calls"):
                    wf.update(updates)
        wf.update({"global_k": 2, "k": Put(1, scope="global")})
        assert (wf["global_k"], wf["k"]) == (2, 1)

    def test_update_writes_to_any_scope_of_the_workflow_at_once(self, member: WorkflowHandle) -> None:
        result = member.update({"a": 1, "private_b": 2, "c": Put(3, group="audit")})
        assert result.versions == {"a": 1, "private_b": 1, "c": 1}
        assert {entry.key: entry.scope.value for entry in member.list()} == {
            "a": "workflow",
            "private_b": "private",
            "c": "agent_group",
        }

    @pytest.mark.parametrize(
        "place",
        [
            {"scope": "agent_group"},
            {"scope": "workflow", "group": "audit"},
            {"scope": "private", "group": "audit"},
            {"group": ""},
            {"group": "a\nb"},
            {"group": "g" * 257},
            {"group": 5},
        ],
        ids=str,
    )
    def test_a_group_and_its_scope_go_together(
        self, member: WorkflowHandle, operator: WorkflowHandle, place: dict[str, Any]
    ) -> None:
        with nothing_written(operator):
            with pytest.raises(InvalidName):
                member.put("k", 1, **place)
            with pytest.raises(InvalidName):
                member.delete("k", **place)
            with pytest.raises(InvalidName):
                member.get("k", **place)
