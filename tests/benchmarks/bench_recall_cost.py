"""What ranking costs beside a bare product of matrix and vector with top-k, the query being embedded already."""

from __future__ import annotations

import random
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ctxqueue import effects as fx
from ctxqueue.flows.memory_terms import Wanted
from ctxqueue.memories.blas import one_thread
from ctxqueue.memories.library import Library
from ctxqueue.memories.static import default_embedder
from ctxqueue.models import ContextScope
from ctxqueue.remembered import Body, Owner, Said, memory_id_of, pack_body
from ctxqueue.rules.remembering import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OWNER = Owner(ContextScope.GLOBAL)
WORDS_A_TEXT = 25
QUERIES = 15
ROUNDS = 5
MOST_AT_100_000 = 1.4


def vocabulary() -> list[str]:
    """Words as common as they are in a language: some of them very, most of them seldom."""
    letters = random.Random(7)  # noqa: S311 - made up texts
    return ["".join(letters.choices("aeioubcdfghlmnprst", k=letters.randint(3, 9))) for _ in range(20_000)]


def filled(rows: int) -> tuple[Library, list[str]]:
    library = Library(default_embedder())
    chosen = random.Random(rows)  # noqa: S311 - made up texts
    words = vocabulary()
    weights = [1 / (rank + 10) for rank in range(len(words))]
    texts = [" ".join(chosen.choices(words, weights, k=WORDS_A_TEXT)) for _ in range(rows)]
    for first in range(0, rows, 5_000):
        saids = [Said(text) for text in texts[first : first + 5_000]]
        packed = library.encode(saids)
        page = []
        for place, (said, vector) in enumerate(zip(saids, packed, strict=True), first + 1):
            body = Body(1, OWNER.name, said, 0.5, library.model, vector)
            page.append(
                fx.StoredMemory(
                    memory_id_of(OWNER, "semantic", said, sensitive=False),
                    "semantic",
                    pack_body(body),
                    place,
                    place,
                    10**15,
                )
            )
        upto = first + len(page)
        library.apply(
            Part(OWNER), fx.MemoryPage("i", first == 0, tuple(page), (), upto, more=False, now_us=10**15), first
        )
    queries = [" ".join(chosen.choices(words, weights, k=8)) for _ in range(QUERIES)]
    for query in queries:
        library.encoder.encode([query])
    library.search([Part(OWNER)], Wanted(queries[0]), 10**15)
    return library, queries


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@pytest.mark.parametrize("rows", [600, 6_000, 100_000])
def test_ranking_beside_a_bare_product(rows: int) -> None:
    library, queries = filled(rows)
    matrix = np.random.default_rng(1).normal(size=(rows, 256)).astype(np.float32)
    vectors = np.random.default_rng(2).normal(size=(QUERIES, 256)).astype(np.float32)

    def bare(vector: NDArray[np.float32]) -> object:
        scores = matrix @ vector
        best = np.argpartition(scores, -5)[-5:]
        return best[np.argsort(-scores[best])]

    ratios = []
    with one_thread():
        for _ in range(ROUNDS):
            for query, vector in zip(queries, vectors, strict=True):
                ours = seconds(lambda query=query: library.search([Part(OWNER)], Wanted(query), 10**15))  # type: ignore[misc]
                theirs = seconds(lambda vector=vector: bare(vector))  # type: ignore[misc]
                ratios.append((ours / theirs, ours, theirs))
    ratio, ours, theirs = (median(column) for column in zip(*ratios, strict=True))
    sys.stdout.write(
        f"\n{rows:7,} rows: {1_000 * ours:6.2f} ms, a bare product {1_000 * theirs:6.2f} ms, ratio {ratio:.2f}\n"
    )
    if rows == 100_000:
        assert ratio <= MOST_AT_100_000
