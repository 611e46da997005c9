"""Inside an agent's task no argument says who remembers, recalls or runs the place: the task's own agent does."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import SharedContextManager
from ctxqueue.errors import AccessDenied, EntryNotFound, IdentityMismatch
from ctxqueue.identity import declared_agent
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.models import Agent
from tests.property.test_what_is_remembered import EMBEDDER
from tests.property.worlds import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANN = Agent("ann_1", agent_role="intern")
POLICY = {
    "rule": [
        {"agent_role": "intern", "key": "memory:procedural", "deny": ["read", "write"]},
        {"agent_role": "lead", "key": "memory:*", "allow": ["read"], "sensitive": True},
        {"agent_type": "ann", "key": "memory:semantic", "deny": ["delete"]},
    ],
    "act_as": [{"agent_role": "coordinator", "agent": ["bob_*", "SYSTEM"]}],
}


@pytest.fixture
def manager() -> Iterator[SharedContextManager]:
    with SharedContextManager(f"memory://{uuid.uuid4()}", {"policy": POLICY}) as manager:
        manager.workflow("w").open()
        yield manager


@pytest.fixture
def memory(manager: SharedContextManager) -> VectorMemoryManager:
    return VectorMemoryManager(manager, embedder=EMBEDDER)


@pytest.fixture
def as_agent() -> Iterator[Callable[[Agent], None]]:
    tokens = []

    def become(agent: Agent) -> None:
        tokens.append(declared_agent.set(agent))

    yield become
    for token in reversed(tokens):
        declared_agent.reset(token)


def test_who_names_nobody_recalls_as_the_tasks_agent(memory: VectorMemoryManager, as_agent: Any) -> None:
    for whose in ("ann_1", "bob_2", None):
        memory.remember(f"the ledger of {whose}", agent_id=whose)
    as_agent(ANN)
    found = {each.content for each in memory.list()}
    assert found == {"the ledger of ann_1", "the ledger of None"}
    assert {each.memory.content for each in memory.recall("ledger", limit=10)} == found
    assert {each.content for each in memory.retrieve_relevant_memories("ledger")} == found
    assert {each.content for each in memory.list(agent_id="ann_1")} == found


def test_another_agent_is_refused(memory: VectorMemoryManager, as_agent: Any) -> None:
    hidden = memory.remember("not for ann", agent_id="bob_2")
    as_agent(ANN)
    assert memory.get(hidden) is None
    with pytest.raises(EntryNotFound):
        memory.pin(hidden)
    assert memory.forget(hidden) is False
    for call in (
        lambda: memory.recall("ann", agent_id="bob_2"),
        lambda: memory.get(hidden, agent_id="bob_2"),
        lambda: memory.list(agent_id="bob_2"),
        lambda: memory.remember("as another", agent_id="bob_2"),
        lambda: memory.remember_many([{"content": "as another", "agent_id": "bob_2"}]),
        lambda: memory.working("w", "bob_2"),
        lambda: memory.consolidate("w", "bob_2"),
        lambda: memory.learn_from_execution("w", "bob_2", "sums", {"status": "success"}, 1.0),
    ):
        with pytest.raises(IdentityMismatch):
            call()


def test_a_grant_lets_it_be_another_one_or_the_operator(memory: VectorMemoryManager, as_agent: Any) -> None:
    memory.remember("not for ann", agent_id="bob_2")
    as_agent(Agent("chief_1", agent_role="coordinator"))
    assert [each.content for each in memory.list(agent_id="bob_2")] == ["not for ann"]
    assert [each.content for each in memory.list()] == ["not for ann"]


def test_the_role_of_the_task_counts(memory: VectorMemoryManager, as_agent: Any) -> None:
    skill = memory.store_procedural_skill("sums", ["add"], 0.9, ["closing"])
    known = memory.remember("the ledger closes")
    as_agent(ANN)
    assert [each.id for each in memory.list()] == [known]
    assert memory.get(skill) is None
    with pytest.raises(AccessDenied, match="may not write procedural memories"):
        memory.practise_skill("sums", success=True)
    with pytest.raises(AccessDenied, match="may not delete semantic memories"):
        memory.forget(known)


def test_a_memory_that_holds_a_secret_is_kept_from_whom_nothing_lets_read_it(
    memory: VectorMemoryManager, as_agent: Any
) -> None:
    hidden = memory.remember(f"log in with {TOKEN}", agent_id="ann_1", scope="global")
    named = memory.remember("the supplier's site", metadata={"api_key": "k-1"})
    seen = memory.get(hidden)
    assert seen is not None
    assert (seen.content, seen.why_sensitive) == ("<redacted>", "detector: GitHub token")
    revealed = memory.get(hidden, reveal=True)
    assert revealed is not None
    assert TOKEN in revealed.content
    assert TOKEN not in repr(revealed)
    assert [each.memory.content for each in memory.recall("log", reveal=True, limit=1)] == [revealed.content]
    assert memory.list(agent_id="ann_1").items == ()
    assert memory.get(named, agent_id="bob_2") is None
    as_agent(Agent("dora_1", agent_role="lead"))
    assert {each.id for each in memory.list()} == {hidden, named}


def test_a_sensitive_memory_takes_no_plain_ones_place(manager: SharedContextManager) -> None:
    memory = VectorMemoryManager(manager, embedder=EMBEDDER, supersede_above=0.5)
    older, plain = (memory.remember(f"the site is open to all {word}") for word in ("today", "now"))
    memory.remember(f"the site is open to all {TOKEN}")
    assert [each.id for each in memory.list(agent_id="ann_1")] == [plain]
    superseded = memory.get(older)
    assert superseded is not None
    assert superseded.superseded_by == plain


def test_what_runs_the_place_is_refused_too(manager: SharedContextManager, as_agent: Any) -> None:
    tracker = manager.dependency_tracker
    calls: tuple[Callable[[], Any], ...] = (
        lambda: manager.summary("w"),
        manager.workflows,
        lambda: manager.parked("w"),
        lambda: manager.unread("w"),
        manager.audit,
        lambda: manager.dead_letters("w"),
        lambda: manager.drop_dead_letter("w:a:b"),
        lambda: manager.erase(agent_id="ann_1"),
        lambda: tracker.dependency_graph("w"),
        lambda: tracker.reverse_dependencies("w"),
        lambda: tracker.stale("w"),
        lambda: tracker.is_resolved("w", "k"),
    )
    for call in calls:
        call()
    as_agent(ANN)
    for call in calls:
        with pytest.raises(IdentityMismatch, match="may not act as the operator"):
            call()
    as_agent(Agent("chief_1", agent_role="coordinator"))
    for call in calls:
        call()
