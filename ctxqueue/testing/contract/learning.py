"""Learning: skills whose rates move, contexts with memories, and an agent's task that is learned of."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import EmbedderError, InvalidInput, WorkflowNotFound
from ctxqueue.memories.enhanced import MemoryEnhancedContextManager, UnifiedContextMemorySystem
from ctxqueue.testing.contract.base import WORKFLOW, Contract
from ctxqueue.testing.contract.memories import memories_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.memories.manager import VectorMemoryManager
    from ctxqueue.remembered import MemoryEntry

AGENT = "financial_validator"
TASK = "Validate quarterly revenue data for compliance"
RESULT: dict[str, Any] = {
    "status": "success",
    "processing_time": 2.5,
    "confidence": 0.95,
    "learned_pattern": {"skill_name": "revenue_validation", "steps": ["Load data", "Check formats"]},
}


def only_skill(memory: VectorMemoryManager) -> MemoryEntry:
    """Return the only skill that is remembered."""
    (skill,) = memory.list(memory_types=["procedural"])
    return skill


class Learning(Contract):
    """What the reference document does with memories."""

    @pytest.fixture
    def memory(self, manager: SharedContextManager) -> VectorMemoryManager:
        return memories_of(manager)

    @pytest.fixture
    def enhanced(self, manager: SharedContextManager, memory: VectorMemoryManager) -> MemoryEnhancedContextManager:
        return MemoryEnhancedContextManager(manager, memory)

    def test_a_skill_is_one_memory_that_moves(self, memory: VectorMemoryManager) -> None:
        first = memory.store_procedural_skill("close_books", ["a", "b"], 0.9, ["month end"])
        told = only_skill(memory)
        assert (told.id, told.metadata["success_rate"], told.metadata["attempts"]) == (first, pytest.approx(0.9), 0)
        for _ in range(8):
            memory.practise_skill("close_books", success=False, contexts=["year end"])
        now = only_skill(memory)
        assert now.id == first
        assert (now.metadata["attempts"], now.metadata["successes"]) == (8, 0)
        assert now.metadata["success_rate"] == pytest.approx(0.18)
        assert now.metadata["success_rate_low"] < 0.18 < now.metadata["success_rate_high"]
        assert now.metadata["applicable_contexts"] == ["month end", "year end"]
        assert "Steps: a → b" in now.content
        assert "18.00%" in now.content
        assert memory.recall("close_books", memory_types=["procedural"])[0].memory.content == now.content
        assert memory.practise_skill("unknown", success=False, create=False) is None

    def test_executions_at_once_all_count(self, manager: SharedContextManager) -> None:
        def practise(number: int) -> None:
            mine = memories_of(manager)
            for _ in range(5):
                mine.practise_skill("s", success=number % 2 == 0, contexts=[f"context {number}"])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(practise, range(4)))
        skill = only_skill(memories_of(manager))
        assert (skill.metadata["attempts"], skill.metadata["successes"]) == (20, 10)
        assert sorted(skill.metadata["applicable_contexts"]) == [f"context {number}" for number in range(4)]

    def test_an_execution_is_learned_of(
        self, enhanced: MemoryEnhancedContextManager, memory: VectorMemoryManager
    ) -> None:
        experience, skill = enhanced.learn_from_execution(WORKFLOW, AGENT, TASK, RESULT, 2.5)
        episode = memory.get(experience)
        assert episode is not None
        assert episode.memory_type == "episodic"
        for words in (f"Workflow: {WORKFLOW}", f"Agents: {AGENT}", "Success: True", "2.50s", "95.00%", TASK):
            assert words in episode.content
        assert episode.metadata["pattern_type"] == "workflow_execution"
        known = memory.get(skill)
        assert known is not None
        assert known.metadata["skill_name"] == f"{AGENT}_revenue_validation"
        assert known.metadata["steps"] == ["Load data", "Check formats"]
        before = known.metadata["success_rate"]
        assert 0.5 < before < 1
        enhanced.learn_from_execution(WORKFLOW, AGENT, TASK, RESULT, 3.5)
        assert only_skill(memory).metadata["success_rate"] > before
        failed = {**RESULT, "status": "failed", "error": "no data"}
        enhanced.learn_from_execution(WORKFLOW, AGENT, TASK, failed, 1.0)
        now = only_skill(memory).metadata
        assert (now["attempts"], now["successes"]) == (3, 2)
        (only,) = enhanced.learn_from_execution(WORKFLOW, "other", TASK, failed, 1.0)
        lesson = memory.get(only)
        assert lesson is not None
        assert "Execution failed: no data" in lesson.content
        for wrong in (None, "success", {"status": "success", "learned_pattern": 5}):
            with pytest.raises(InvalidInput):
                enhanced.learn_from_execution(WORKFLOW, AGENT, TASK, wrong, 1.0)  # type: ignore[arg-type]

    def test_a_context_carries_what_is_known(
        self, enhanced: MemoryEnhancedContextManager, memory: VectorMemoryManager, wf: WorkflowHandle
    ) -> None:
        wf.put("revenue", 5)
        bare = enhanced.get_context_with_memory(WORKFLOW, AGENT, TASK)
        assert (bare["has_relevant_experience"], "memory_insights" in bare) == (False, False)
        memory.store_semantic_knowledge("Financial Data Validation", "Verifying data", ["Data Quality"])
        memory.remember("something private about validation", agent_id="somebody_else")
        context = enhanced.get_context_with_memory(WORKFLOW, AGENT, TASK, "financial_analyst")
        assert context["context_data"] == {"revenue": 5}
        assert context["has_relevant_experience"] is True
        (insight,) = context["memory_insights"]
        assert insight["type"] == "semantic"
        assert insight["content"].startswith("Concept: Financial Data Validation")
        assert insight["metadata"]["related_concepts"] == ["Data Quality"]
        assert 0 < insight["relevance"] <= 1.0001
        unknown = enhanced.get_context_with_memory("no such workflow", AGENT, TASK)
        assert (unknown["context_data"], unknown["has_relevant_experience"]) == ({}, True)

    def test_a_task_is_run_learned_of_and_its_result_committed(
        self, manager: SharedContextManager, memory: VectorMemoryManager, wf: WorkflowHandle
    ) -> None:
        seen: list[Mapping[str, Any]] = []

        def execute(agent_id: str, task: str, data: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
            seen.append(context)
            return {**RESULT, "execution_time": 1.5, "echo": [agent_id, task, data["n"]]}

        system = UnifiedContextMemorySystem(manager, memory, execute=execute)
        result = system.process_with_memory_learning(WORKFLOW, AGENT, TASK, {"n": 1})
        assert result["echo"] == [AGENT, TASK, 1]
        assert wf["latest_result"] == result
        system.process_with_memory_learning(WORKFLOW, AGENT, TASK, {"n": 2})
        assert [context["has_relevant_experience"] for context in seen] == [False, True]
        assert only_skill(memory).metadata["attempts"] == 2
        with pytest.raises(WorkflowNotFound):
            system.process_with_memory_learning("no such workflow", AGENT, TASK, {"n": 3})
        assert len(seen) == 2

    def test_a_task_that_fails_is_learned_of_too(
        self, manager: SharedContextManager, memory: VectorMemoryManager, wf: WorkflowHandle
    ) -> None:
        def execute(*_arguments: object) -> dict[str, Any]:
            raise OSError("the ledger is away")

        system = UnifiedContextMemorySystem(manager, memory, execute=execute)
        with pytest.raises(OSError, match="ledger"):
            system.process_with_memory_learning(WORKFLOW, AGENT, TASK, {})
        (episode,) = memory.list()
        assert "OSError" in episode.content
        assert "the ledger" not in episode.content  # everybody may recall it
        assert wf.get("latest_result") is None

        def quoting(*_arguments: object) -> dict[str, Any]:
            raise LookupError("quoted: " + "x" * 100_000)

        system = UnifiedContextMemorySystem(manager, memory, execute=quoting)
        with pytest.raises(LookupError, match="quoted") as raised:
            system.process_with_memory_learning(WORKFLOW, AGENT, TASK, {})
        assert not hasattr(raised.value, "__notes__")
        assert len(memory.list()) == 2
        memory.forget(list(memory.list())[-1].id)
        quiet = UnifiedContextMemorySystem(manager, memory, execute=lambda *_: RESULT, learning_enabled=False)
        quiet.process_with_memory_learning(WORKFLOW, AGENT, TASK, {})
        assert len(memory.list()) == 1
        assert wf["latest_result"] == RESULT

    def test_where_nothing_can_be_learned_result_and_error_are_the_tasks_own(
        self, manager: SharedContextManager, wf: WorkflowHandle
    ) -> None:
        def refuse(*_arguments: object) -> bool:
            raise EmbedderError("nothing is kept today")

        def fail(*_arguments: object) -> dict[str, Any]:
            raise OSError("the ledger is away")

        memory = memories_of(manager, worth_keeping=refuse)
        with pytest.raises(EmbedderError, match="nothing is kept"):
            UnifiedContextMemorySystem(manager, memory, execute=lambda *_: RESULT).process_with_memory_learning(
                *(WORKFLOW, AGENT, TASK, {})
            )
        assert wf["latest_result"] == RESULT
        with pytest.raises(OSError, match="ledger") as raised:
            UnifiedContextMemorySystem(manager, memory, execute=fail).process_with_memory_learning(
                *(WORKFLOW, AGENT, TASK, {})
            )
        assert raised.value.__notes__ == ["and it was not learned of: nothing is kept today"]
