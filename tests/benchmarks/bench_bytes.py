"""What one of each kind of record takes in the server's memory, by which a deployment is sized."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue import VectorMemoryManager, all_of
from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.benchmarks.contents import SIZE, key, value
from tests.benchmarks.report import Report, Section, durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY = 2_000


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


def test_bytes_of_one_record(report: Report, server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url()) as client:

        def taken(work: Callable[[], object]) -> float:
            before = client.info("memory")["used_memory"]
            work()
            return float((client.info("memory")["used_memory"] - before) / MANY)

        worker = Worker(server.url())
        with worker.manager as manager:
            manager.workflow("warm", agent_id="analyst_001").open()
            fresh = itertools.count()

            def workflows() -> None:
                for _ in range(MANY):
                    manager.workflow(f"empty-{next(fresh)}", agent_id="analyst_001").open()

            wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
            wf.open()

            def entries() -> None:
                for first in range(0, MANY, 200):
                    wf.update({key(number): value(number) for number in range(first, first + 200)})

            def again() -> None:
                for number in range(MANY):
                    wf.put(key(number), value(number + 1))

            def parked() -> None:
                for number in range(MANY):
                    worker.claim_and_park(f"parked-{number}", all_of("never"))

            def ended() -> None:
                for number in range(MANY):
                    worker.finish(worker.claim(f"ended-{number}"), "done", b"x" * 50)

            sizes = {
                "an empty workflow": taken(workflows),
                f"an entry of {SIZE} bytes": taken(entries),
                "one more version of it, in history and log": taken(again),
                "a parked task, beside its message": taken(parked),
                "a run that has ended, until the horizon": taken(ended),
            }
        memory = VectorMemoryManager(server.url())

        def memories() -> None:
            memory.remember_many([{"content": f"fact {number} " + "word " * 18} for number in range(MANY)])

        sizes["a memory of 100 characters, with its vector"] = taken(memories)
        told = {what: f"{size:,.0f} bytes" for what, size in sizes.items()}
        report.add(Section("Memory of one record", {"server": durability(client), **told}, {}))
