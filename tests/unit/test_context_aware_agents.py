"""Agents by the reference's names, in one process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ctxqueue import (
    AsyncContextAwareAgent,
    ContextAwareAgent,
    DependencyTimeout,
    InvalidInput,
    InvalidName,
    SharedContextManager,
    WorkflowNotFound,
    aconnect,
    changed_by,
    connect,
)
from tests.waiting import wait_until


class Adder(ContextAwareAgent):
    told: list[tuple[str, str, str]]

    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        numbers = context["context_data"]["numbers"]
        return {"status": "success", "task": task, "context_updates": {"total": sum(numbers)}}

    def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
        super().handle_context_change(workflow_id, updating_agent, key)
        self.told.append((workflow_id, updating_agent, key))


@pytest.fixture
def manager() -> SharedContextManager:
    manager = connect("memory://")
    manager.workflow("w").open()
    return manager


@pytest.fixture
def agent(manager: SharedContextManager) -> Adder:
    agent = Adder("adder_1", "analyst", context_manager=manager)
    agent.told = []
    return agent


def test_a_task_is_carried_out_with_what_the_agent_sees_and_its_updates_are_merged(agent: Adder) -> None:
    agent.workflow("w").put("numbers", [1, 2])
    result = agent.execute_with_context("add", "w")
    assert (result["status"], result["task"]) == ("success", "add")
    entry = agent.workflow("w").get("total")
    assert entry is not None
    assert (entry.value, entry.agent_id) == (3, "adder_1")


def test_the_initial_context_is_laid_over_and_not_stored(agent: Adder) -> None:
    agent.workflow("w").put("numbers", [1, 2])
    agent.execute_with_context("add", "w", {"numbers": [5]})
    assert (agent.workflow("w")["total"], agent.workflow("w")["numbers"]) == (5, [1, 2])


@pytest.mark.parametrize(("result", "says"), [(None, "NoneType"), ({"context_updates": [1]}, "list")])
def test_what_is_no_result_is_refused_and_nothing_is_stored(
    manager: SharedContextManager, result: Any, says: str
) -> None:
    class Wrong(ContextAwareAgent):
        def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
            del task, context
            return result  # type: ignore[no-any-return]  # which is the mistake

    with pytest.raises(InvalidInput, match=says):
        Wrong("wrong_1", context_manager=manager).execute_with_context("any", "w")
    assert not manager.workflow("w").list().items


def test_mistakes_have_names(manager: SharedContextManager, agent: Adder) -> None:
    with pytest.raises(InvalidName):
        Adder("", context_manager=manager)
    with pytest.raises(WorkflowNotFound):
        agent.execute_with_context("add", "unknown")
    with pytest.raises(NotImplementedError, match="execute_task_with_context"):
        ContextAwareAgent("bare_1", context_manager=manager).execute_with_context("any", "w")
    with pytest.raises(InvalidInput, match="register adder_1"):
        agent.subscribe_to_context_changes("w", "rates", when=changed_by(0.01))


def test_it_is_told_of_what_others_change(manager: SharedContextManager, agent: Adder) -> None:
    agent.subscribe_to_context_changes("w", ["rates", "fees_*"])
    assert agent.context_subscriptions == [("w", ("rates", "fees_*"))]
    agent.workflow("w").put("rates", 1)
    other = manager.workflow("w", agent_id="other_1")
    other.update({"rates": 2, "else": 1})
    other.put("fees_1", 1)
    wait_until(lambda: len(agent.told) >= 2, "it was told of both")
    assert agent.told == [("w", "other_1", "rates"), ("w", "other_1", "fees_1")]


def test_it_waits_for_a_key(manager: SharedContextManager, agent: Adder) -> None:
    with pytest.raises(DependencyTimeout, match="revenue"):
        agent.wait_for_dependency("w", "revenue", timeout=0.05)
    writing = threading.Timer(0.05, manager.workflow("w").put, ("revenue", 7))
    writing.start()
    assert agent.wait_for_dependency("w", "revenue", timeout=30)["revenue"] == 7
    writing.join()


class AsyncAdder(AsyncContextAwareAgent):
    told: asyncio.Queue[tuple[str, str, str]]

    async def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
        await self.told.put((workflow_id, updating_agent, key))

    async def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        del task
        await asyncio.sleep(0)
        return {"context_updates": {"total": sum(context["context_data"]["numbers"])}}


def test_the_same_in_an_event_loop() -> None:
    async def work() -> None:
        async with aconnect("memory://") as manager:
            await manager.workflow("w").open()
            agent = AsyncAdder("adder_1", context_manager=manager)
            agent.told = asyncio.Queue()
            await agent.execute_with_context("add", "w", {"numbers": [1, 2]})
            assert (await agent.workflow("w").view())["total"] == 3
            await agent.subscribe_to_context_changes("w", "rates")
            other = manager.workflow("w", agent_id="other_1")
            await other.put("rates", 1)
            view, _ = await asyncio.gather(agent.wait_for_dependency("w", "revenue"), other.put("revenue", 7))
            assert view["revenue"] == 7
            async with asyncio.timeout(30):
                assert await agent.told.get() == ("w", "other_1", "rates")

    asyncio.run(work())
