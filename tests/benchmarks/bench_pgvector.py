"""100,000 memories of one owner in PostgreSQL: what pgvector's index finds and costs beside a search of all of them.

Texts are of made-up topics, words as common as in a language. Queries are a few words of a topic.
"""

from __future__ import annotations

import random
import sys
import time
from statistics import mean, median
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from ctxqueue import VectorMemoryManager
from ctxqueue.memories.managing import INDEX_FROM
from ctxqueue.stores.sql import index_vectors, migrate
from ctxqueue.stores.sql.nearest import table_of
from ctxqueue.testing import EmbeddedPostgres
from tests.benchmarks.bench_recall_cost import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, TOPICS, QUERIES = INDEX_FROM, 1_000, 40
MODEL = "wordllama-l2-supercat:256"
LEAST_OF_NEAREST, LEAST_OF_RESULTS = 0.9, 0.9


def texts() -> tuple[Iterator[str], list[str]]:
    chosen = random.Random(11)  # noqa: S311 - made up texts
    words = vocabulary()
    common = [1 / (rank + 10) for rank in range(len(words))]
    topics = [chosen.choices(words, k=40) for _ in range(TOPICS)]

    def text() -> str:
        return " ".join([*chosen.choices(chosen.choice(topics), k=12), *chosen.choices(words, common, k=13)])

    queries = [
        " ".join([*chosen.choices(chosen.choice(topics), k=4), *chosen.choices(words, common, k=3)])
        for _ in range(QUERIES)
    ]
    return (text() for _ in range(ROWS)), queries


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_an_index_of_100_000_finds_what_a_search_of_all_finds() -> None:
    with EmbeddedPostgres(config={"maintenance_work_mem": "256MB", "shared_buffers": "512MB"}) as server:
        url = server.url()
        migrate(url)
        assert index_vectors(url, MODEL) == ""
        made, queries = texts()
        everything = VectorMemoryManager(url, index_from=10 * ROWS)
        by_index = VectorMemoryManager(url, index_from=ROWS // 2)
        begun = time.perf_counter()
        everything.remember_many({"content": text, "metadata": {"n": n % 50}} for n, text in enumerate(made))
        stored = time.perf_counter() - begun
        begun = time.perf_counter()
        with psycopg.connect(url, autocommit=True) as connection:
            # For so many at once an index is faster made than filled.
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(f"{table_of(MODEL)}_hnsw")))
            assert by_index.refresh_index(limit=ROWS) == ROWS
            assert index_vectors(url, MODEL) == ""
            connection.execute("ANALYZE")
        entered = time.perf_counter() - begun
        first = {}
        for name, memory in (("all", everything), ("index", by_index)):
            begun = time.perf_counter()
            memory.recall(queries[0], limit=10)
            first[name] = time.perf_counter() - begun
        seconds: dict[str, list[float]] = {"all": [], "index": []}
        shared: dict[int, list[float]] = {5: [], 10: []}
        filtered = []
        for query in queries:
            found = {}
            for name, memory in (("all", everything), ("index", by_index)):
                begun = time.perf_counter()
                found[name] = [each.memory.id for each in memory.recall(query, limit=10)]
                seconds[name].append(time.perf_counter() - begun)
            for depth, shares in shared.items():
                shares.append(len({*found["all"][:depth]} & {*found["index"][:depth]}) / depth)
            few = [memory.recall(query, limit=10, where={"n": 7}) for memory in (everything, by_index)]
            assert all(each.memory.metadata["n"] == 7 for each in few[1])
            filtered.append(len({each.memory.id for each in few[0]} & {each.memory.id for each in few[1]}) / 10)
        nearest = of_the_nearest(url)
        with psycopg.connect(url) as connection:
            scans = connection.execute(
                "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s", [f"{table_of(MODEL)}_hnsw"]
            ).fetchone()
        sys.stdout.write(
            f"\n{ROWS:,} rows stored in {stored:.0f} s, entered in the index in {entered:.0f} s; the first recall"
            f" takes {first['all']:.1f} s by all, {first['index']:.2f} s by the index; later ones"
            f" {median(seconds['all']):.3f} and {median(seconds['index']):.3f} s\n"
            f"of the 100 nearest HNSW finds {nearest:.3f}; of the results of all recalls by it have"
            f" {mean(shared[5]):.3f} at 5, {mean(shared[10]):.3f} at 10, with a filter on one in 50"
            f" {mean(filtered):.3f}\n"
        )
        assert scans is not None
        assert scans[0] >= QUERIES
        assert nearest >= LEAST_OF_NEAREST
        assert mean(shared[10]) >= LEAST_OF_RESULTS
        assert mean(filtered) >= LEAST_OF_RESULTS
        everything.close()
        by_index.close()


def of_the_nearest(url: str) -> float:
    """The share of the exact 100 nearest that the index finds among as many as a recall asks it for."""
    name = sql.Identifier(table_of(MODEL))
    some = sql.SQL("SELECT embedding FROM {} ORDER BY memory_id LIMIT 20").format(name)
    near = sql.SQL("SELECT memory_id FROM {} ORDER BY embedding <=> %s LIMIT 300").format(name)
    shares = []
    with psycopg.connect(url) as connection:
        connection.execute("SET hnsw.ef_search = 300")
        for (vector,) in connection.execute(some).fetchall():
            found = []
            for scanning in ("on", "off"):
                connection.execute(sql.SQL("SET enable_indexscan = {}").format(scanning))
                found.append([bytes(row[0]) for row in connection.execute(near, [vector]).fetchall()])
            shares.append(len({*found[0]} & {*found[1][:100]}) / 100)
    return mean(shares)
