"""Databases that are away, refuse, take no writes, start anew, or lose a reply: typed errors, and no update twice."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import StatementError

import ctxqueue
from ctxqueue import connect
from ctxqueue import effects as fx
from ctxqueue.errors import StoreAuthError, StoreReadOnly, StoreUnavailable
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.stores.sql import connecting, errors
from ctxqueue.stores.sql.state import SqlState
from ctxqueue.stores.sql.writing import Statements
from ctxqueue.testing import EmbeddedPostgres
from ctxqueue.testing.contract.base import WORKFLOW, until
from ctxqueue.testing.contract.clerks import Clerk
from tests.faults.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "a-very-long-password"
WRITTEN, ENDED = b"SELECT 1\0", b"COMMIT\0"
"""How PostgreSQL says that a commit in one statement, or a transaction, is done."""


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as server:
        yield server


def said(error: BaseException) -> str:
    """All that a traceback would say of it."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "\n".join(texts)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/db") as caught:
        connect(f"postgresql://user:{PASSWORD}@127.0.0.1:1/db")
    assert PASSWORD not in said(caught.value)
    assert not caught.value.answered


def test_a_server_that_is_not_there_for_an_event_loop() -> None:
    async def main() -> None:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/db"):
            await ctxqueue.aconnect("postgresql://user@127.0.0.1:1/db")

    asyncio.run(main())


def test_a_wrong_password(postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE secret LOGIN PASSWORD 'another'")
    try:
        with pytest.raises(StoreAuthError, match="password") as caught:
            connect(postgres_server.url("test0", user="secret", password=PASSWORD))
        assert PASSWORD not in said(caught.value)
    finally:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute("DROP ROLE secret")


def test_a_database_that_is_not_there(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(StoreUnavailable, match="no-such"):
        connect(postgres_server.url("no-such"))


def test_a_database_that_takes_no_writes(postgres_url: str) -> None:
    with connect(postgres_url) as manager:
        manager.workflow("w").open()
    with connect(f"{postgres_url}?options=-c%20default_transaction_read_only%3Don") as manager:
        assert dict(manager.workflow("w").view()) == {}
        with pytest.raises(StoreReadOnly, match="takes no writes"):
            manager.workflow("w").put("k", 1)


def test_a_file_that_takes_no_writes(sqlite_url: str) -> None:
    with connect(sqlite_url) as manager:
        manager.workflow("w").open()
    path = sqlite_url.removeprefix("sqlite:///")
    with connect(f"sqlite:///file:{path}?mode=ro&uri=true") as manager, pytest.raises(StoreReadOnly):
        manager.workflow("w").put("k", 1)


def test_a_disk_that_is_full(sqlite_url: str) -> None:
    def bounded(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 10}")

    event.listen(Engine, "connect", bounded)
    try:
        with connect(sqlite_url) as manager:
            wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
            wf.open()
            wf.put("small", 1)
            with pytest.raises(StoreReadOnly, match="full"):
                wf.update({"large": "x" * 100_000, "small": 5}, merge_strategy="replace")
            assert (dict(wf.view()), wf.changes().items[-1].revision) == ({"small": 1}, 1)
            wf.update({"small": 1}, merge_strategy="increment")
            assert wf["small"] == 2
    finally:
        event.remove(Engine, "connect", bounded)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="directory"):
        connect(f"sqlite:///{tmp_path}/none/context.db")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "context.db"
    path.write_bytes(b"something else" * 1_000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        connect(f"sqlite:///{path}")
    assert path.read_bytes() == b"something else" * 1_000


def test_a_file_that_another_program_holds(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "PATIENCE", 0.1)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    with connect(f"{sqlite_url}?timeout=0.05") as manager:
        handle = manager.workflow("w")
        handle.open()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="busy"):
            handle.put("k", 1)
        assert handle.get("k") is None  # who only looks need not wait
        other.execute("ROLLBACK")
        assert handle.put("k", 1).version == 1
    other.close()


@contextmanager
def held(url: str) -> Iterator[None]:
    """Have a transaction of somebody's hold the workflow."""
    engine = connecting.blocking_engine(connecting.checked_url(url))
    with engine.connect() as writer:
        SqlState(writer, "default", Statements(writer.dialect.name)).hold(WORKFLOW)
        yield
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_who_looks_after_updates_waits_for_no_writer(kind: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    clerk = Clerk(url)
    with clerk.manager as manager:
        manager.workflow(WORKFLOW).open()
        update = clerk.queued({"k": 1}, operation="o")

        async def looks() -> None:
            async with ctxqueue.aconnect(url) as awaited:
                with held(url):
                    assert await ctxqueue.AsyncPendingUpdate(awaited.driver, update.id).state == "PENDING"
                    assert len(await awaited.dead_letters(WORKFLOW)) == 0

        asyncio.run(looks())
        with held(url):
            assert update.state == "PENDING"
            assert len(manager.dead_letters(WORKFLOW)) == 0
        assert clerk.drain().applied == 1


def test_a_server_that_starts_anew_between_two_calls(server: EmbeddedPostgres) -> None:
    with connect(server.url()) as manager:
        handle = manager.workflow("w", agent_id="analyst_001")
        handle.open()
        for number in range(3):
            handle.update({"list": [number]}, merge_strategy="append")
            server.restart()
        assert handle["list"] == [0, 1, 2]


def test_a_crash_of_the_server_loses_nothing_that_it_acknowledged(server: EmbeddedPostgres) -> None:
    with connect(server.url()) as manager:
        handle = manager.workflow("w", agent_id="analyst_001")
        handle.open()
        for number in range(3):
            handle.update({"list": [number]}, merge_strategy="append")
            server.kill()
            server.start()
        assert handle["list"] == [0, 1, 2]


def test_a_reply_lost_on_the_wire_is_no_second_update(postgres_url: str) -> None:
    with Wire(postgres_url) as wire, connect(wire.url) as manager:
        handle = manager.workflow("w", agent_id="analyst_001")
        handle.open()
        handle.put("list", [])
        marks = [f"mark {number}" for number in range(5)]
        for mark in marks:
            wire.lose_reply(mark.encode(), WRITTEN)
            result = handle.update({"list": [mark]}, merge_strategy="append")
            assert result.replayed
        entry = handle.get("list")
        assert entry is not None
        assert (entry.value, entry.version, wire.lost) == (marks, 6, 5)


def test_nor_is_it_where_a_run_makes_the_call(postgres_url: str) -> None:
    """Such a commit is a transaction; what is lost is the answer to its end."""
    with Wire(postgres_url) as wire, connect(wire.url) as manager:
        handle = manager.workflow("w", agent_id="analyst_001")
        handle.open()
        token = current_attempt.set(Attempt("the-run", 0, "w", 1))
        try:
            handle.put("connected", 1)
            for number in range(3):
                wire.lose_reply(b"COMMIT", ENDED)
                assert handle.update({"list": [number]}, merge_strategy="append").replayed
        finally:
            current_attempt.reset(token)
        entry = handle.get("list")
        assert entry is not None
        assert (entry.value, entry.version, wire.lost) == ([0, 1, 2], 3, 3)


def test_a_reply_lost_on_the_wire_is_no_second_update_for_an_event_loop(postgres_url: str) -> None:
    async def main() -> None:
        with Wire(postgres_url) as wire:
            async with ctxqueue.aconnect(wire.url) as manager:
                handle = manager.workflow("w", agent_id="analyst_001")
                await handle.open()
                await handle.put("list", [])
                marks = [f"mark {number}" for number in range(3)]
                for mark in marks:
                    wire.lose_reply(mark.encode(), WRITTEN)
                    await handle.update({"list": [mark]}, merge_strategy="append")
                entry = await handle.get("list")
                assert entry is not None
                assert (entry.value, entry.version, wire.lost) == (marks, 4, 3)

    asyncio.run(main())


WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
WHO_WAITS = f"SELECT count(*) {WAITING}".encode()
KILL_ALL = (
    b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    b" WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
KILL_WHO_WAITS = f"SELECT count(pg_terminate_backend(pid)) {WAITING}".encode()


@contextmanager
def held_and_killed(url: str, table: str) -> Iterator[None]:
    """Hold all rows of a table, kill who waits for them, and let them go after the third."""

    def kill() -> None:
        with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as killer:
            holder.execute(f"SELECT * FROM {table} FOR UPDATE".encode())  # noqa: S608 - our own name
            locked.set()
            for _ in range(3):
                until(lambda: killer.execute(KILL_WHO_WAITS).fetchone() == (1,), "one waits, and is killed")

    locked, killing = threading.Event(), threading.Thread(target=kill)
    killing.start()
    locked.wait()
    yield
    killing.join()


@pytest.fixture
def in_a_run() -> Iterator[None]:
    """Commits of a run go by a transaction, in steps that each hold several statements."""
    token = current_attempt.set(Attempt("run-1", 0, WORKFLOW, 1))
    yield
    current_attempt.reset(token)


@pytest.mark.usefixtures("in_a_run")
@pytest.mark.parametrize("table", ["ctxqueue_workflows", "ctxqueue_entries"])
def test_a_commit_whose_backend_is_killed_in_the_middle_takes_effect_once(postgres_url: str, table: str) -> None:
    with connect(postgres_url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id="ann_1")
        wf.open()
        for number in range(2):
            wf.update({"n": 1}, merge_strategy="increment")
            with held_and_killed(postgres_url, table):
                wf.update({"n": 1, "l": 1}, merge_strategy="increment")
            assert dict(wf.view()) == {"n": 2 * number + 2, "l": number + 1}


@pytest.mark.usefixtures("in_a_run")
def test_so_it_does_for_an_event_loop(postgres_url: str) -> None:
    async def main() -> None:
        async with ctxqueue.aconnect(postgres_url) as manager:
            wf = manager.workflow(WORKFLOW, agent_id="ann_1")
            await wf.open()
            await wf.update({"n": 1}, merge_strategy="increment")
            for table in ("ctxqueue_workflows", "ctxqueue_entries"):
                with held_and_killed(postgres_url, table):
                    await wf.update({"n": 1}, merge_strategy="increment")
            assert (await wf.view())["n"] == 3

    asyncio.run(main())


def test_backends_that_are_killed_again_and_again(postgres_url: str) -> None:
    """Whatever a connection was about: what is told of is typed, and what takes effect does so once."""
    done = threading.Event()
    told: list[StoreUnavailable] = []

    def kill() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as killer:
            while not done.wait(0.15):
                killer.execute(KILL_ALL)

    def write(number: int) -> None:
        for turn in range(15):
            while True:
                try:
                    wf.update({"n": 1, "m": 1}, merge_strategy="increment", operation_id=f"{number}-{turn}")
                    break
                except StoreUnavailable as error:
                    told.append(error)

    with connect(postgres_url) as manager, ThreadPoolExecutor(2) as pool:
        wf = manager.workflow(WORKFLOW, agent_id="ann_1")
        wf.open()
        killing = threading.Thread(target=kill)
        killing.start()
        try:
            for written in [pool.submit(write, number) for number in range(2)]:
                written.result()
        finally:
            done.set()
            killing.join()
        assert dict(wf.view()) == {"n": 30, "m": 30}
        assert not any(error.answered for error in told)


@contextmanager
def isolated_by(url: str, level: str) -> Iterator[None]:
    """Give the database another isolation of transactions that do not name theirs."""
    setting = f"ALTER DATABASE {url.rpartition('/')[2]} {{}} default_transaction_isolation"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"{setting.format('SET')} = '{level}'".encode())
        yield
        connection.execute(setting.format("RESET").encode())


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_a_database_with_another_isolation_of_its_own(postgres_url: str, isolation: str) -> None:
    """Each try finds the row changed while it waits: it is to see the change, not to fail for it."""

    def overtake() -> None:
        with psycopg.connect(postgres_url) as rival, psycopg.connect(postgres_url, autocommit=True) as onlooker:
            rival.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            while not done.is_set():
                rival.execute("UPDATE ctxqueue_workflows SET size = size")
                locked.set()
                until(lambda: done.is_set() or onlooker.execute(WHO_WAITS).fetchone() == (1,), "one waits")
                rival.commit()

    locked, done = threading.Event(), threading.Event()
    with isolated_by(postgres_url, isolation), connect(postgres_url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id="ann_1")
        wf.open()
        overtaking = threading.Thread(target=overtake)
        overtaking.start()
        locked.wait()
        try:
            for _ in range(3):
                wf.update({"n": 1}, merge_strategy="increment")
        finally:
            done.set()
            overtaking.join()
        assert wf["n"] == 3


def test_an_inbox_whose_updates_were_removed_by_hand_is_empty(tmp_path: Path) -> None:
    database = tmp_path / "context.db"
    clerk = Clerk(f"sqlite:///{database}", lease=0.05)
    with clerk.manager as manager:
        wf = manager.workflow(WORKFLOW)
        wf.open()
        clerk.queued({"a": 1}, operation="o1")
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("DELETE FROM ctxqueue_updates")
        (due,) = until(lambda: manager.store.perform(fx.PeekDue((0,), 1)), "its drain is due")
        assert manager.store.perform(fx.Remind(due, 1, manager.terms.lease_us)) == 0
        assert manager.store.perform(fx.PeekDue((0,), 1)) == []
        clerk.queued({"a": 2}, operation="o2")
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("DELETE FROM ctxqueue_updates")
        assert clerk.drain() == (0, 0, 0, False)
        clerk.queued({"a": 3}, operation="o3")
        assert clerk.drain() == (1, 0, 0, False)
        assert wf["a"] == 3


class Limit(Exception):
    """As Celery's soft time limit: a signal's handler raises it, wherever the process is."""


def test_a_connection_that_a_call_was_broken_off_on_is_used_no_more(postgres_server: EmbeddedPostgres) -> None:
    engine = connecting.blocking_engine(make_url(postgres_server.url()).set(drivername="postgresql+psycopg"), once=True)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.pgconn.send_query(b"SELECT pg_sleep(600)")
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_what_breaks_a_statement_off_from_outside_stays_what_it_is() -> None:
    limit = Limit()
    assert errors.our_error(StatementError("", "SELECT 1", {}, limit), "there") is limit
    assert isinstance(errors.our_error(StatementError("", "SELECT 1", {}, TypeError()), "there"), StoreUnavailable)
