"""A rule by group holds by whatever name an agent is called: its type, role and groups are part of who it is."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.agents import ContextAwareAgent
from ctxqueue.aio import AsyncSharedContextManager
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import AccessDenied, IdentityMismatch, InvalidInput, InvalidName
from ctxqueue.identity import declared_agent
from ctxqueue.integration.memory_answers import with_options
from ctxqueue.memories.enhanced import MemoryEnhancedContextManager
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.models import OPERATOR, Agent
from tests.property.test_what_is_remembered import EMBEDDER

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = {
    "default": ["write", "delete"],
    "rule": [
        {"group": "closing", "allow": ["read"]},
        {"group": "outside", "deny": ["write"], "key": ["memory:*", "ledger"]},
    ],
}
INSIDE, OUTSIDE = Agent("ann_1", groups=("closing",)), Agent("ann_1", groups=("outside",))


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4()}"


@pytest.fixture
def manager(url: str) -> Iterator[SharedContextManager]:
    with SharedContextManager(url, {"policy": POLICY}) as manager:
        manager.workflow("w").open()
        manager.workflow("w", agent_id="bob_2").put("ledger", 7)
        yield manager


@pytest.fixture
def memory(manager: SharedContextManager) -> VectorMemoryManager:
    return VectorMemoryManager(manager, embedder=EMBEDDER)


class Looking(ContextAwareAgent):
    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        return {task: context["context_data"]}


def test_by_the_references_names(manager: SharedContextManager, url: str) -> None:
    assert manager.get_context_for_agent("w", INSIDE)["context_data"] == {"ledger": 7}
    assert manager.get_context_for_agent("w", "ann_1")["context_data"] == {}
    inside = Looking("ann_1", context_manager=manager, groups=["closing"])
    assert inside.execute_with_context("look", "w") == {"look": {"ledger": 7}}
    assert inside.wait_for_dependency("w", "ledger", timeout=5)["ledger"] == 7
    with pytest.raises(AccessDenied):
        Looking("ann_1", context_manager=manager).wait_for_dependency("w", "ledger", timeout=0.01)
    with pytest.raises(AccessDenied):
        manager.update_context("w", OUTSIDE, {"ledger": 8})

    async def awaited() -> Any:
        async with AsyncSharedContextManager(url, {"policy": POLICY}) as face:
            return [(await face.get_context_for_agent("w", who))["context_data"] for who in (INSIDE, "ann_1")]

    assert asyncio.run(awaited()) == [{"ledger": 7}, {}]


def test_of_what_was_told_in_this_process() -> None:
    told: list[Any] = []
    policy = {"rule": [{"group": "outside", "deny": ["read"], "key": ["ledger"]}]}
    with SharedContextManager(f"memory://{uuid.uuid4()}", {"policy": policy}) as manager:
        manager.workflow("w").open()
        for who in (INSIDE, OUTSIDE):
            handle = manager.workflow("w", agent_id=who.agent_id, groups=who.groups)
            handle.subscribe("led*", lambda *given: told.append(given))
        notifications = manager.notification_manager
        assert notifications.notify_context_update("w", "bob_2", ["ledger"]) == 1
        assert told == [("w", "bob_2", "ledger")]
        assert [each.keys for each in notifications.notification_history("w", INSIDE)] == [("ledger",)]
        assert notifications.notification_history("w", OUTSIDE) == []


def test_of_memories(manager: SharedContextManager, memory: VectorMemoryManager) -> None:
    known = memory.remember("the ledger closes")
    assert [each.id for each in memory.list(agent_id=INSIDE)] == [known]
    assert [each.memory.id for each in memory.recall("ledger", agent_id=INSIDE)] == [known]
    assert memory.get(known, agent_id="ann_1") is None
    enhanced = MemoryEnhancedContextManager(manager, memory)
    assert enhanced.get_context_with_memory("w", INSIDE, "close the ledger")["has_relevant_experience"] is True
    assert enhanced.get_context_with_memory("w", "ann_1", "close the ledger")["has_relevant_experience"] is False
    success = {"status": "success", "learned_pattern": {"skill_name": "sums", "steps": ["add"]}}
    for call in (
        lambda: memory.remember("no", agent_id=OUTSIDE),
        lambda: memory.remember_many([{"content": "no", "agent_id": OUTSIDE}]),
        lambda: memory.learn_from_execution("w", OUTSIDE, "sums", success, 1.0),
    ):
        with pytest.raises(AccessDenied):
            call()
    assert [each.id for each in memory.list()] == [known]


def test_memories_of_a_type_go_by_the_type_that_was_declared(memory: VectorMemoryManager) -> None:
    theirs = Agent("ann_1", "validator", groups=("closing",))
    known = memory.remember("what validators know", agent_id=theirs, scope="agent_group")
    assert [each.id for each in memory.list(agent_id=theirs)] == [known]
    assert memory.list(agent_id=INSIDE).items == ()
    assert [each.id for each in memory.list(agent_id=Agent("validator_2", groups=("closing",)))] == [known]
    token = declared_agent.set(theirs)
    try:
        assert [each.id for each in memory.list(agent_id="ann_1")] == [known]
        assert memory.remember("what validators know", agent_id="ann_1", scope="agent_group") == known
    finally:
        declared_agent.reset(token)


def test_the_result_of_a_task_does_not_say_as_whom_it_is_remembered() -> None:
    assert with_options({"content": "c", "user_id": "eve"}, {}) == {"content": "c", "user_id": "eve"}
    for value, options in (
        ({"content": "c", "agent_id": "bob_2"}, {}),
        ({"content": "c", "agent_id": "bob_2"}, {"agent_id": "ann_1"}),
        ({"content": "c", "user_id": "dan"}, {"user_id": "eve"}),
    ):
        with pytest.raises(IdentityMismatch):
            with_options(value, options)


def test_mistakes_have_names(manager: SharedContextManager) -> None:
    with pytest.raises(InvalidName, match="the operator is no agent"):
        manager.get_context_for_agent("w", OPERATOR)
    with pytest.raises(InvalidInput, match="give one"):
        manager.get_context_for_agent("w", INSIDE, "lead")
