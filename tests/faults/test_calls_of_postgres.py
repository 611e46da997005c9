"""Who waits on PostgreSQL is called by who commits; a call that is lost, or that nobody hears, costs a moment only."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from ctxqueue import aconnect, connect
from ctxqueue.stores.sql import calling
from tests.faults.test_forked_processes import forked
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from ctxqueue.context import WorkflowHandle

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

NEVER, SOON = 3_600.0, 0.1
"""Seconds between the looks of who is not called."""


def blocking(url: str) -> Any:
    with connect(url) as manager:
        return manager.workflow("w", agent_id="reader_1").wait_for("k", timeout=SECONDS)["k"]


def awaiting(url: str) -> Any:
    async def wait() -> Any:
        async with await aconnect(url) as manager:
            return (await manager.workflow("w", agent_id="reader_1").wait_for("k", timeout=SECONDS))["k"]

    return asyncio.run(wait())


@pytest.fixture
def wf(postgres_url: str) -> Iterator[WorkflowHandle]:
    with connect(postgres_url) as manager:
        handle = manager.workflow("w")
        handle.open()
        yield handle


@contextmanager
def both_waiting(url: str, wf: WorkflowHandle) -> Iterator[list[Future[Any]]]:
    with ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(wait, url) for wait in (blocking, awaiting)]
        wait_until(lambda: wf.graph().count("waiting ") == len(waits), "both are registered")
        yield waits


def call_nobody(_connection: object, _names: object) -> None:
    """A process that dies between its commit and the call."""


def test_who_waits_need_not_look(postgres_url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "LOOK_SECONDS", NEVER)
    with both_waiting(postgres_url, wf) as waits:
        wf.put("k", 1)
        assert [wait.result(SECONDS) for wait in waits] == [1, 1]


def test_a_call_that_is_lost_is_made_up_for_by_a_look(
    postgres_url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "LOOK_SECONDS", SOON)
    monkeypatch.setattr(calling, "call", call_nobody)
    with both_waiting(postgres_url, wf) as waits:
        wf.put("k", 1)
        assert [wait.result(SECONDS) for wait in waits] == [1, 1]


def test_who_listens_on_a_connection_that_is_lost_has_another_and_looks(
    postgres_url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "LOOK_SECONDS", NEVER)
    with both_waiting(postgres_url, wf) as waits, psycopg.connect(postgres_url, autocommit=True) as other:
        with monkeypatch.context() as away:
            away.setattr(calling, "call", call_nobody)
            wf.put("k", 1)
        ended = other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert len(ended.fetchall()) == len(waits)
        assert [wait.result(SECONDS) for wait in waits] == [1, 1]


def test_a_commit_stands_though_nobody_can_be_called(
    postgres_url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calling, "LOOK_SECONDS", SOON)
    monkeypatch.setattr(calling, "LOSING_LITTLE", text("SET LOCAL no_such_setting = off"))
    with both_waiting(postgres_url, wf) as waits:
        assert wf.update({"k": 1}).fired == len(waits)
        assert [wait.result(SECONDS) for wait in waits] == [1, 1]
    assert "look in" in caplog.text
    assert wf["k"] == 1


def test_a_child_listens_for_itself(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "LOOK_SECONDS", NEVER)

    def wait_in_the_child(wf: WorkflowHandle) -> None:
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(wf.wait_for, "later", timeout=SECONDS)
            wait_until(lambda: "later" in wf.graph(), "it is registered")
            wf.put("later", 1)
            assert waiting.result(SECONDS)["later"] == 1

    with connect(postgres_url) as manager:
        wf = manager.workflow("w", agent_id="writer_1")
        wf.open()
        wf.put("k", 1)
        assert wf.wait_for("k")["k"] == 1  # so the parent listens
        child = forked(lambda: wait_in_the_child(wf))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_nobody_waits_for_calls_nobody(wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(calling, "call", lambda _connection, names: called.append(names))
    wf.put("k", 1)
    assert called == []
