"""What one of each kind of record takes in a store, by which a deployment is sized."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis
import sqlalchemy as sa
from msgspec import structs

from ctxqueue import VectorMemoryManager, all_of
from ctxqueue.identity import current_attempt
from ctxqueue.testing import EmbeddedPostgres, EmbeddedServer
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.benchmarks.contents import SIZE, key, value
from tests.benchmarks.report import Report, Section, durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle

MANY = 2_000


class Site(NamedTuple):
    """A store, and how many bytes it takes now."""

    url: str
    size: Callable[[], int]
    told: dict[str, str]


@contextmanager
def on_redis(_folder: Path) -> Iterator[Site]:
    with EmbeddedServer() as server, redis.Redis.from_url(server.url()) as client:
        told = {"server": durability(client)}
        yield Site(server.url(), lambda: int(client.info("memory")["used_memory"]), told)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Site]:
    url = f"sqlite:///{folder}/bytes.db"
    with _without_transactions(url) as connection:

        def size() -> int:
            connection.execute(sa.text("VACUUM"))
            pages, page = (connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
            return int(pages or 0) * int(page or 0)

        yield Site(url, size, {"server": "SQLite, after VACUUM"})


@contextmanager
def on_postgres(_folder: Path) -> Iterator[Site]:
    with EmbeddedPostgres() as server:
        url = server.url()
        with _without_transactions(url.replace("postgresql:", "postgresql+psycopg:")) as connection:

            def size() -> int:
                connection.execute(sa.text("VACUUM FULL"))
                return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)

            yield Site(url, size, {"server": "PostgreSQL, after VACUUM FULL"})


@contextmanager
def _without_transactions(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _id() -> str:
    """Return one as long as those of tasks and runs."""
    return str(uuid.uuid4())


def _handle(worker: Worker, name: str = WORKFLOW) -> WorkflowHandle:
    return worker.manager.workflow(name, agent_id="analyst_001")


def empty_workflows(worker: Worker) -> None:
    for number in range(MANY):
        _handle(worker, f"empty-{number}").open()


def entries(worker: Worker) -> None:
    wf = _handle(worker)
    for first in range(0, MANY, 200):
        wf.update({key(number): value(number) for number in range(first, first + 200)})


def second_versions(worker: Worker) -> None:
    wf = _handle(worker)
    for number in range(MANY):
        wf.put(key(number), value(number + 1))


def log_records(worker: Worker) -> None:
    wf = _handle(worker, "logged")
    wf.put("logged", 0)
    for _ in range(MANY):
        wf.put("logged", 0)


def parked_tasks(worker: Worker) -> None:
    needs = all_of("never")
    for _ in range(MANY):
        worker.park(worker.claim(_id(), needs=needs, task_id=_id()), needs)


def ended_runs(worker: Worker) -> None:
    for _ in range(MANY):
        worker.finish(worker.claim(_id(), task_id=_id()), "done", b"x" * 50)


def journaled_calls(worker: Worker) -> None:
    """Make ten calls a run, as a task's body does, that write an entry each that stands there already."""
    wf = _handle(worker, "logged")
    wf.put("logged", 0)
    for _ in range(MANY // 10):
        answer = worker.claim(_id(), workflow_id="logged", task_id=_id())
        token = current_attempt.set(answer.attempt)
        for _ in range(10):
            wf.put("logged", 0)
        current_attempt.reset(token)
        worker.finish(answer, "done", b"x" * 50)


def memories(worker: Worker) -> None:
    texts = [f"fact {number} " + "word " * 18 for number in range(MANY)]
    VectorMemoryManager(worker.manager).remember_many([{"content": text} for text in texts])


KINDS: dict[str, tuple[Callable[[Worker], None], dict[str, Any]]] = {
    "an empty workflow": (empty_workflows, {}),
    f"an entry of {SIZE} bytes": (entries, {}),
    "one more version of it, in history and log": (second_versions, {}),
    "a log record": (log_records, {"history": 0}),
    "a parked task, beside its message": (parked_tasks, {}),
    "a run that has ended, until the horizon": (ended_runs, {}),
    "a call of such a run, a tenth of the run and a log record": (journaled_calls, {"history": 0}),
    "a memory of 100 characters, with its vector": (memories, {}),
}


@pytest.mark.parametrize("on", [on_redis, on_sqlite, on_postgres], ids=["redis", "sqlite", "postgres"])
def test_bytes_of_one_record(report: Report, tmp_path: Path, on: Callable[[Path], Any]) -> None:
    with on(tmp_path) as (url, size, told):
        for what, (store, settings) in KINDS.items():
            worker = Worker(url)
            terms = worker.manager.terms
            worker.manager.terms = replace(
                terms, settings=structs.replace(terms.settings, log_limit=10 * MANY, **settings)
            )
            with worker.manager:
                for name in (WORKFLOW, "logged"):
                    _handle(worker, name).open()
                before = size()
                store(worker)
                told[what] = f"{(size() - before) / MANY:,.0f} bytes"
        report.add(Section("Size of one record", told, {}))
