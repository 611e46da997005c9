"""Sixteen processes that remember the same facts leave one of each, and a lost reply is no second use or change."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ctxqueue import CallableEmbedder, VectorMemoryManager
from ctxqueue.stores.redis import scripts

if TYPE_CHECKING:
    from ctxqueue.testing import FaultProxy

PROCESSES, FACTS = 16, 1_000

WRITER = """
import random, sys
from ctxqueue import CallableEmbedder, VectorMemoryManager
facts = [f"fact number {number}" for number in range(int(sys.argv[2]))]
random.Random(int(sys.argv[3])).shuffle(facts)
embedder = CallableEmbedder(lambda texts: [[float(len(text)), 1.0] for text in texts], name="lengths", dimension=2)
with VectorMemoryManager(sys.argv[1], embedder=embedder) as memory:
    for first in range(0, len(facts), 25):
        memory.remember_many(facts[first:first + 25])
"""


def manager(url: str) -> VectorMemoryManager:
    embedder = CallableEmbedder(lambda texts: [[float(len(text)), 1.0] for text in texts], name="lengths", dimension=2)
    return VectorMemoryManager(url, embedder=embedder)


@pytest.mark.parametrize(
    "store",
    [
        "redis_url",
        *(pytest.param(url, marks=pytest.mark.long) for url in ("cluster_url", "sqlite_url", "postgres_url")),
    ],
)
def test_processes_that_remember_the_same_facts_leave_one_of_each(store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(store)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(FACTS), str(number)]) for number in range(PROCESSES)
    ]
    assert [writer.wait(200) for writer in writers] == [0] * PROCESSES
    with manager(url) as memory:
        assert len(memory.list(limit=1_000)) == FACTS
        assert memory.list(limit=1_000).next_cursor is None


def test_a_lost_reply_is_no_second_use_and_no_second_change(proxy: FaultProxy) -> None:
    with manager(proxy.url) as memory:
        memory_id = memory.remember("a fact", importance=0.0)
        for _ in range(4):
            proxy.lose_replies(matching=scripts.AMEND_MEMORY.sha.encode())
            memory.reinforce(memory_id, 0.1)
            proxy.lose_replies(matching=scripts.TOUCH_MEMORIES.sha.encode())
            memory.recall("a fact")
            proxy.lose_replies(matching=scripts.STORE_MEMORIES.sha.encode())
            assert memory.remember("a fact") == memory_id
        found = memory.get(memory_id)
        assert found is not None
        assert found.importance == pytest.approx(0.4)
        assert found.access_count == 4
        assert proxy.lost == 12
