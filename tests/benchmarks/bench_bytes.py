"""What one of each kind of record takes in the server's memory, by which a deployment is sized."""

from __future__ import annotations

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


def empty_workflows(worker: Worker) -> None:
    for number in range(MANY):
        worker.manager.workflow(f"empty-{number}", agent_id="analyst_001").open()


def entries(worker: Worker) -> None:
    wf = worker.manager.workflow(WORKFLOW, agent_id="analyst_001")
    for first in range(0, MANY, 200):
        wf.update({key(number): value(number) for number in range(first, first + 200)})


def second_versions(worker: Worker) -> None:
    wf = worker.manager.workflow(WORKFLOW, agent_id="analyst_001")
    for number in range(MANY):
        wf.put(key(number), value(number + 1))


def parked_tasks(worker: Worker) -> None:
    for number in range(MANY):
        worker.claim_and_park(f"parked-{number}", all_of("never"))


def ended_runs(worker: Worker) -> None:
    for number in range(MANY):
        worker.finish(worker.claim(f"ended-{number}"), "done", b"x" * 50)


def memories(worker: Worker) -> None:
    texts = [f"fact {number} " + "word " * 18 for number in range(MANY)]
    VectorMemoryManager(worker.manager).remember_many([{"content": text} for text in texts])


KINDS: dict[str, Callable[[Worker], None]] = {
    "an empty workflow": empty_workflows,
    f"an entry of {SIZE} bytes": entries,
    "one more version of it, in history and log": second_versions,
    "a parked task, beside its message": parked_tasks,
    "a run that has ended, until the horizon": ended_runs,
    "a memory of 100 characters, with its vector": memories,
}


def test_bytes_of_one_record(report: Report, server: EmbeddedServer) -> None:
    worker = Worker(server.url())
    with redis.Redis.from_url(server.url()) as client, worker.manager as manager:
        manager.workflow(WORKFLOW, agent_id="analyst_001").open()
        told = {"server": durability(client)}
        for what, store in KINDS.items():
            before = client.info("memory")["used_memory"]
            store(worker)
            told[what] = f"{(client.info('memory')['used_memory'] - before) / MANY:,.0f} bytes"
        report.add(Section("Memory of one record", told, {}))
