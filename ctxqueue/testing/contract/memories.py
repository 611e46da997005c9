"""Memories: each once, whose they are, what happens to one by its id.

Long, as one class holds what a store must do with a memory; relevance, retention, learning and working memory have
files of their own.
"""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import EmbedderError, EntryNotFound, InvalidInput, ModelMismatch, UnknownScope, ValueTooLarge
from ctxqueue.flows import embedding, remembering
from ctxqueue.memories.embedders import CallableEmbedder
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.models import ContextScope
from ctxqueue.testing.contract.base import Contract, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.context import SharedContextManager

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ANN, BOB = "extractor_1", "extractor_2"


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Count letters: vectors that cost nothing, alike for texts that are."""
    return [[text.lower().count(letter) + 0.01 for letter in LETTERS] for text in texts]


def memories_of(manager: SharedContextManager, **options: Any) -> VectorMemoryManager:
    """Return another memory manager over the same store, that has read nothing yet."""
    return VectorMemoryManager(manager, **{"embedder": CallableEmbedder(letters, name="letters"), **options})


def contents(memory: VectorMemoryManager, query: str = "the capital", **options: Any) -> set[str]:
    """Return what a recall of many finds."""
    return {found.memory.content for found in memory.recall(query, limit=100, **options)}


class Memories(Contract):
    """One memory at a time, and who sees it."""

    @pytest.fixture
    def memory(self, manager: SharedContextManager) -> VectorMemoryManager:
        return memories_of(manager)

    def test_what_was_remembered_is_found_with_all_that_is_known_of_it(self, memory: VectorMemoryManager) -> None:
        memory_id = memory.remember(
            "the capital of France is Paris",
            "episodic",
            metadata={"conv": "x", "n": 1},
            agent_id=ANN,
            at=datetime(2023, 5, 8, 13, 56, tzinfo=UTC),
            session="s1",
            sequence=7,
            speaker="Caroline",
            importance=0.75,
            pinned=True,
            ttl=3_600,
        )
        found = memory.get(memory_id)
        assert found is not None
        assert (found.id, found.content, found.memory_type) == (memory_id, "the capital of France is Paris", "episodic")
        assert (found.metadata, found.agent_id, found.scope) == ({"conv": "x", "n": 1}, ANN, ContextScope.PRIVATE)
        assert (found.session, found.sequence, found.speaker) == ("s1", 7, "Caroline")
        assert (found.importance, found.pinned, found.access_count, found.last_access) == (0.75, True, 0, None)
        assert found.timestamp == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
        assert found.created_at is not None
        assert found.expires_at == found.created_at + timedelta(hours=1)
        (recalled,) = memory.recall("capital of France")
        assert recalled.memory.id == memory_id
        assert recalled.memory.access_count == 1
        assert 0 < recalled.memory.relevance_score <= 1.0001
        again = memory.get(memory_id)
        assert again is not None
        assert again.access_count == 1
        assert again.last_access is not None

    def test_the_same_content_is_the_same_memory(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        first = memory.remember("a fact")
        assert memories_of(manager).remember("a fact", metadata={"other": 1}) == first
        assert memory.remember_many(["a fact", "another fact", "another fact"]) == [
            *(first, memory.remember("another fact"), memory.remember("another fact")),
        ]
        assert len(memory.list()) == 2
        found = memory.get(first)
        assert found is not None
        assert found.metadata == {}
        others = {memory.remember("a fact", agent_id=ANN), memory.remember("a fact", agent_id=BOB)}
        others |= {memory.remember("a fact", "episodic"), memory.remember("a fact", at="2023-05-08T13:56")}
        assert len({first, *others}) == 5

    def test_an_agent_sees_its_own_its_groups_and_everybodys(self, memory: VectorMemoryManager) -> None:
        memory.remember("everybody's capital")
        memory.remember("Ann's capital", agent_id=ANN)
        memory.remember("Bob's capital", agent_id=BOB)
        memory.remember("the extractors' capital", agent_id=ANN, scope="agent_group")
        memory.remember("Ann told everybody of a capital", agent_id=ANN, scope="global")
        memory.remember("the capital of user Eve", user_id="eve")
        memory.remember("Ann's capital of Eve", agent_id=ANN, user_id="eve")
        for_all = {"everybody's capital", "Ann told everybody of a capital"}
        of_group = for_all | {"the extractors' capital"}
        assert contents(memory, agent_id=ANN) == of_group | {"Ann's capital"}
        assert contents(memory, agent_id=BOB) == of_group | {"Bob's capital"}
        assert contents(memory, agent_id="writer_1") == for_all
        assert contents(memory, user_id="eve") == for_all | {"the capital of user Eve"}
        both = {"Ann's capital", "the capital of user Eve", "Ann's capital of Eve"}
        assert contents(memory, agent_id=ANN, user_id="eve") == of_group | both
        assert contents(memory, agent_id=ANN, scope="private") == {"Ann's capital"}
        assert contents(memory, agent_id=ANN, scope=ContextScope.AGENT_GROUP) == {"the extractors' capital"}
        assert len(contents(memory)) == 7
        assert contents(memory, scope="global") == for_all

    def test_what_a_reader_may_not_see_is_not_there_by_its_id_either(self, memory: VectorMemoryManager) -> None:
        secret = memory.remember("Ann's capital", agent_id=ANN)
        strangers: list[dict[str, Any]] = [{"agent_id": BOB}, {"user_id": "eve"}, {"agent_id": BOB, "user_id": ANN}]
        for others in strangers:
            assert memory.get(secret, **others) is None
            assert memory.forget(secret, **others) is False
            assert list(memory.list(**others)) == []
            with pytest.raises(EntryNotFound):
                memory.pin(secret, **others)
            with pytest.raises(EntryNotFound):
                memory.reinforce(secret, **others)
            with pytest.raises(EntryNotFound):
                memory.supersede(secret, secret[:-1] + "0", **others)
        assert memory.get(secret, agent_id=ANN) is not None
        assert memory.get(secret) is not None

    def test_filters_come_before_the_best_are_taken(self, memory: VectorMemoryManager) -> None:
        for day in range(1, 29):
            at = datetime(2024, 2, day, tzinfo=UTC)
            memory.remember(f"the capital, told on day {day}", "episodic", at=at, metadata={"even": day % 2 == 0})
        memory.remember("nothing of the kind", metadata={"even": True, "tags": ["x"]})
        (found,) = memory.recall("the capital", limit=1, where={"even": True}, memory_types=["semantic"])
        assert found.memory.content == "nothing of the kind"
        assert contents(memory, where={"tags": ["x"]}) == {"nothing of the kind"}
        assert contents(memory, where={"even": True, "absent": None}) == set()
        assert len(contents(memory, where={"even": True}, memory_types=["episodic"])) == 14
        since = contents(memory, since=datetime(2024, 2, 10, tzinfo=UTC), until="2024-02-12")
        assert since == {"the capital, told on day 10", "the capital, told on day 11"}
        assert len(memory.recall("the capital")) == 5
        assert memory.recall("the capital", min_score=1.01) == []

    def test_a_reader_who_has_read_before_hears_of_every_change(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        first, second = memory.remember("the capital Paris"), memory.remember("the capital Berlin")
        other = memories_of(manager)
        assert contents(other) == {"the capital Paris", "the capital Berlin"}
        third = memory.remember("the capital Rome")
        memory.forget(first)
        assert contents(other) == {"the capital Berlin", "the capital Rome"}
        memory.supersede(second, third)
        assert contents(other) == {"the capital Rome"}
        memory.forget(third)
        memory.forget(second)
        assert contents(other) == set()
        memory.remember("the capital Paris")
        assert contents(other) == {"the capital Paris"}

    def test_uses_are_counted_whoever_recalls(self, memory: VectorMemoryManager, manager: SharedContextManager) -> None:
        memory_id = memory.remember("the capital")

        def recall_some(_number: int) -> None:
            mine = memories_of(manager)
            for _ in range(5):
                mine.recall("the capital")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(recall_some, range(4)))
        found = memory.get(memory_id)
        assert found is not None
        assert found.access_count == 20

    def test_many_who_remember_the_same_facts_leave_one_of_each(self, manager: SharedContextManager) -> None:
        facts = [f"fact number {number}" for number in range(120)]
        start = threading.Barrier(4)

        def remember_all(_number: int) -> list[str]:
            mine = memories_of(manager)
            start.wait()
            return mine.remember_many(facts)

        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(remember_all, range(4)))
        assert all(each == ids[0] for each in ids)
        assert len(memories_of(manager).list(limit=1_000)) == len(facts)

    def test_near_duplicates_at_once_leave_one_live(self, manager: SharedContextManager) -> None:
        start = threading.Barrier(4)

        def remember_one(number: int) -> None:
            mine = memories_of(manager, supersede_above=0.99)
            start.wait()
            mine.remember(f"the capital of France is Paris {number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remember_one, range(4)))
        assert len(memories_of(manager).list()) == 1

    def test_a_near_duplicate_takes_the_place_of_the_older(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, supersede_above=0.99)
        old = memory.remember("the capital of France is Paris")
        other = memory.remember("quite something else, zzz")
        of_another_type = memory.remember("the capital of France is Paris", "episodic")
        new = memory.remember("The capital of France is Paris!")
        gone = memory.get(old)
        assert gone is not None
        assert gone.superseded_by == new
        assert {each.id for each in memory.list()} == {other, of_another_type, new}

    def test_forgetting(self, memory: VectorMemoryManager) -> None:
        memory_id = memory.remember("the capital")
        assert memory.forget(memory_id) is True
        assert memory.forget(memory_id) is False
        assert memory.get(memory_id) is None
        assert memory.recall("the capital") == []
        with pytest.raises(EntryNotFound):
            memory.pin(memory_id)
        assert memory.remember("the capital") == memory_id
        found = memory.get(memory_id)
        assert found is not None
        assert found.access_count == 0

    def test_an_expired_memory_is_not_there(self, memory: VectorMemoryManager) -> None:
        memory_id = memory.remember("the capital", ttl=0.02)
        memory.remember("the capital of France")
        until(lambda: memory.get(memory_id) is None, "it has expired")
        assert contents(memory) == {"the capital of France"}
        assert [each.content for each in memory.list()] == ["the capital of France"]
        with pytest.raises(EntryNotFound):
            memory.reinforce(memory_id)
        assert memory.remember("the capital") == memory_id
        found = memory.get(memory_id)
        assert found is not None
        assert found.expires_at is None

    def test_superseding(self, memory: VectorMemoryManager) -> None:
        old, new, newest = (memory.remember(f"the capital {number}") for number in range(3))
        memory.supersede(old, new)
        memory.supersede(old, new)
        found = memory.get(old)
        assert found is not None
        assert found.superseded_by == new
        with pytest.raises(EntryNotFound, match="superseded"):
            memory.supersede(new, old)
        memory.supersede(new, newest)
        assert contents(memory) == {"the capital 2"}
        with pytest.raises(InvalidInput):
            memory.supersede(newest, newest)
        with pytest.raises(InvalidInput):
            memory.supersede(newest, memory.remember("Ann's", agent_id=ANN))
        assert memory.remember("the capital 0") == old
        assert contents(memory, scope="global") == {"the capital 2", "the capital 0"}

    def test_reinforcing_by_many_loses_none(self, memory: VectorMemoryManager, manager: SharedContextManager) -> None:
        memory_id = memory.remember("the capital", importance=0.0)

        def reinforce_some(_number: int) -> None:
            mine = memories_of(manager)
            for _ in range(5):
                mine.reinforce(memory_id, 0.01)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(reinforce_some, range(4)))
        found = memory.get(memory_id)
        assert found is not None
        assert found.importance == pytest.approx(0.2)
        assert memory.reinforce(memory_id, 5).importance == 1
        assert memory.reinforce(memory_id, -5).importance == 0

    def test_pinning(self, memory: VectorMemoryManager) -> None:
        memory_id = memory.remember("the capital")
        assert memory.pin(memory_id).pinned
        assert [each.pinned for each in memory.list()] == [True]
        assert not memory.pin(memory_id, pinned=False).pinned

    def test_a_list_is_read_page_by_page(self, memory: VectorMemoryManager) -> None:
        memory.remember_many([{"content": f"memory {number}", "metadata": {"n": number % 2}} for number in range(70)])
        memory.remember_many([{"content": f"memory {number}", "agent_id": ANN} for number in range(30)])
        seen: list[str] = []
        cursor = None
        while True:
            page = memory.list(limit=9, cursor=cursor)
            seen += (each.id for each in page)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 100
        assert len(memory.list(where={"n": 1})) == 35
        assert len(memory.list(agent_id=ANN, scope="private", limit=1_000)) == 30
        for wrong in ("", "nonsense", "f" * 16 + "..0", 5):
            with pytest.raises(InvalidInput):
                memory.list(cursor=wrong)  # type: ignore[arg-type]

    def test_many_rows_are_read_in_pages(self, memory: VectorMemoryManager, manager: SharedContextManager) -> None:
        ids = memory.remember_many([f"memory number {number}" for number in range(1_500)])
        other = memories_of(manager)
        assert len(other.recall("memory number", limit=1_000)) == 1_000
        for memory_id in ids[:100]:
            memory.forget(memory_id)
        found = other.recall("memory number 7", limit=1_000)
        assert not {each.memory.id for each in found} & set(ids[:100])

    def test_wrong_input_is_refused_and_nothing_stored(self, memory: VectorMemoryManager) -> None:
        for wrong, error in (
            ({"content": ""}, InvalidInput),
            ({"content": " \n"}, InvalidInput),
            ({"content": "x" * 1024 * 1024}, ValueTooLarge),
            ({"content": 5}, InvalidInput),
            ({"content": "\ud800"}, InvalidInput),
            ({"content": "x", "memory_type": "imaginary"}, InvalidInput),
            ({"content": "x", "memory_type": "working"}, InvalidInput),
            ({"content": "x", "metadata": ["a"]}, InvalidInput),
            ({"content": "x", "metadata": {"a": object()}}, InvalidInput),
            ({"content": "x", "importance": 1.5}, InvalidInput),
            ({"content": "x", "importance": float("nan")}, InvalidInput),
            ({"content": "x", "at": "yesterday"}, InvalidInput),
            ({"content": "x", "ttl": 0}, InvalidInput),
            ({"content": "x", "metadata": {1: "a"}}, InvalidInput),
            ({"content": "x", "sequence": "first"}, InvalidInput),
            ({"content": "x", "sequence": 10**5_000}, InvalidInput),
            ({"content": "x", "session": 2**63}, InvalidInput),
            ({"content": "x", "importance": 10**5_000}, InvalidInput),
            ({"content": "x", "scope": "private"}, InvalidInput),
            ({"content": "x", "scope": "workflow"}, UnknownScope),
            ({"content": "x", "agent_id": ""}, InvalidInput),
            ({"content": "x", "unknown": 1}, InvalidInput),
        ):
            with pytest.raises(error):
                memory.remember_many(["good one", wrong])
        assert len(memory.list()) == 0
        memory.remember("good one")
        for query in ("", " ", "x" * 1024 * 1024, 5):
            with pytest.raises(InvalidInput):
                memory.recall(query)  # type: ignore[arg-type]
        for limit in (0, -1, 1_001, True, 1.5):
            with pytest.raises(InvalidInput):
                memory.recall("x", limit=limit)  # type: ignore[arg-type]
        for kinds in (5, ["imaginary"], [None]):
            with pytest.raises(InvalidInput):
                memory.recall("x", memory_types=kinds)  # type: ignore[arg-type]
        concepts: tuple[tuple[Any, ...], ...] = (("", "a"), ("a", None), ("a", "b", ["c", None]), ("a", "b", "c"))
        for concept in concepts:
            with pytest.raises(InvalidInput):
                memory.store_semantic_knowledge(*concept)
        with pytest.raises(InvalidInput):
            memory.store_workflow_experience("w", None, success=True, execution_time=1.0, insights="")  # type: ignore[arg-type]
        assert len(memory.list()) == 1
        for call in (memory.get, memory.forget, memory.pin):
            with pytest.raises(InvalidInput):
                call("no id")

    def test_an_embedder_that_fails_stores_nothing(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        memory.remember("the capital")

        def broken(_texts: Sequence[str]) -> list[list[float]]:
            raise OSError("the model is away")

        for function in (broken, lambda texts: letters(texts)[1:], lambda _texts: [[float("nan")] * 26] * 2):
            other = memories_of(manager, embedder=CallableEmbedder(function, name="letters", dimension=26))
            with pytest.raises(EmbedderError, match="'letters'"):
                other.remember_many(["one", "two"])
        assert len(memory.list()) == 1

    def test_models_are_not_mixed(self, memory: VectorMemoryManager, manager: SharedContextManager) -> None:
        memory.remember("the capital")
        other = memories_of(manager, embedder=CallableEmbedder(lambda texts: [[1.0, 2.0] for _ in texts], name="two"))
        with pytest.raises(ModelMismatch, match=r"letters:26.*two:2.*reembed"):
            other.remember("another one")
        with pytest.raises(ModelMismatch, match="reembed"):
            other.remember_many([{"content": "of Ann", "agent_id": ANN}, "another one"])
        with pytest.raises(ModelMismatch, match="reembed"):
            other.recall("the capital")
        assert len(memory.list()) == 1
        assert contents(memory) == {"the capital"}

    def test_rows_without_vectors_wait_for_whoever_recalls(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        items = [remembering.checked(f"the capital {number}") for number in range(3)]
        ids = memory.driver.run(remembering.remember(memory.memory_terms, items, embedded=False))
        assert {each.model for each in memory.list()} == {""}
        assert memory.remember("the capital 0") == ids[0]
        brief = remembering.checked("the capital of a moment", ttl=0.02)
        (brief_id,) = memory.driver.run(remembering.remember(memory.memory_terms, [brief], embedded=False))
        until(lambda: memory.get(brief_id) is None, "it has expired")
        assert memory.driver.run(embedding.embed(memory.memory_terms, ids[:1])) == 1
        other = memories_of(manager, embedder=CallableEmbedder(lambda texts: [[1.0, 2.0] for _ in texts], name="two"))
        with pytest.raises(ModelMismatch, match="wait on"):
            other.driver.run(embedding.embed(other.memory_terms, ids))
        assert contents(memory) == contents(memories_of(manager)) == {f"the capital {number}" for number in range(3)}
        assert {each.model for each in memory.list()} == {"letters:26"}
        assert memory.driver.run(embedding.embed(memory.memory_terms, ids)) == 0
        late = remembering.checked("The Capital 2!")
        closer = memories_of(manager, supersede_above=0.999)
        (late_id,) = closer.driver.run(remembering.remember(closer.memory_terms, [late], embedded=False))
        assert "the capital 2" not in contents(closer) - {"The Capital 2!"}
        assert memory.forget(late_id)

    def test_what_is_not_worth_keeping_is_not_stored(self, manager: SharedContextManager) -> None:
        memory = memories_of(manager, worth_keeping=lambda content, _kind, metadata: len(content) > 5 or bool(metadata))
        assert memory.remember("hi") == ""
        assert memory.remember_many(["hi", "worth it", {"content": "hi", "metadata": {"a": 1}}])[0] == ""
        assert len(memory.list()) == 2

    def test_what_is_an_agents_or_about_a_user_is_erased(
        self, memory: VectorMemoryManager, manager: SharedContextManager
    ) -> None:
        memory.remember("of nobody")
        memory.remember_many([{"content": f"Ann's {number}", "agent_id": ANN} for number in range(70)])
        memory.remember("told by Ann", agent_id=ANN, scope="global")
        memory.remember("of Ann and Eve", agent_id=ANN, user_id="eve")
        memory.remember("of Eve", user_id="eve")
        memory.remember("about Eve", metadata={"user_id": "eve"})
        memory.remember("Bob's", agent_id=BOB)
        reader = memories_of(manager)
        assert len(contents(reader)) == 76
        assert manager.erase(agent_id=ANN).memories == 72
        assert contents(reader) == {"of nobody", "of Eve", "about Eve", "Bob's"}
        assert manager.erase(user_id="eve").memories == 2
        assert contents(reader) == {"of nobody", "Bob's"}
        assert manager.erase(user_id="eve").memories == 0
