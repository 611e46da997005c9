"""LangGraph's PostgresStore, get and put, beside our update with an expected version, which it has nothing like."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis

from ctxqueue import Put, connect
from ctxqueue.stores.sql import migrate
from ctxqueue.testing import EmbeddedPostgres, EmbeddedServer
from tests.benchmarks.contents import filled, key, value
from tests.benchmarks.interleaved import measure, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import WorkflowHandle

TITLE = "LangGraph's PostgresStore"
ROUNDS = 300
ENTRIES = 100
AOF = {"on": "everysec", "off": ""}
"""PostgreSQL's fsync, and beside it Redis's appendfsync; without the one, the other keeps nothing on disk."""


@pytest.fixture
def postgres_store(report: Report) -> Any:
    try:
        from langgraph.store.postgres import PostgresStore  # noqa: PLC0415 - it may not be there
    except ImportError as error:
        why = f"{error}: pip install --group bench"
        report.skip(TITLE, why)
        pytest.skip(why)
    return PostgresStore


def updating(wf: WorkflowHandle) -> Callable[[], object]:
    """Updates that go by the version read last, as a writer that must not lose another one's change does."""
    entry = wf.get(key(1))
    assert entry is not None
    versions = [entry.version]
    numbers = itertools.count()

    def update() -> None:
        result = wf.update({key(1): Put(value(next(numbers)), expected_version=versions[0])})
        versions[0] = result.versions[key(1)]

    return update


def getting_and_putting(store: Any) -> Callable[[], object]:
    numbers = itertools.count()
    for number in range(ENTRIES):
        store.put(("w", "context"), key(number), value(number))

    def get_and_put() -> None:
        held = store.get(("w", "context"), key(1))
        store.put(("w", "context"), key(1), {**held.value, **value(next(numbers))})

    return get_and_put


def settings(postgres: EmbeddedPostgres) -> str:
    with psycopg.connect(postgres.url()) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("server_version", "fsync", "synchronous_commit")
        }
    return ", ".join(f"{name} {row[0]}" for name, row in shown.items() if row)


@pytest.mark.parametrize("fsync", AOF)
def test_langgraph(postgres_store: Any, report: Report, fsync: str) -> None:
    theirs, in_redis, in_postgres = (
        "LangGraph PostgresStore: get + put",
        "ctxqueue on Redis: update with expected_version",
        "ctxqueue on PostgreSQL: update with expected_version",
    )
    with (
        EmbeddedPostgres(config={"fsync": fsync, "full_page_writes": fsync}) as postgres,
        EmbeddedServer(appendonly=bool(AOF[fsync])) as server,
        redis.Redis.from_url(server.url()) as client,
        postgres_store.from_conn_string(postgres.url()) as store,
    ):
        store.setup()
        migrate(postgres.url())
        with (
            connect(server.url()) as on_redis,
            connect(postgres.url()) as on_postgres,
            pinned_apart(server.pid) as pinned,
        ):
            timings = measure(
                {
                    theirs: getting_and_putting(store),
                    in_redis: updating(filled(on_redis, ENTRIES)),
                    in_postgres: updating(filled(on_postgres, ENTRIES)),
                },
                rounds=ROUNDS,
                warm_up=20,
            )
        kept = durability(client)
        found = {
            "servers": f"{kept}; PostgreSQL {settings(postgres)}",
            "clients": "TCP; redis-py, RESP2 with hiredis; psycopg, one connection each",
            "entries": f"{ENTRIES} of 200 bytes of value; history and journal on",
            "pinning": f"{pinned}, PostgreSQL not pinned",
            "rounds": f"{ROUNDS}, interleaved",
        }
    get_and_put = timings[theirs].median
    report.add(
        Section(
            f"{TITLE}, fsync {fsync}",
            found,
            timings,
            (
                Line(
                    f"PostgresStore get + put / our update with expected version on Redis (fsync {fsync} / {kept})",
                    get_and_put / timings[in_redis].median,
                    2.0,
                    at_least=True,
                ),
                Line(
                    f"the same / on PostgreSQL (fsync {fsync} in both)",
                    get_and_put / timings[in_postgres].median,
                    0.6,
                    at_least=True,
                ),
            ),
            in_redis,
        )
    )
