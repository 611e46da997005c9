"""Views that are kept from one look to the next show what a fresh look would."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import InvalidInput, WorkflowNotFound
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.models import Agent, ContextEntry


class Views(Contract):
    """view, set_agent_state, filters that come late."""

    def test_each_look_shows_what_stands_there_now(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        for step, expected in (
            (lambda: other.put("a", 1), {"a": 1}),
            (lambda: other.put("a", 2, scope="global"), {"a": 1}),
            (lambda: other.delete("a"), {"a": 2}),
            (lambda: wf.put("a", 3, scope="private"), {"a": 3}),
            (lambda: other.put("b", 1), {"a": 3, "b": 1}),
            (lambda: wf.delete("a", scope="private"), {"a": 2, "b": 1}),
            (lambda: other.put("global_c", 1), {"a": 2, "b": 1, "global_c": 1}),
            (lambda: other.delete("a", scope="global"), {"b": 1, "global_c": 1}),
        ):
            step()
            assert dict(wf.view()) == expected
            assert dict(wf.view()) == expected

    def test_a_view_is_what_it_was_whatever_comes_after(self, wf: WorkflowHandle) -> None:
        wf.put("a", [1])
        before = wf.view()
        wf.put("a", [2])
        wf.put("b", 1)
        assert (dict(before), before.revision) == ({"a": [1]}, 1)
        assert (dict(wf.view()), wf.view().revision) == ({"a": [2], "b": 1}, 3)

    def test_what_a_reader_changes_in_its_hands_nobody_else_sees(self, wf: WorkflowHandle) -> None:
        wf.put("a", {"list": [1]}, metadata={"m": [1]})
        first = wf.view()
        first["a"]["list"].append(2)
        first.entry("a").metadata["m"].append(2)
        assert first["a"] == {"list": [1, 2]}
        second = wf.view()
        assert second["a"] == {"list": [1]}
        assert second.entry("a").metadata == {"m": [1]}

    def test_what_expires_between_two_looks_is_gone(self, wf: WorkflowHandle) -> None:
        wf.put("global_soon", 1, ttl=0.3)
        wf.update({"a": 1, "soon": Put(1, ttl=0.3)})
        wf.put("soon", "inner", scope="private", ttl=0.2)
        assert dict(wf.view()).keys() >= {"a"}
        until(lambda: dict(wf.view()) == {"a": 1}, "only what lasts is left")

    def test_many_changes_between_two_looks(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        assert dict(wf.view()) == {}
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        for number in range(250):
            other.put(f"k{number % 40}", number)
        assert dict(wf.view()) == {f"k{number % 40}": number for number in range(210, 250)}
        other.update({f"n{number}": 1 for number in range(200)})
        assert len(wf.view()) == 240

    def test_large_changes_between_two_looks(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("small", 1)
        assert set(wf.view()) == {"small"}
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        expected = {f"k{number}": str(number) * 100_000 for number in range(9)}
        for name, text in expected.items():
            other.put(name, text)
        assert dict(wf.view()) == {**expected, "small": 1}

    def test_what_changes_comes_and_goes_from_a_kept_view(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        wf.update({"a": 1, "b": 1, "gone": 1})
        assert set(wf.view()) == {"a", "b", "gone"}
        other.update({"b": Put(2, ttl=0.2), "c": 3})
        other.delete("gone")
        assert dict(wf.view()) == {"a": 1, "b": 2, "c": 3}
        other.set_agent_state(step=1)
        assert dict(wf.view()) == {"a": 1, "b": 2, "c": 3}
        until(lambda: dict(wf.view()) == {"a": 1, "c": 3}, "what has got an expiry in between is gone")

    def test_a_workflow_made_anew_is_not_mixed_with_the_old(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("a", 1)
        assert dict(wf.view()) == {"a": 1}
        manager.workflow(WORKFLOW).remove()
        with pytest.raises(WorkflowNotFound):
            wf.view()
        wf.open()
        wf.put("b", 1)
        assert dict(wf.view()) == {"b": 1}

    def test_a_filter_that_comes_late_counts_from_the_next_look(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def only_a(entries: list[ContextEntry], agent: Agent) -> list[ContextEntry]:
            assert agent.agent_id == "analyst_001"
            return [entry for entry in entries if entry.key == "a"]

        wf.update({"a": 1, "b": 1})
        assert set(wf.view()) == {"a", "b"}
        manager.context_filters.register_agent_filter("analyst", only_a)
        assert set(wf.view()) == {"a"}
        assert wf.view().hidden_by_filter("b")
        with pytest.raises(InvalidInput):
            manager.context_filters.register_role_filter("auditor", "a")  # type: ignore[arg-type]

    def test_the_weightiest_and_newest_come_first(self, wf: WorkflowHandle) -> None:
        for key, priority in (("m1", "medium"), ("l", "low"), ("c", "critical"), ("m2", "medium"), ("h", "high")):
            wf.put(key, 1, priority=priority)
        assert list(wf.view()) == ["c", "h", "m2", "m1", "l"]

    def test_an_agent_keeps_a_state_of_its_own(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        wf.set_agent_state(step=1, seen={"a": 1})
        wf.set_agent_state(step=2, seen={"b": 2})
        other.set_agent_state(step=7)
        assert wf.view().agent_state == {"step": 2, "seen": {"a": 1, "b": 2}}
        assert other.view().agent_state == {"step": 7}
        assert manager.workflow(WORKFLOW).view().agent_state == {}
        assert manager.get_context_for_agent(WORKFLOW, "other_1")["agent_state"] == {"step": 7}
        for handle in (wf, other, manager.workflow(WORKFLOW)):
            assert (dict(handle.view()), handle.list().items, handle.changes().items) == ({}, (), ())
        with pytest.raises(InvalidInput, match="agent_id"):
            manager.workflow(WORKFLOW).set_agent_state(step=1)
        with pytest.raises(InvalidInput):
            wf.set_agent_state()

    def test_an_etag_tells_every_state_apart(self, wf: WorkflowHandle) -> None:
        seen = [wf.etag]
        assert wf.etag == seen[0]
        for step in (lambda: wf.put("a", 1), lambda: wf.put("a", 1), lambda: wf.delete("a")):
            step()
            seen.append(wf.etag)
        assert len(set(seen)) == 4
