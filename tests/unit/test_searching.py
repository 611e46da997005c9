"""What a recall ranks, row by row: filters, signals, and vectors of either kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pytest

from ctxqueue import CallableEmbedder, StaticEmbedder, VectorMemoryManager, Weights
from ctxqueue.errors import ConfigurationError, DimensionMismatch, EmbedderError
from ctxqueue.memories import searching
from ctxqueue.memories.encoding import Encoder
from ctxqueue.memories.postings import Postings
from ctxqueue.memories.static import default_embedder
from ctxqueue.memories.vectors import Pooled, PooledVectors, Tokens
from ctxqueue.memories.words import stems

if TYPE_CHECKING:
    from ctxqueue.effects import Effect

TALK = [
    ("Ann", "What did you do in Lisbon last summer?"),
    ("Bob", "I ate far too many custard tarts."),
    ("Ann", "My bicycle has a new bell."),
    ("Bob", "The weather is dreadful here."),
    ("Ann", "I painted the kitchen yellow."),
]


@pytest.fixture
def memory() -> VectorMemoryManager:
    return VectorMemoryManager()


def told(memory: VectorMemoryManager) -> None:
    memory.remember_many(
        {"content": text, "session": 1, "sequence": place, "speaker": speaker}
        for place, (speaker, text) in enumerate(TALK)
    )


def first(memory: VectorMemoryManager, query: str, **options: Any) -> str:
    return memory.recall(query, limit=1, **options)[0].memory.content


def test_an_answer_is_found_by_the_question_before_it(memory: VectorMemoryManager) -> None:
    told(memory)
    found = memory.recall("What happened in Lisbon?", limit=2, explain=True)
    assert {each.memory.content for each in found} == {TALK[0][1], TALK[1][1]}
    assert found[1].parts["neighbours"] > 0
    assert sorted(each.parts["question"] for each in found) == [-1.0, 0.0]


def test_who_is_named_is_who_is_asked_about(memory: VectorMemoryManager) -> None:
    told(memory)
    found = memory.recall("What does Bob say?", explain=True)
    assert {each.memory.speaker for each in found[:2]} == {"Bob"}
    assert [each.parts["speaker"] for each in found] == [8.0, 8.0, 0.0, 0.0, 0.0]


def test_a_concept_brings_those_that_it_names_as_related(memory: VectorMemoryManager) -> None:
    for number in range(20):
        memory.store_semantic_knowledge(f"Nothing {number}", f"Of no matter, the {number}th")
    memory.store_semantic_knowledge("Sourdough", "Bread raised by wild yeast", ["Hydration", "Autolyse", "Unknown"])
    memory.store_semantic_knowledge("Hydration", "Water by weight of flour", ["Baker's percentage"])
    memory.store_semantic_knowledge("Baker's percentage", "A ratio")
    found = memory.recall("How is bread raised?", limit=3, explain=True)
    assert [each.memory.metadata["concept"] for each in found][:2] == ["Sourdough", "Hydration"]
    assert found[1].parts["relations"] == pytest.approx(0.5 * (found[0].score - found[0].parts["recency"]), rel=0.2)
    quiet = memory.recall("How is bread raised?", where={"concept": "Hydration"}, explain=True)
    assert [each.parts["relations"] for each in quiet] == [0.0]
    private = VectorMemoryManager(weights=Weights(relations=0.0))
    private.store_semantic_knowledge("Sourdough", "Bread", ["Hydration"])
    assert "relations" not in private.recall("Bread", explain=True)[0].parts


def test_the_parts_add_up_to_the_score(memory: VectorMemoryManager) -> None:
    told(memory)
    for each in memory.recall("the kitchen in Lisbon", explain=True):
        parts = dict(each.parts)
        assert parts.pop("similarity") == each.memory.relevance_score
        assert sum(parts.values()) == pytest.approx(each.score)
    assert memory.recall("the kitchen in Lisbon")[0].parts == {}


def test_words_count_by_their_stems_and_stopwords_not_at_all() -> None:
    assert stems("What has been PAINTED by the painters?") == stems("painted painters")
    assert stems("It was the") == []
    assert stems("Ünïcödé 42") == ["ünïcödé", "42"]


def test_importance_tips_the_scales(memory: VectorMemoryManager) -> None:
    memory.remember("the red house on the hill")
    memory.remember("the red house on the dune", importance=1.0)
    memory.remember("quite something else")
    assert first(memory, "red house") == "the red house on the dune"


def test_what_is_used_more_comes_first_among_equals() -> None:
    memory = VectorMemoryManager(weights=Weights(access=1.0))
    memory.remember("alpha one", metadata={"n": 1})
    memory.remember("alpha two", metadata={"n": 2})
    memory.remember("omega")
    for _ in range(3):
        memory.recall("alpha", limit=1, where={"n": 1})
    assert first(memory, "alpha") == "alpha one"


def test_what_is_newer_comes_first_among_equals() -> None:
    memory = VectorMemoryManager(weights=Weights(recency=5.0))
    memory.remember("alpha beta", at="2001-01-01")
    memory.remember("alpha gamma")
    memory.remember("omega")
    assert first(memory, "alpha") == "alpha gamma"


def test_a_small_store_and_a_query_without_known_words(memory: VectorMemoryManager) -> None:
    assert memory.recall("anything") == []
    memory.remember("???")
    assert first(memory, "!!!") == "???"
    assert first(memory, "the") == "???"


@pytest.mark.parametrize("rows", [3, 150, 1_200])
def test_a_set_that_grows_is_pooled_as_if_it_had_been_whole(rows: int) -> None:
    table = np.random.default_rng(1).normal(size=(500, 8)).astype(np.float32)
    vectors = PooledVectors(table)
    tokens = Tokens(table)
    for number in range(rows):
        ids = np.array([number % 500, (number * 7) % 500, 3], dtype=np.uint32)
        vectors.add(ids.tobytes())
        tokens.rows.append(ids)
        if number % 11 == 0:
            vectors.compare(ids.tobytes(), np.arange(number + 1), number + 1, "name")
    slots = np.arange(rows)
    whole = Pooled(tokens).matrix(slots)
    query = np.array([3, 5], dtype=np.uint32).tobytes()
    compared = vectors.compare(query, slots, rows, "name")
    assert compared.best_matches is not None
    assert compared.cosines.shape == (rows,)
    assert np.abs(np.linalg.norm(whole, axis=1) - 1).max() < 1e-5
    matches = compared.best_matches(slots)
    some = compared.best_matches(slots[:2])
    assert matches[:2] == pytest.approx(some, abs=1e-5)


def test_bm25_counts_only_what_is_there() -> None:
    postings = Postings()
    postings.add(0, ["a", "b", "b"])
    postings.add(1, ["a"])
    postings.remove(["a"])
    assert (postings.rows, postings.total, postings.rows_with("a")) == (1, 3, 1)
    scores = postings.scores([("b", 1.0), ("nowhere", 1.0)], 3.0)
    assert scores[1] == 0
    assert scores[0] == pytest.approx(2 * 1.9 / (2 + 0.9))


def test_the_default_embedder_reads_its_wheel_and_nothing_else() -> None:
    embedder = default_embedder()
    assert embedder.embed(["a word"]).shape == (1, 256)
    (ids,) = embedder.tokens(["a word"])
    assert embedder.embed(["a word"])[0] == pytest.approx(embedder.table[ids].mean(axis=0))
    assert not embedder.embed([""]).any()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctxqueue.memories.static.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"ctxqueue\[memory\]"):
        VectorMemoryManager(embedder=StaticEmbedder()).remember("x")


def test_texts_are_embedded_once_while_they_are_kept() -> None:
    asked: list[list[str]] = []

    def function(texts: Any) -> Any:
        asked.append(list(texts))
        return [[float(len(text)), 1.0] for text in texts]

    encoder = Encoder(CallableEmbedder(function, name="f", dimension=2), cached=2)
    encoder.encode(["a", "bb", "a"])
    encoder.encode(["bb", "a"])
    encoder.encode(["ccc"])
    encoder.encode(["bb"])
    assert asked == [["a", "bb"], ["ccc"], ["bb"]]


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        ([[1.0, 2.0, 3.0]], DimensionMismatch),
        ([[1.0, 2.0], [1.0, 2.0]], EmbedderError),
        ([1.0, 2.0], EmbedderError),
        ([[1.0, float("inf")]], EmbedderError),
        ([["a", "b"]], EmbedderError),
        ([[]], EmbedderError),
        (None, EmbedderError),
    ],
)
def test_what_is_no_vector_is_refused(vectors: Any, error: type[Exception]) -> None:
    memory = VectorMemoryManager(embedder=CallableEmbedder(lambda _texts: vectors, name="f", dimension=2))
    with pytest.raises(error):
        memory.remember("x")
    assert len(memory.list()) == 0


@pytest.mark.parametrize("tokens", [[], [[1], [2]], [[4]], [[-1]], [[[1]]], [["a"]], None])
def test_what_are_no_tokens_is_refused(tokens: Any) -> None:
    class Pooling:
        name, dimension = "p", 2
        table = np.ones((4, 2), np.float32)

        def tokens(self, _texts: Any) -> Any:
            return None if tokens is None else [np.array(ids) for ids in tokens]

        def embed(self, texts: Any) -> Any:
            return [[1.0, 1.0] for _ in texts]

    memory = VectorMemoryManager(embedder=Pooling())
    with pytest.raises(EmbedderError):
        memory.remember("x")
    assert len(memory.list()) == 0


def test_what_is_no_embedder_is_refused() -> None:
    for wrong in (5, "all-MiniLM-L6-v2", StaticEmbedder):
        with pytest.raises(ConfigurationError, match="the embedder is a"):
            VectorMemoryManager(embedder=wrong).remember("x")
    with pytest.raises(ConfigurationError, match="supersede_above"):
        VectorMemoryManager(supersede_above=2)


def test_a_weight_of_nothing_takes_its_part_away(memory: VectorMemoryManager) -> None:
    weights = {field.name: 0.0 for field in msgspec.structs.fields(Weights) if field.name != "half_life"}
    only_words = VectorMemoryManager(memory.store, weights=Weights(**{**weights, "words": 1.0}))
    told(memory)
    assert {
        name for each in only_words.recall("bicycle", explain=True) for name, part in each.parts.items() if part
    } <= {
        "words",
        "similarity",
    }


def test_of_many_the_sessions_of_the_best_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = CallableEmbedder(lambda texts: [[float(len(text) % 7), 1.0] for text in texts], name="f", dimension=2)
    memory = VectorMemoryManager(embedder=embedder, weights=Weights(access=0.0, recency=0.0))
    words = ["harbour", "ferry", "gull", "rope", "lamp", "tide", "crab"]
    memory.remember_many(
        {
            "content": f"{words[number % 7]} {words[number % 5]} {number}" + "?" * (number % 3 == 0),
            "session": number // 20,
            "sequence": number % 20,
            "speaker": ("Ann", "Bob", "Cy")[number % 3],
            "importance": (number % 11) / 10,
            "metadata": {"concept": f"c{number}", "related_concepts": [f"c{number - 1_000}"]},
        }
        for number in range(2_200)
    )

    def found() -> list[list[tuple[str, float]]]:
        return [
            [(each.memory.id, round(each.score, 2)) for each in memory.recall(query, limit=10)]
            for query in ("ferry lamp", "What did Bob say of the tide?", "1234", "gull")
        ]

    narrowed = found()
    monkeypatch.setattr(searching, "MANY", 10_000)
    assert narrowed == found()


class Counted:
    """A store that notes what it is asked, a batch as one."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.trips: list[Effect[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def perform(self, effect: Effect[Any]) -> Any:
        self.trips.append(effect)
        return self._store.perform(effect)


def test_the_memories_of_many_are_asked_for_in_few_trips() -> None:
    embedder = CallableEmbedder(lambda texts: [[float(len(text)), 1.0] for text in texts], name="f", dimension=2)
    writer = VectorMemoryManager(embedder=embedder)
    writer.remember_many([{"content": f"the harbour {number}", "user_id": f"user{number}"} for number in range(70)])
    writer.remember_many([{"content": f"{number} " + 8_000 * "x", "user_id": "user1"} for number in range(10)])
    store = Counted(writer.store)
    memory = VectorMemoryManager(cast("Any", store), embedder=embedder)
    assert len(memory.recall("harbour", limit=100)) == 80
    # The list of owners, three trips for what they have, the rest of the one that has much, and one that counts uses.
    assert len(store.trips) == 1 + 3 + 1 + 1
    memory.recall("harbour", user_id="user1")
    store.trips.clear()
    assert len(memory.recall("harbour", limit=5, user_id="user1")) == 5
    assert len(store.trips) == 2
