"""Filters: what is relevant for an agent, by its type and its role."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.testing.contract.base import Contract

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.models import Agent, ContextEntry

PLAIN = {
    *("website_list", "extraction_rules", "revenue_data", "exchange_rates", "precision"),
    *("template_name", "chart_type", "processed_rows", "Currency", "notes", "format"),
}
HIGH = {"calculation_results", "validation_results", "user_preferences"}
CRITICAL = {"error_state", "workflow_status"}
SEES = {
    "web_extractor": {"website_list", "extraction_rules"} | HIGH | CRITICAL,
    "financial_calculator": {"revenue_data", "exchange_rates", "precision", "Currency", "calculation_results"}
    | CRITICAL,
    "report_generator": {"template_name", "chart_type", "processed_rows", "format"} | HIGH | CRITICAL,
    "analyst": PLAIN | HIGH | CRITICAL,
}


class Relevance(Contract):
    """The three default filters, filters of one's own, and what passes them all."""

    @pytest.fixture
    def full(self, wf: WorkflowHandle) -> WorkflowHandle:
        wf.update(dict.fromkeys(PLAIN | HIGH | CRITICAL, 1))
        return wf

    @pytest.mark.parametrize("agent_type", SEES)
    def test_the_default_filters(self, full: WorkflowHandle, manager: SharedContextManager, agent_type: str) -> None:
        handle = manager.workflow(full.workflow_id, agent_id=f"{agent_type}_042")
        view = handle.view()
        assert set(view) == SEES[agent_type]
        for key in PLAIN | HIGH | CRITICAL:
            assert view.hidden_by_filter(key) is (key not in SEES[agent_type])
            assert handle[key] == 1
        assert not view.hidden_by_filter("no such key")
        assert len(handle.list()) == len(PLAIN | HIGH | CRITICAL)

    def test_a_view_is_ordered_by_priority_then_newest_first(self, wf: WorkflowHandle) -> None:
        for key, priority in (("c", "low"), ("b", "critical"), ("a", "medium"), ("d", "high"), ("e", "medium")):
            wf.put(key, 1, priority=priority)
        assert list(wf.view()) == ["b", "d", "e", "a", "c"]

    def test_what_a_relevant_entry_depends_on_is_relevant(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.update(dict.fromkeys(["notes", "other"], 1))
        wf.put("revenue_data", 1, depends_on=["notes", "absent"])
        view = manager.workflow(wf.workflow_id, agent_id="financial_calculator").view()
        assert set(view) == {"revenue_data", "notes"}
        assert view.hidden_by_filter("other")
        assert not view.hidden_by_filter("notes")

    def test_what_a_task_needs_is_relevant(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.update(dict.fromkeys(["notes", "other", "vault_password"], 1))
        attempt = Attempt("run", 0, wf.workflow_id, 1, frozenset({"notes", "vault_password"}))
        token = current_attempt.set(attempt)
        try:
            view = manager.workflow(wf.workflow_id, agent_id="financial_calculator").view()
        finally:
            current_attempt.reset(token)
        assert set(view) == {"notes"}

    def test_a_filter_of_ones_own(self, full: WorkflowHandle, manager: SharedContextManager) -> None:
        def keep(entries: list[ContextEntry], agent: Agent) -> list[ContextEntry]:
            assert agent.agent_type in ("analyst", "web_extractor")
            return [entry for entry in entries if entry.key.startswith("c")]

        for agent_type in ("analyst", "web_extractor"):
            manager.context_filters.register_agent_filter(agent_type, keep)
            handle = manager.workflow(full.workflow_id, agent_id="x_1", agent_type=agent_type)
            assert set(handle.view()) == {"chart_type", "calculation_results"}

    def test_a_roles_filter_narrows_what_the_types_left(
        self, full: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        manager.context_filters.register_role_filter(
            "reviewer", lambda entries, _: [entry for entry in entries if "data" in entry.key or "chart" in entry.key]
        )
        handle = manager.workflow(full.workflow_id, agent_id="financial_calculator_1", agent_role="reviewer")
        assert set(handle.view()) == {"revenue_data"}
        assert handle.view().hidden_by_filter("chart_type")
        other = manager.workflow(full.workflow_id, agent_id="analyst_1", agent_role="reviewer")
        assert set(other.view()) == {"revenue_data", "chart_type"}
        plain = manager.workflow(full.workflow_id, agent_id="financial_calculator_1", agent_role="else")
        assert set(plain.view()) == SEES["financial_calculator"]

    def test_a_filter_cannot_add_to_what_the_agent_may_see(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("vault_password", "x")
        wf.put("k", 1)

        def add(entries: list[ContextEntry], _agent: Agent) -> list[ContextEntry]:
            made_up = [replace(entries[0], key=key) for key in ("vault_password", "made_up")]
            entries.clear()
            return made_up

        manager.context_filters.register_agent_filter("analyst", add)
        view = wf.view()
        assert dict(view) == {}
        assert view.hidden_by_filter("k")
        assert not view.hidden_by_filter("vault_password")

    def test_filters_belong_to_one_manager(self, full: WorkflowHandle, manager: SharedContextManager) -> None:
        other = type(manager)(manager.store)
        other.context_filters.register_agent_filter("analyst", lambda _entries, _agent: [])
        assert len(other.workflow(full.workflow_id, agent_id="analyst_1").view()) == 0
        assert len(full.view()) > 0

    def test_the_operator_has_no_filter(self, full: WorkflowHandle, operator: WorkflowHandle) -> None:
        assert set(operator.view()) == set(full.view())
