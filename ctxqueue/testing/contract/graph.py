"""Dependencies between entries: no circles, and what has become stale."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.effects import LoadGraph
from ctxqueue.errors import CircularDependencyError, InvalidInput
from ctxqueue.flows import writing
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.effects import Effect, Flow


def _gone_on(flow: Flow[Any], perform: Callable[[Effect[Any]], Any], effect: Effect[Any]) -> None:
    while True:
        effect = flow.send(perform(effect))


class Graph(Contract):
    """depends_on, stale."""

    def test_a_circle_is_refused_and_its_path_named(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("a", 1, depends_on=["b"])
        wf.put("b", 1, depends_on=["c", "d"])
        with nothing_written(operator):
            with pytest.raises(CircularDependencyError, match="c -> a -> b -> c"):
                wf.put("c", 1, depends_on=["a"])
            with pytest.raises(CircularDependencyError, match="e -> e"):
                wf.put("e", 1, depends_on=["e"])
            with pytest.raises(CircularDependencyError):
                wf.update({"x": Put(1, depends_on=["y"]), "y": Put(1, depends_on=["x"])})
            with pytest.raises(CircularDependencyError):
                wf.create("d", 1, depends_on=["x", "a"])
        assert set(wf.view()) == {"a", "b"}

    def test_of_two_commits_that_close_one_together_the_second_is_refused(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        perform = manager.store.perform
        flow = writing.put(manager.terms, WORKFLOW, wf.agent, "a", Put(1, depends_on=["b"]))
        effect = next(flow)
        assert isinstance(effect, LoadGraph)
        commit = flow.send(perform(effect))  # it has looked, and found no circle
        wf.put("b", 1, depends_on=["a"])
        with pytest.raises(CircularDependencyError, match="a -> b -> a"):
            _gone_on(flow, perform, commit)
        assert set(wf.view()) == {"b"}

    def test_the_path_names_no_key_that_the_writer_may_not_read(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        other.put("b", 1, depends_on=["db_password"])
        other.put("db_password", 1, depends_on=["hidden"])
        other.put("hidden", 1, sensitive=True, depends_on=["c"])
        other.put("c", 1, depends_on=["a"])
        with pytest.raises(CircularDependencyError, match=r"a -> b -> \.\.\. -> \.\.\. -> c -> a"):
            wf.put("a", 1, depends_on=["b"])
        with pytest.raises(CircularDependencyError, match=r"a -> db_password -> \.\.\. -> c -> a"):
            wf.put("a", 1, depends_on=["db_password"])  # it said so itself

    def test_what_is_no_circle_is_not_refused(self, wf: WorkflowHandle) -> None:
        wf.put("a", 1)
        wf.put("b", 1, depends_on=["a"])
        wf.put("c", 1, depends_on=["a", "b"])
        wf.put("d", 1, depends_on=["c", "b", "a", "nowhere"])
        wf.put("d", 2, depends_on=["c", "b"])
        assert wf.view().dependencies == ["c", "b", "a"]

    def test_a_dependency_that_was_dropped_closes_no_circle(self, wf: WorkflowHandle) -> None:
        wf.put("a", 1, depends_on=["b"])
        wf.put("a", 2)
        wf.put("b", 1, depends_on=["a"])
        wf.delete("b")
        wf.put("a", 3, depends_on=["b"])
        wf.update({"a": 4})
        with pytest.raises(CircularDependencyError):
            wf.put("b", 1, depends_on=["a"])

    def test_circles_do_not_run_through_what_others_keep_for_themselves(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        other.put("a", 1, scope="private", depends_on=["b"])
        wf.put("b", 1, depends_on=["a"])
        wf.put("a", 1, scope="private", depends_on=["b"])
        with pytest.raises(CircularDependencyError):
            wf.put("b", 1, scope="private", depends_on=["a"])

    def test_a_call_made_before_is_answered_whatever_has_come_since(self, wf: WorkflowHandle) -> None:
        first = wf.put("a", 1, depends_on=["b"], operation_id="o")
        wf.delete("a")
        wf.put("b", 1, depends_on=["a"])
        again = wf.put("a", 1, depends_on=["b"], operation_id="o")
        assert (again.version, again.revision) == (first.version, first.revision)
        with pytest.raises(CircularDependencyError):
            wf.put("a", 1, depends_on=["b"])

    def test_stale_is_what_depends_on_something_newer(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("rates", 1)
        wf.put("revenue", 1)
        wf.put("result", 1, depends_on=["rates", "revenue"])
        wf.put("report", 1, depends_on=["result", "missing"])
        assert wf.stale() == []
        wf.put("rates", 2)
        assert wf.stale() == ["result"]
        wf.put("result", 2, depends_on=["rates", "revenue"])
        assert wf.stale() == ["report"]
        wf.put("report", 2, depends_on=["result"])
        wf.put("global_day", 1)
        wf.put("report", 3, depends_on=["global_day"])
        assert wf.stale() == []
        wf.put("global_day", 2)
        assert wf.stale() == ["report"]
        wf.put("private_figures", 1, depends_on=["rates"])
        wf.put("rates", 3)
        assert set(wf.stale()) == {"report", "result", "private_figures"}
        assert set(manager.workflow(WORKFLOW, agent_id="other_1").stale()) == {"report", "result"}

    @pytest.mark.parametrize("wrong", ["abc", 7, [7], [""], None])
    def test_what_are_no_dependencies(self, wf: WorkflowHandle, operator: WorkflowHandle, wrong: Any) -> None:
        with nothing_written(operator):
            if wrong is not None:
                with pytest.raises(InvalidInput):
                    wf.put("k", 1, depends_on=wrong)
            with pytest.raises(InvalidInput):
                wf.update({})
