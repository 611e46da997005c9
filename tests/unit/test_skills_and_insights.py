"""Estimates of skills, what an execution teaches, and contexts in words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxqueue import (
    AsyncMemoryContextStorage,
    AsyncMemoryEnhancedContextManager,
    AsyncUnifiedContextMemorySystem,
    AsyncVectorMemoryManager,
    MemoryContextStorage,
    MemoryEnhancedContextManager,
    VectorMemoryManager,
    render,
)
from ctxqueue.errors import EmbedderError, InvalidInput
from ctxqueue.rules.skills import Skill


@given(st.lists(st.booleans(), max_size=200), st.none() | st.floats(0, 1))
def test_a_rate_lies_in_its_interval_and_narrows(outcomes: list[bool], stated: float | None) -> None:
    skill = Skill("s", stated=stated)
    for outcome in outcomes:
        before = skill
        skill = skill.practised((), (), success=outcome)
        assert skill.rate >= before.rate if outcome else skill.rate <= before.rate
    low, high = skill.interval
    assert 0 <= low <= skill.rate <= high <= 1
    assert Skill.of(skill.metadata) == skill
    if not outcomes:
        assert skill.rate == (0.5 if stated is None else pytest.approx(stated))


def test_contexts_are_bounded_and_the_newest_stay() -> None:
    skill = Skill("s")
    for number in range(50):
        skill = skill.practised((), [f"c{number}", "c0"], success=True)
    assert len(skill.contexts) == 20
    assert skill.contexts[-1] == "c49"


CONTEXT: dict[str, Any] = {
    "context_data": {"a": 1, "b": "x" * 50},
    "memory_insights": [{"type": "semantic", "content": f"memory {number}" + "y" * 30} for number in range(5)],
}


@pytest.mark.parametrize("most", [1, 20, 60, 100, 150, 1_000])
def test_a_rendered_context_keeps_to_its_budget(most: int) -> None:
    assert len(render(CONTEXT, max_chars=most)) <= most


def test_a_rendered_context_says_what_was_left_out() -> None:
    whole = render(CONTEXT, max_chars=1_000)
    assert whole.splitlines()[0] == "a: 1"
    assert whole.count("[semantic memory]") == 3
    assert "left out" not in whole
    assert render(CONTEXT, max_chars=1_000, include_memories=0).count("memory]") == 0
    some = render(CONTEXT, max_chars=100)
    assert some.splitlines() == ["a: 1", "b: " + "x" * 50, "(3 more left out)"]
    with pytest.raises(InvalidInput):
        render(CONTEXT, max_chars=0)


def test_the_reference_documents_example_runs() -> None:
    memory = VectorMemoryManager()
    manager = MemoryEnhancedContextManager(MemoryContextStorage(), memory)
    memory.store_semantic_knowledge(
        concept="Financial Data Validation",
        definition="Process of verifying financial data accuracy, format, and completeness",
        related_concepts=["Data Quality", "Compliance", "Accuracy Checking"],
    )
    task = "Validate quarterly revenue data for compliance"
    context = manager.get_context_with_memory("demo_workflow_001", "financial_validator", task, "financial_analyst")
    assert context["has_relevant_experience"]
    assert context["memory_insights"][0]["content"].startswith("Concept: Financial Data Validation")
    pattern = {"skill_name": "quarterly_revenue_validation", "steps": ["Load data", "Check formats"]}
    result = {"status": "success", "processing_time": 2.5, "confidence": 0.95, "learned_pattern": pattern}
    manager.learn_from_execution("demo_workflow_001", "financial_validator", task, result, 2.5)
    found = memory.retrieve_relevant_memories("quarterly revenue validation", ["procedural"])
    assert found[0].metadata["skill_name"] == "financial_validator_quarterly_revenue_validation"
    assert found[0].relevance_score > 0


def test_the_same_awaited() -> None:
    async def main() -> None:
        storage = AsyncMemoryContextStorage()
        memory = AsyncVectorMemoryManager(storage)  # type: ignore[arg-type]
        manager = AsyncMemoryEnhancedContextManager(storage, memory)
        await manager.create_workflow_context("w")

        async def execute(_agent: str, _task: str, _data: Any, context: Any) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"status": "success", "knew": context["has_relevant_experience"]}

        system = AsyncUnifiedContextMemorySystem(manager, memory, execute=execute)
        first = await system.process_with_memory_learning("w", "agent_1", "count the beans", {})
        second = await system.process_with_memory_learning("w", "agent_1", "count the beans again", {})
        assert (first["knew"], second["knew"]) == (False, True)
        assert (await manager.workflow("w")["latest_result"])["knew"] is True

        def refuse(*_arguments: object) -> bool:
            raise EmbedderError("nothing is kept today")

        async def fail(*_arguments: object) -> dict[str, Any]:
            raise OSError("the ledger is away")

        memory.memory_terms.worth_keeping = refuse
        with pytest.raises(EmbedderError):
            await system.process_with_memory_learning("w", "agent_1", "count the peas", {})
        kept = await manager.workflow("w").get("latest_result")
        assert kept is not None
        assert (kept.version, kept.value["status"]) == (3, "success")
        failing = AsyncUnifiedContextMemorySystem(manager, memory, execute=fail)
        with pytest.raises(OSError, match="ledger") as raised:
            await failing.process_with_memory_learning("w", "agent_1", "count the peas", {})
        assert raised.value.__notes__ == ["and it was not learned of: nothing is kept today"]

    asyncio.run(main())
