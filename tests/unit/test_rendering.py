"""A view with memories goes into a prompt within a budget."""

from __future__ import annotations

from typing import Any

import pytest

import ctxqueue
from ctxqueue import InvalidInput, VectorMemoryManager


@pytest.fixture
def view() -> ctxqueue.AgentContext:
    manager = ctxqueue.connect("memory://")
    wf = manager.workflow("w", agent_id="analyst_001")
    wf.open()
    wf.put("revenue", 5)
    wf.put("notes", "n" * 300, priority="low")
    memory = VectorMemoryManager(manager)
    memory.remember("Revenue is counted in euros")
    memory.remember("Revenue rose in March, " + "m" * 200, "episodic")
    return wf.view().with_memories(memory.recall("How is revenue counted in euros?"))


def test_what_fits_is_there_and_what_does_not_is_counted(view: ctxqueue.AgentContext) -> None:
    everything = view.render(include_memories=3)
    assert "revenue: 5" in everything
    assert "[semantic memory] Revenue is counted in euros" in everything
    assert "[episodic memory] Revenue rose" in everything
    assert "left out" not in everything
    for most in range(1, 700, 7):
        assert len(view.render(max_chars=most, include_memories=3)) <= most
    short = view.render(max_chars=100, include_memories=3)
    assert short.splitlines() == [
        "revenue: 5",
        "[semantic memory] Revenue is counted in euros",
        "(2 more left out)",
    ]


def test_memories_are_there_where_they_are_asked_for(view: ctxqueue.AgentContext) -> None:
    assert "memory" not in view.render()
    assert view.render(include_memories=1).count("memory]") == 1
    context = view.as_dict()
    assert context["has_relevant_experience"] is True
    assert [insight["type"] for insight in context["memory_insights"]] == ["semantic", "episodic"]
    bare = view.with_memories([]).as_dict()
    assert (bare["has_relevant_experience"], "memory_insights" in bare) == (False, False)


@pytest.mark.parametrize(
    "wrong", [{"max_chars": 0}, {"max_chars": True}, {"include_memories": -1}, {"include_memories": "all"}], ids=repr
)
def test_a_budget_that_is_none_is_refused(view: ctxqueue.AgentContext, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        view.render(**wrong)
