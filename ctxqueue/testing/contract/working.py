"""Working memory, its consolidation, and moving memories to another model."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import InvalidInput, ModelMismatch, ValueTooLarge, WorkflowNotFound
from ctxqueue.flows import reembedding
from ctxqueue.memories.embedders import CallableEmbedder
from ctxqueue.memories.library import Library
from ctxqueue.models import ContextScope
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.memories import memories_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.effects import Effect, Flow
    from ctxqueue.memories.manager import VectorMemoryManager

AGENT = "analyst_001"


def lengths(texts: Sequence[str]) -> list[list[float]]:
    """Make vectors of another kind."""
    return [[float(len(text)), 1.0, float(text.count("a"))] for text in texts]


def resumed(flow: Flow[int], effect: Effect[Any]) -> Flow[int]:
    """Return what is left of a flow that has just asked for an effect."""
    while True:
        reply = yield effect
        try:
            effect = flow.send(reply)
        except StopIteration as stop:
            moved: int = stop.value
            return moved


OTHER = CallableEmbedder(lengths, name="lengths", dimension=3)


class WorkingMemories(Contract):
    """What is kept in mind, for a while or for good."""

    @pytest.fixture
    def memory(self, manager: SharedContextManager) -> VectorMemoryManager:
        return memories_of(manager)

    def test_items_are_kept_in_order_and_bounded(self, memory: VectorMemoryManager, wf: WorkflowHandle) -> None:
        working = memory.working(WORKFLOW, AGENT, max_items=3)
        assert working.items() == []
        working.add("first", importance=0.9, metadata={"k": 1})
        for text in ("second", "third", "fourth"):
            working.add(text)
        kept = working.items()
        assert [item["content"] for item in kept] == ["first", "third", "fourth"]
        assert (kept[0]["importance"], kept[0]["metadata"]) == (0.9, {"k": 1})
        assert memory.working(WORKFLOW, "other_002").items() == []
        small = memory.working(WORKFLOW, AGENT, max_bytes=200)
        small.add("x" * 90)
        assert [item["content"] for item in small.items()] == ["x" * 90]
        with pytest.raises(ValueTooLarge):
            small.add("x" * 300)
        small.clear()
        assert small.items() == []
        assert dict(wf.view()) == {}
        assert list(wf.list()) == []

    def test_items_of_many_at_once_are_all_there(self, manager: SharedContextManager, wf: WorkflowHandle) -> None:
        def add_some(number: int) -> None:
            working = memories_of(manager).working(wf.workflow_id, AGENT)
            for place in range(5):
                working.add(f"item {number} {place}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add_some, range(4)))
        assert len(memories_of(manager).working(wf.workflow_id, AGENT).items()) == 20

    def test_it_ends_with_its_time_or_its_workflow(self, memory: VectorMemoryManager, wf: WorkflowHandle) -> None:
        brief = memory.working(WORKFLOW, AGENT, ttl=0.02)
        brief.add("soon gone")
        until(lambda: brief.items() == [], "its time is over")
        working = memory.working(WORKFLOW, AGENT)
        working.add("kept")
        wf.remove()
        with pytest.raises(WorkflowNotFound):
            working.items()
        with pytest.raises(WorkflowNotFound):
            working.add("too late")
        wf.open()
        assert working.items() == []

    def test_wrong_input_is_refused(self, memory: VectorMemoryManager, wf: WorkflowHandle) -> None:
        working = memory.working(wf.workflow_id, AGENT)
        for wrong in ("", " ", 5):
            with pytest.raises(InvalidInput):
                working.add(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            working.add("x", importance=2)
        for bounds in ({"max_items": 0}, {"max_bytes": -1}, {"max_items": True}):
            with pytest.raises(InvalidInput):
                memory.working(WORKFLOW, AGENT, **bounds)
        assert working.items() == []

    def test_what_is_worth_keeping_becomes_the_agents_memories(
        self, memory: VectorMemoryManager, wf: WorkflowHandle
    ) -> None:
        working = memory.working(wf.workflow_id, AGENT)
        assert memory.consolidate(WORKFLOW, AGENT) == []
        for text in (
            "revenue rose in March",
            "revenue rose sharply in March",
            "the kettle is on",
            "costs fell in March",
        ):
            working.add(text)
        ids = memory.consolidate(WORKFLOW, AGENT)
        assert working.items() == []
        kept = {each.content: each for each in memory.list(agent_id=AGENT)}
        assert {each.id for each in kept.values()} == set(ids)
        assert 0 < len(kept) <= 4
        assert all(each.scope is ContextScope.PRIVATE for each in kept.values())
        assert all(each.metadata["workflow_id"] == WORKFLOW for each in kept.values())
        assert memory.recall("March", agent_id="other_002") == []

    def test_a_summariser_of_the_users_own(self, memory: VectorMemoryManager, wf: WorkflowHandle) -> None:
        working = memory.working(wf.workflow_id, AGENT)
        working.add("one", importance=0.8)
        working.add("two", importance=0.1)
        with pytest.raises(InvalidInput, match="summariser"):
            memory.consolidate(WORKFLOW, AGENT, lambda _texts: 5)  # type: ignore[arg-type,return-value]

        def broken(_texts: list[str]) -> str:
            raise OSError("the model is away")

        with pytest.raises(OSError, match="away"):
            memory.consolidate(WORKFLOW, AGENT, broken)
        assert len(working.items()) == 2
        (only,) = memory.consolidate(WORKFLOW, AGENT, " and ".join, memory_type="semantic")
        entry = memory.get(only)
        assert entry is not None
        assert (entry.content, entry.memory_type, entry.importance) == ("one and two", "semantic", 0.8)
        assert working.items() == []

    def test_memories_are_moved_to_another_model(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        memory.remember_many([f"memory {number}" for number in range(100)])
        memory.remember("of ann", agent_id="ann")
        moving = memories_of(manager)
        assert moving.reembed(OTHER) == 101
        assert moving.reembed(OTHER) == 0
        entry = moving.get(moving.remember("a new one"))
        assert entry is not None
        assert entry.model == "lengths:3"
        assert len(moving.recall("memory", limit=1_000)) == 102
        fresh = memories_of(manager, embedder=OTHER)
        assert len(fresh.recall("memory", limit=1_000)) == 102
        with pytest.raises(ModelMismatch):
            memory.remember("by the former model")

    def test_moving_that_is_cut_off_goes_on_and_nobody_stops_recalling(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        memory.remember_many([f"memory {number}" for number in range(150)])
        flow = reembedding.reembed(Library(OTHER))
        driver_store = manager.store
        effect = next(flow)
        for _ in range(90):
            reply = effect.call() if hasattr(effect, "call") else driver_store.perform(effect)
            effect = flow.send(reply)
        flow.close()
        assert len(memory.recall("memory", limit=1_000)) == 150
        assert len(memories_of(manager).recall("memory", limit=1_000)) == 150
        fresh = memories_of(manager, embedder=OTHER)
        with pytest.raises(ModelMismatch):
            fresh.recall("memory")
        moved = memories_of(manager).reembed(OTHER)
        assert 0 < moved < 150
        assert len(fresh.recall("memory", limit=1_000)) == 150
        assert len(memory.recall("memory", limit=1_000)) == 150

    def test_a_row_that_changes_while_it_is_moved_keeps_both(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        memory_id = memory.remember("the capital", importance=0.5)
        flow = reembedding.reembed(Library(OTHER))
        effect = next(flow)
        while type(effect).__name__ != "AmendMemory":
            reply = effect.call() if hasattr(effect, "call") else manager.store.perform(effect)
            effect = flow.send(reply)
        memory.reinforce(memory_id, 0.25)
        manager.driver.run(resumed(flow, effect))
        entry = memory.get(memory_id)
        assert entry is not None
        assert (entry.model, entry.importance) == ("lengths:3", 0.75)
