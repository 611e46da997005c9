"""Nobody recalls what an oracle denies: by no path of memories, not by a score that what is hidden would have moved."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxqueue.context import SharedContextManager
from ctxqueue.errors import AccessDenied, EntryNotFound
from ctxqueue.flows import recalling
from ctxqueue.identity import declared_agent
from ctxqueue.memories.embedders import CallableEmbedder
from ctxqueue.memories.enhanced import MemoryEnhancedContextManager
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.models import Agent
from ctxqueue.read_paths import READ_PATHS
from ctxqueue.remembered import Reader
from tests.property.worlds import TOKEN, Place, is_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ctxqueue.remembered import MemoryEntry
    from tests.property.worlds import Policy

AGENTS = ("ann_1", "bob_2")
KINDS = ("semantic", "episodic", "procedural")
WORDS = ("ledger", "closing", "supplier", "rates", "totals", "quarter")
DRIVEN = {
    *(f"VectorMemoryManager.{name}" for name in ("get", "list", "recall", "retrieve_relevant_memories", "forget")),
    *(f"VectorMemoryManager.{name}" for name in ("pin", "reinforce", "supersede", "practise_skill")),
    *("QueuedMemoryManager.enqueue_recall", "PendingRecall.get"),
}


class Said(NamedTuple):
    """One memory."""

    number: int
    agent_id: str | None
    user_id: str | None
    scope: str | None
    kind: str
    words: tuple[str, ...]
    secret: str

    @property
    def content(self) -> str:
        token = f" {TOKEN}" if self.secret == "token" else ""
        return f"memory-{self.number:03} {' '.join(self.words)}{token}"

    @property
    def place(self) -> Place:
        if self.scope == "global" or (self.agent_id is None and self.user_id is None):
            return Place("global", "", f"memory:{self.kind}")
        if self.scope == "agent_group" and self.agent_id is not None:
            return Place("agent_group", Agent(self.agent_id).agent_type, f"memory:{self.kind}")
        return Place("private", self.agent_id or self.user_id or "", f"memory:{self.kind}")

    def is_seen_by(self, policy: Policy, agent_id: str | None, user_id: str | None) -> bool:
        """Return what the oracle says."""
        agent = Agent(agent_id or "user")
        if self.place.scope == "agent_group" and (agent_id is None or self.place.owner != agent.agent_type):
            return False
        whose = (self.agent_id, self.user_id)
        if self.place.scope == "private" and whose not in {(agent_id, None), (None, user_id), (agent_id, user_id)}:
            return False
        return is_allowed(policy, agent, self.place, sensitive=self.secret != "")


def embed(texts: Sequence[str]) -> Any:
    return np.array([sum(_vector(word) for word in text.split()) for text in texts], dtype=np.float32)


def _vector(word: str) -> Any:
    return np.random.default_rng(crc32(word.encode())).normal(size=16)


EMBEDDER = CallableEmbedder(embed, name="words", dimension=16)

rules = st.builds(
    lambda who, keys, scope, deny, sensitive: {
        **who,
        **({"key": keys} if keys else {}),
        **({"scope": [scope]} if scope else {}),
        "allow": [] if deny else ["read"],
        "deny": ["read"] if deny else [],
        "sensitive": sensitive,
    },
    st.sampled_from([{}, {}, {"agent_type": "ann"}, {"agent_type": "user"}]),
    st.sampled_from([[], ["memory:*"], ["memory:episodic"], ["memory:s*", "ledger"], ["*"]]),
    st.sampled_from(["", "", "global", "private", "agent_group"]),
    st.booleans(),
    st.booleans(),
)
policies = st.fixed_dictionaries(
    {
        "default": st.sampled_from([["read", "write", "delete"]] * 3 + [["write", "delete"]]),
        "rule": st.lists(rules, max_size=3),
        "sensitive": st.sampled_from([[], [], [{"key": ["memory:episodic"]}]]),
    }
)
memories = st.lists(
    st.builds(
        Said,
        st.just(0),
        st.sampled_from([None, *AGENTS]),
        st.sampled_from([None, None, "eve"]),
        st.sampled_from([None, None, "global"]),
        st.sampled_from(KINDS),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple),
        st.sampled_from(["", "", "", "token", "name"]),
    ),
    min_size=1,
    max_size=8,
).map(lambda drawn: [said._replace(number=number) for number, said in enumerate(drawn)])
readers = st.sampled_from([("ann_1", None), ("bob_2", None), (None, "eve"), ("ann_1", "eve")])


class World:
    """What is remembered, and somebody who looks for it."""

    def __init__(self, url: str, policy: Policy, said: list[Said]) -> None:
        self.context = SharedContextManager(url, {"namespace": f"n{uuid.uuid4().hex[:20]}", "policy": policy})
        self.memory = VectorMemoryManager(self.context, embedder=EMBEDDER)
        self.ids = {each.number: self._stored(each) for each in said}

    def _stored(self, said: Said) -> str:
        metadata = {"number": said.number} | ({"api_key": "k"} if said.secret == "name" else {})
        whose: dict[str, Any] = {"agent_id": said.agent_id, "user_id": said.user_id, "scope": said.scope}
        return self.memory.remember(said.content, said.kind, at="2026-01-01", metadata=metadata, **whose)

    def listed(self, limit: int, **reader: Any) -> list[list[str]]:
        pages, cursor = [], None
        while True:
            page = self.memory.list(limit=limit, cursor=cursor, **reader)
            pages.append([each.content for each in page])
            cursor = page.next_cursor
            if cursor is None:
                return pages


def looked_at(
    world: World, said: list[Said], ids: dict[int, str], agent_id: str | None, user_id: str | None
) -> dict[str, Any]:
    """Return what is seen by each path."""
    reader: Any = {"agent_id": agent_id, "user_id": user_id}
    memory, run = world.memory, world.memory.driver.run
    found: dict[str, Any] = {
        "get": {number: shown(memory.get(each, **reader)) for number, each in ids.items()},
        "list": [world.listed(limit, **reader) for limit in (1, 2, 100)],
    }
    for word in WORDS[:3]:
        for most in (1, 5):
            recalled = memory.recall(f"{word} rates", limit=most, explain=True, **reader)
            found[f"recall {word} {most}"] = [
                (each.memory.content, round(each.score, 3), {name: round(part, 3) for name, part in each.parts.items()})
                for each in recalled
            ]
    answered: list[Any] = [(each, 1.0, 1.0, {}) for each in ids.values()]
    told = run(recalling.told(memory.memory_terms.policy, Reader(agent_id, user_id), answered))
    found["told"] = [shown(each.memory) for each in told]
    if agent_id is not None:
        enhanced = MemoryEnhancedContextManager(world.context, memory)
        insights = enhanced.get_context_with_memory("none", agent_id, "closing the ledger")
        found["insights"] = sorted(each["content"] for each in insights.get("memory_insights", []))
        token = declared_agent.set(Agent(agent_id))
        try:  # a task's agent is who it is, whatever its body says
            found["declared"] = [[each.content for each in page] for page in (memory.list(),)]
            found["retrieved"] = sorted(each.content for each in memory.retrieve_relevant_memories("rates ledger"))
        finally:
            declared_agent.reset(token)
    if agent_id is not None:
        found["skill"] = practised(memory, Agent(agent_id))
    found["changed"] = {number: changed(memory, each, reader) for number, each in ids.items()}
    found["guessed"] = [guessed(memory, each, agent_id, user_id) for each in said]
    return found


def guessed(memory: VectorMemoryManager, said: Said, agent_id: str | None, user_id: str | None) -> Any:
    """Return what comes of remembering what somebody else may have: words are guessed, metadata are not."""
    known: Any = {"agent_id": agent_id, "user_id": user_id if said.user_id or agent_id is None else None}
    memory_id = memory.remember(said.content, said.kind, at="2026-01-01", scope=said.scope, **known)
    entry = memory.get(memory_id, agent_id=agent_id, user_id=user_id)
    answers = changed(memory, memory_id, known) if entry is None else [entry.importance, entry.pinned, entry.speaker]
    return memory_id, shown(entry), answers


def practised(memory: VectorMemoryManager, agent: Agent) -> Any:
    """Return what a task of an agent's learns of a skill, which is everybody's."""
    token = declared_agent.set(agent)
    try:
        return shown(memory.practise_skill("sums", success=True, steps=["add"]))
    finally:
        declared_agent.reset(token)


def shown(entry: MemoryEntry | None) -> Any:
    return entry and (entry.content, sorted(entry.metadata.items()), entry.why_sensitive)


def changed(memory: VectorMemoryManager, memory_id: str, reader: Any) -> list[Any]:
    """Return what comes of changing a memory: one that is hidden is not there."""
    answers: list[Any] = []
    calls: tuple[Callable[[], Any], ...] = (
        lambda: memory.reinforce(memory_id, **reader).content,
        lambda: memory.pin(memory_id, **reader).content,
        lambda: memory.supersede(memory_id, f"{memory_id[:-1]}{'1' if memory_id[-1] == '0' else '0'}", **reader),
        lambda: memory.forget(memory_id, **reader),
    )
    for call in calls:
        try:
            answers.append(call())
        except (EntryNotFound, AccessDenied) as error:
            answers.append(type(error).__name__)
    return answers


def check(url: str, policy: Policy, reader: tuple[str | None, str | None], said: list[Said]) -> None:
    seen = [each for each in said if each.is_seen_by(policy, *reader)]
    whole, rest = World(url, policy, said), World(url, policy, seen)
    with whole.context, rest.context:
        found, without = looked_at(whole, said, whole.ids, *reader), looked_at(rest, said, whole.ids, *reader)
        for name in found:
            assert found[name] == without[name], f"{name} shows something that {reader} may not see"
        if reader[0] is not None:
            of_skills = Place("global", "", "memory:procedural")
            knows = is_allowed(policy, Agent(reader[0]), of_skills, sensitive=False)
            assert (found["skill"] is not None) is knows
        assert {content for page in found["list"][0] for content in page} == {each.content for each in seen}
        secrets = [each for each in said if each.secret == "token"]
        hers: list[Any] = [*whole.memory.list(), *map(whole.memory.get, whole.ids.values())]
        hers += [each.memory for each in whole.memory.recall("ledger", limit=100)]
        unasked = repr([each and vars(each) for each in hers])
        assert not secrets or TOKEN not in unasked, "the operator sees the words of a sensitive memory"


def run(url: Callable[[], str], examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(policies, readers, memories)
    def nobody_recalls_more(policy: Policy, reader: tuple[str | None, str | None], said: list[Said]) -> None:
        check(url(), policy, reader, said)

    nobody_recalls_more()


def test_each_path_of_memories_is_driven() -> None:
    kinds = ("VectorMemoryManager.", "QueuedMemoryManager.", "PendingRecall.")
    assert {path for path, sight in READ_PATHS.items() if sight == "agent" and path.startswith(kinds)} == DRIVEN


@pytest.mark.parametrize(("kind", "examples"), [("memory", 25), ("redis", 2), ("sqlite", 2)])
def test_nobody_recalls_what_the_oracle_denies(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    url = "" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    run(lambda: url or f"memory://{uuid.uuid4()}", examples)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("kind", "examples"), [("memory", 1_500), ("redis", 150), ("sqlite", 100), ("postgres", 50)])
def test_nobody_recalls_what_the_oracle_denies_for_long(
    kind: str, examples: int, request: pytest.FixtureRequest
) -> None:
    url = "" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    run(lambda: url or f"memory://{uuid.uuid4()}", examples)
