"""Memories by pgvector's index: the contract of memories on it, what it finds beside all, and where it may not be."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ctxqueue import AsyncVectorMemoryManager, CallableEmbedder, VectorMemoryManager, connect
from ctxqueue import effects as fx
from ctxqueue.errors import ConfigurationError, InvalidInput
from ctxqueue.flows import nearing, remembering
from ctxqueue.keyring import Keyring, new_key
from ctxqueue.memories.managing import MemoryBase
from ctxqueue.stores.sql import index_vectors, migrate, nearest
from ctxqueue.stores.sql.nearest import table_of
from ctxqueue.testing.contract.memories import Memories, letters
from tests.tables import emptied, objections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.testing import EmbeddedPostgres

LETTERS = "letters:26"
DEFAULT = "wordllama-l2-supercat:256"
LACKING = "the server's PostgreSQL has no extension vector; ./dev setup brings one that has"


@pytest.fixture(scope="module")
def indexed(postgres_server: EmbeddedPostgres) -> str:
    """The URL of a database with indexes for two models."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
            pytest.skip(LACKING)
        connection.execute("CREATE DATABASE vectors")
    url = postgres_server.url("vectors")
    migrate(url)
    for model in (LETTERS, DEFAULT):
        assert index_vectors(url, model) == ""
    return url


@pytest.fixture
def url(indexed: str) -> Iterator[str]:
    emptied(indexed)
    yield indexed
    assert objections(indexed) == []


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all but a handful of rows be too many to be read whole."""
    monkeypatch.setattr(nearing, "FEW", 5)


@pytest.mark.matrix
class TestMemoriesByIndex(Memories):
    """As everywhere, but for an index of however few memories there are."""

    @pytest.fixture
    def url(self, url: str) -> str:
        return url

    @pytest.fixture(autouse=True, params=["all that pass", "the nearest"])
    def from_the_first_one_on(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        set_as_given: Any = MemoryBase._set  # noqa: SLF001 - the contract makes its managers itself

        def made(self: MemoryBase, *arguments: Any) -> Any:
            return set_as_given(self, *arguments[:-1], 0)

        monkeypatch.setattr(MemoryBase, "_set", made)
        if request.param == "the nearest":
            monkeypatch.setattr(nearing, "FEW", 3)


def rows_of(url: str, model: str = DEFAULT) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table_of(model)}").fetchone()  # noqa: S608
        assert row is not None
        return int(row[0])


def talk(rows: int) -> list[dict[str, Any]]:
    things = ["kitchen", "garden", "bicycle", "violin", "harbour", "oven", "library", "mountain"]
    return [
        {
            "content": f"{things[n % 8]} number {n} stands beside the {things[n // 8 % 8]}",
            "metadata": {"even": n % 2 == 0, "share": n / 4, "n": n},
            "session": f"s{n // 40}",
            "sequence": n,
            "speaker": ("Ann", "Bob")[n % 2],
            "at": f"2024-01-{1 + n % 28:02}",
        }
        for n in range(rows)
    ]


QUERIES = ["the kitchen beside the harbour", "violin number 44", "what does Ann say of the oven?", "nothing known"]


def test_all_that_pass_are_ranked_as_everywhere(url: str) -> None:
    options: list[dict[str, Any]] = [
        {"limit": 8},
        {"where": {"even": True}},
        {"where": {"even": 1, "share": 11}},
        {"where": {"tags": ["a list is compared here"]}},
        {"since": "2024-01-05", "until": "2024-01-09", "agent_id": "reader_1"},
        {"memory_types": ["episodic"]},
        {"min_score": 0.4},
    ]
    with VectorMemoryManager("memory://") as everywhere, VectorMemoryManager(url, index_from=0) as memory:
        for each in (everywhere, memory):
            each.remember_many(talk(80))
        for query in QUERIES[::2]:
            for kept in options:
                ours, theirs = (
                    [
                        (found.memory.content, pytest.approx(found.score - found.parts.get("recency", 0), abs=1e-3))
                        for found in each.recall(query, explain=True, **kept)
                    ]
                    for each in (memory, everywhere)
                )
                assert ours == theirs, (query, kept)
    assert rows_of(url) == 80


@pytest.mark.usefixtures("few")
def test_the_nearest_of_many_are_those_of_all(url: str) -> None:
    with VectorMemoryManager(url) as everything, VectorMemoryManager(url, index_from=0) as memory:
        memory.remember_many(talk(120))
        same = 0
        filters: list[dict[str, Any]] = [{}, {"where": {"even": True}}]
        for query in QUERIES[:3]:
            for options in filters:
                ours, theirs = (
                    {found.memory.id for found in each.recall(query, limit=10, **options)}
                    for each in (memory, everything)
                )
                same += len(ours & theirs)
        assert same >= 54  # of 60


@pytest.mark.usefixtures("few")
def test_who_may_see_what_and_filters_come_before_the_nearest(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearing, "MOST", 10)
    with VectorMemoryManager(url, index_from=0) as memory:
        memory.remember_many({"content": f"the capital of region {n}", "agent_id": "ann_1"} for n in range(60))
        memory.remember_many({"content": f"the capital of country {n}", "metadata": {"n": n}} for n in range(60))
        memory.remember_many({"content": f"a river called {n}", "metadata": {"rare": n % 20 == 0}} for n in range(60))
        assert rows_of(url) == 0
        for _ in range(2):
            found = memory.recall("the capital of a region", limit=60, agent_id="bob_1")
            assert not any("region" in each.memory.content for each in found)
            assert len(found) >= 10
            rare = memory.recall("the capital of a region", limit=60, agent_id="bob_1", where={"rare": True})
            assert {each.memory.content for each in rare} == {f"a river called {n}" for n in (0, 20, 40)}
        assert rows_of(url) == 120  # nobody has asked for Ann's


def test_the_index_follows_what_is_removed_superseded_and_changed(url: str) -> None:
    with VectorMemoryManager(url, index_from=0) as memory:
        ids = memory.remember_many(["the first capital", "the second capital", "the third capital", "a river"])
        assert len(memory.recall("capital")) == 4
        memory.forget(ids[0])
        assert rows_of(url) == 3
        memory.supersede(ids[1], ids[2])
        memory.practise_skill("find capitals", success=True)
        memory.practise_skill("find capitals", success=False, steps=["ask the atlas"])
        found = {each.memory.content for each in memory.recall("capital atlas")}
        assert len(found) == 3
        assert any("atlas" in content for content in found)
        with connect(url) as manager:
            memory.remember("Eve's capital", user_id="eve")
            assert len(memory.recall("capital", user_id="eve", limit=10)) == 4
            assert rows_of(url) == 5
            assert manager.erase(user_id="eve").memories == 1
        assert rows_of(url) == 4


def test_a_memory_stored_without_its_vector_gets_it_before_it_is_asked_for(url: str) -> None:
    with VectorMemoryManager(url, index_from=0) as memory:
        memory.remember("the capital of France")
        assert len(memory.recall("capital")) == 1
        item = remembering.checked("the capital of Spain")
        memory.driver.run(remembering.remember(memory.memory_terms, [item], embedded=False))
        assert len(memory.recall("capital")) == 2


def test_another_model_is_searched_in_the_process_unless_it_has_an_index(url: str) -> None:
    with VectorMemoryManager(url, index_from=0) as memory:
        memory.remember_many(["the capital of France", "a river"])
        assert len(memory.recall("capital")) == 2
        memory.reembed(CallableEmbedder(letters, name="unknown to the database"))
        assert memory.recall("capital")[0].memory.content == "the capital of France"
        memory.reembed(CallableEmbedder(letters, name="letters"))
        assert memory.recall("capital")[0].memory.content == "the capital of France"
    assert (rows_of(url), rows_of(url, LETTERS)) == (2, 2)


def test_what_a_recall_would_wait_for_is_entered_in_the_background(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearing, "MOST_BEHIND", 10)
    with VectorMemoryManager(url, index_from=20) as memory:
        memory.remember_many({"content": f"of few {n}", "agent_id": "ann_1"} for n in range(20))
        memory.remember_many(f"the capital of country {n}" for n in range(130))
        assert memory.recall("country 7")[0].memory.content == "the capital of country 7"
        assert rows_of(url) == 10
        assert memory.refresh_index(limit=50) == 50
        assert memory.refresh_index() == 70
        assert memory.refresh_index() == 0
        assert rows_of(url) == 130
        with VectorMemoryManager(url, index_from=20) as reader:
            assert reader.recall("country 7", agent_id="bob_1")[0].memory.content == "the capital of country 7"
            library: Any = reader.memory_terms.library()
            assert library._shelves == {}  # noqa: SLF001 - it has read no more than it was asked for
        for wrong in (0, True, "x"):
            with pytest.raises(InvalidInput):
                memory.refresh_index(limit=wrong)  # type: ignore[arg-type]

        async def main() -> int:
            async with AsyncVectorMemoryManager(url, index_from=20) as twin:
                await twin.remember("the capital of the twins")
                entered = await twin.refresh_index()
                assert (await twin.recall("twins"))[0].memory.content == "the capital of the twins"
                return entered

        assert asyncio.run(main()) == 1
    for number in (-1, True, 1.5):
        with pytest.raises(ConfigurationError):
            VectorMemoryManager(url, index_from=number)  # type: ignore[arg-type]


def test_many_who_enter_and_remove_at_once_leave_each_row_once(url: str) -> None:
    embedder = CallableEmbedder(letters, name="letters")
    managers = [VectorMemoryManager(url, index_from=0, embedder=embedder) for _ in range(4)]
    ids = managers[0].remember_many(f"the capital of country {n}" for n in range(150))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            if number == 0:
                for memory_id in ids[::3]:
                    managers[0].forget(memory_id)
            else:
                managers[number].refresh_index()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    managers[1].refresh_index()
    assert rows_of(url, LETTERS) == 100
    assert len(managers[2].recall("the capital", limit=1_000)) == 100
    for manager in managers:
        manager.close()


def test_rows_of_memories_that_are_gone_are_not_written(url: str) -> None:
    with VectorMemoryManager(url, index_from=0) as memory:
        memory_id = memory.remember("the capital")
        owner = memory_id.partition("-")[0]
        row = fx.IndexedMemory(memory_id, 1, 0, (), (), None, None, b"")
        gone = fx.IndexedMemory(memory_id[:-1] + "x", 1, 0, (), (), None, None, b"")
        memory.store.perform(fx.IndexMemories(owner, DEFAULT, (row, gone)))
    assert rows_of(url) == 1


def test_with_a_keyring_no_vector_is_written(url: str) -> None:
    with connect(url, keyring=Keyring({"k1": new_key()})) as manager:
        memory = VectorMemoryManager(manager, index_from=0)
        memory.remember("the capital of France")
        assert len(memory.recall("capital")) == 1
        assert memory.refresh_index() == 0
    assert rows_of(url) == 0


def test_an_extension_that_is_too_old_is_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "LEAST_VERSION", (99, 0))
    assert "ALTER EXTENSION" in index_vectors(url, "another:3")
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT to_regclass(%s)", [table_of("another:3")]).fetchone()
        assert row == (None,)


def test_where_it_may_not_be_made_memories_are_searched_in_the_process(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    assert index_vectors(f"sqlite:///{tmp_path}/any.db", LETTERS) == "pgvector is an extension of PostgreSQL"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE modest LOGIN")
        connection.execute("CREATE DATABASE modest OWNER modest")
    url = postgres_server.url("modest", user="modest")
    migrate(url)
    with VectorMemoryManager(url, index_from=0) as memory:
        memory.remember("the capital of France")
        assert len(memory.recall("capital")) == 1
        assert memory.refresh_index() == 0
        with psycopg.connect(url) as connection:
            tables = connection.execute("SELECT 1 FROM pg_tables WHERE tablename LIKE 'ctxqueue_vectors%'").fetchall()
            extensions = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall()
        assert tables == extensions == []  # nothing but ctx migrate makes them
        assert "more" in index_vectors(url, "huge:5000")
        reason = index_vectors(url, LETTERS)
        assert reason == "" or "vector" in reason
        assert len(memory.recall("capital")) == 1
