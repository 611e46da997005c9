"""Opening workflows, and the calls that the reference document names."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import SharedContextManager, connect
from ctxqueue.errors import InvalidName, WorkflowExists, WorkflowNotFound
from ctxqueue.testing.contract.base import WORKFLOW, Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import WorkflowHandle

CALLS: dict[str, Callable[[WorkflowHandle], object]] = {
    "put": lambda wf: wf.put("k", 1),
    "put with a version": lambda wf: wf.put("k", 1, expected_version=3),
    "create": lambda wf: wf.create("k", 1),
    "update": lambda wf: wf.update({"k": 1}),
    "update of a dict": lambda wf: wf.update({"k": {"a": 1}}),
    "append": lambda wf: wf.update({"k": [1]}, merge_strategy="append"),
    "get": lambda wf: wf.get("k"),
    "get in one scope": lambda wf: wf.get("k", scope="private"),
    "item": lambda wf: wf["k"],
    "delete": lambda wf: wf.delete("k"),
    "list": lambda wf: wf.list(),
    "view": lambda wf: wf.view(),
}


class Workflows(Contract):
    """open(), create_workflow_context() and what an unknown workflow answers."""

    def test_a_workflow_opens_at_revision_zero_with_its_metadata(self, manager: SharedContextManager) -> None:
        context = manager.workflow(WORKFLOW).open({"owner": "finance", "quarter": 3})
        assert (context.workflow_id, context.revision) == (WORKFLOW, 0)
        assert context.metadata == {"owner": "finance", "quarter": 3}
        assert context.created_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - context.created_at) < timedelta(minutes=5)
        assert context.updated_at == context.created_at
        assert context.etag == manager.workflow(WORKFLOW).etag

    def test_opening_again_changes_nothing(self, manager: SharedContextManager) -> None:
        first = manager.workflow(WORKFLOW).open({"owner": "finance"})
        manager.workflow(WORKFLOW).put("k", 1)
        second = manager.workflow(WORKFLOW, agent_id="other_1").open({"owner": "somebody else"})
        assert second.metadata == {"owner": "finance"}
        assert second.created_at == first.created_at
        assert second.etag == manager.workflow(WORKFLOW).etag != first.etag
        assert second.revision == 1

    def test_a_workflow_without_metadata_has_none(self, manager: SharedContextManager) -> None:
        assert manager.workflow(WORKFLOW).open().metadata == {}

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    def test_an_unknown_workflow_is_an_error(
        self, manager: SharedContextManager, call: Callable[[WorkflowHandle], object]
    ) -> None:
        with pytest.raises(WorkflowNotFound, match="'nowhere' does not exist: open it first"):
            call(manager.workflow("nowhere", agent_id="analyst_001"))
        manager.workflow("nowhere").open()
        assert len(manager.workflow("nowhere").list()) == 0

    def test_a_handle_does_nothing_by_itself(self, manager: SharedContextManager) -> None:
        with manager.workflow(WORKFLOW, agent_id="analyst_001") as handle, pytest.raises(WorkflowNotFound):
            handle.view()

    def test_create_workflow_context_takes_its_data_as_metadata(self, manager: SharedContextManager) -> None:
        context = manager.create_workflow_context(WORKFLOW, {"owner": "finance"})
        assert (context.workflow_id, context.revision, context.metadata) == (WORKFLOW, 0, {"owner": "finance"})
        assert len(manager.workflow(WORKFLOW).list()) == 0

    def test_create_workflow_context_refuses_one_that_exists(self, manager: SharedContextManager) -> None:
        manager.create_workflow_context(WORKFLOW, {"owner": "finance"})
        with pytest.raises(WorkflowExists, match=WORKFLOW):
            manager.create_workflow_context(WORKFLOW, {"owner": "somebody else"})
        assert manager.workflow(WORKFLOW).open().metadata == {"owner": "finance"}

    def test_update_context_and_get_context_for_agent(self, manager: SharedContextManager) -> None:
        manager.create_workflow_context(WORKFLOW, {"owner": "finance"})
        result = manager.update_context(WORKFLOW, "analyst_001", {"totals": {"a": 1}})
        again = manager.update_context(WORKFLOW, "analyst_002", {"totals": {"b": 2}})
        assert (result.revision, again.revision) == (1, 2)
        assert again.versions == {"totals": 2}
        manager.update_context(WORKFLOW, "analyst_002", {"totals": {"c": 3}}, "replace")
        manager.workflow(WORKFLOW).put("chart", 1, depends_on=["totals", "palette"])
        assert manager.get_context_for_agent(WORKFLOW, "analyst_001", "reviewer") == {
            "workflow_id": WORKFLOW,
            "agent_id": "analyst_001",
            "context_data": {"totals": {"c": 3}, "chart": 1},
            "metadata": {"owner": "finance"},
            "dependencies": ["totals", "palette"],
        }

    def test_an_agent_that_is_not_named_is_not_the_operator(self, manager: SharedContextManager) -> None:
        nobody: Any = None
        with pytest.raises(InvalidName, match="agent_id"):
            manager.get_context_for_agent(WORKFLOW, nobody)
        with pytest.raises(InvalidName, match="agent_id"):
            manager.update_context(WORKFLOW, nobody, {"k": 1})

    def test_get_context_for_agent_goes_by_the_agents_type(self, manager: SharedContextManager) -> None:
        manager.create_workflow_context(WORKFLOW)
        manager.update_context(WORKFLOW, "someone_1", {"revenue_data": 1, "chart_type": 2})
        seen = manager.get_context_for_agent(WORKFLOW, "financial_calculator_007")
        assert seen["context_data"] == {"revenue_data": 1}

    def test_two_managers_of_one_store_share_it(self, manager: SharedContextManager, url: str) -> None:
        manager.workflow(WORKFLOW).open()
        manager.workflow(WORKFLOW).put("k", {"a": 1})
        with connect(url) as other:
            other.workflow(WORKFLOW).update({"k": {"b": 2}})
        assert manager.workflow(WORKFLOW)["k"] == {"a": 1, "b": 2}

    def test_workflows_share_nothing_of_their_own(self, manager: SharedContextManager) -> None:
        for name in ("a", "b"):
            manager.workflow(name).open()
        manager.workflow("a").put("k", 1)
        assert manager.workflow("b").get("k") is None
        assert manager.workflow("b").put("k", 2).version == 1
        assert manager.workflow("a")["k"] == 1

    @pytest.mark.parametrize("name", ["a:b", "a/b", "{a}", "a%3Ab", "a b", "ä", "a*", "q" * 256, "m", "due"])
    def test_a_workflow_may_have_any_printable_name(self, manager: SharedContextManager, name: str) -> None:
        for other in ("a", "a:b:m", "b"):
            manager.workflow(other).open()
        handle = manager.workflow(name)
        handle.open()
        handle.put("k", name)
        assert handle["k"] == name
        assert manager.workflow("a").get("k") is None

    def test_namespaces_share_nothing(self, manager: SharedContextManager, url: str) -> None:
        manager.workflow(WORKFLOW).open()
        manager.workflow(WORKFLOW).put("k", 1)
        manager.workflow(WORKFLOW).put("global_k", 1)
        with connect(url, namespace="other") as other:
            with pytest.raises(WorkflowNotFound):
                other.workflow(WORKFLOW).get("k")
            other.workflow(WORKFLOW).open()
            assert dict(other.workflow(WORKFLOW).view()) == {}
