"""PostgreSQL: who holds a workflow holds its row, and what a refused commit leaves behind is nothing."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

import ctxqueue
from ctxqueue import connect
from ctxqueue.errors import StoreUnavailable
from ctxqueue.stores.sql import connecting
from ctxqueue.stores.sql.hopeful import HopefulState
from ctxqueue.stores.sql.state import SqlState
from ctxqueue.stores.sql.writing import Statements
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.clerks import Clerk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Overtaken(SqlState):
    """A transaction in which others do something right after it has tried to lock the workflow's row."""

    meanwhile: Callable[[], object] | None = None

    def _lock(self, workflow_id: str) -> None:
        super()._lock(workflow_id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()


@pytest.mark.parametrize("again", [False, True], ids=["made", "made anew"])
def test_a_workflow_made_after_its_row_was_looked_for_is_held(postgres_url: str, *, again: bool) -> None:
    engine = connecting.blocking_engine(connecting.checked_url(postgres_url))
    statements = Statements("postgresql")
    with connect(postgres_url) as manager, engine.connect() as connection, engine.connect() as rival:
        wf = manager.workflow("w", agent_id="ann_1")
        if again:
            wf.open()
            wf.remove()
        state = Overtaken(connection, "default", statements)
        state.meanwhile = wf.open
        held = state.hold("w")
        assert held.workflow is not None
        rival.exec_driver_sql("SET lock_timeout = '50ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            SqlState(rival, "default", statements).hold("w")
        connection.rollback()
        rival.rollback()
        assert SqlState(rival, "default", statements).hold("w").workflow == held.workflow
    engine.dispose()


class Meanwhile:
    """What others do between a commit's look at a workflow and its writes, once."""

    act: Callable[[], object] | None = None


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    meanwhile, commit = Meanwhile(), HopefulState.commit

    def overtaken(state: HopefulState) -> None:
        act, meanwhile.act = meanwhile.act, None
        if act is not None:
            act()
        commit(state)

    monkeypatch.setattr(HopefulState, "commit", overtaken)
    return meanwhile


@pytest.fixture
def clerk(postgres_url: str) -> Iterator[Clerk]:
    clerk = Clerk(postgres_url)
    with clerk.manager as manager:
        manager.workflow(WORKFLOW).open()
        yield clerk


def test_an_update_that_is_stored_during_another_commit_is_drained(clerk: Clerk, meanwhile: Meanwhile) -> None:
    wf = clerk.manager.workflow(WORKFLOW, agent_id="ann_1")
    meanwhile.act = lambda: clerk.queued({"k": 1}, operation="o")
    wf.put("direct", 1)
    assert meanwhile.act is None
    assert clerk.drain().applied == 1
    assert dict(wf.view()) == {"direct": 1, "k": 1}


def test_a_drain_that_fails_all_during_another_commit_leaves_an_empty_inbox(clerk: Clerk, meanwhile: Meanwhile) -> None:
    wf = clerk.manager.workflow(WORKFLOW, agent_id="ann_1")
    wf.put("no list", 1)
    clerk.queued({"no list": [1]}, "append", operation="o1")
    meanwhile.act = clerk.drain
    wf.put("direct", 1)
    assert meanwhile.act is None
    clerk.published.clear()
    clerk.queued({"k": 1}, operation="o2")
    assert clerk.published == [b"drain"]
    assert clerk.drain() == (1, 0, 0, False)


@contextmanager
def small_entries_only(url: str) -> Iterator[None]:
    """Have the database refuse entries of over a thousand bytes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ctxqueue_entries ADD CONSTRAINT small CHECK (size < 1000)")
        yield
        connection.execute("ALTER TABLE ctxqueue_entries DROP CONSTRAINT small")


def test_a_commit_that_the_database_refuses_leaves_a_connection_that_works(postgres_url: str) -> None:
    with connect(postgres_url) as manager, small_entries_only(postgres_url):
        wf = manager.workflow("w", agent_id="ann_1")
        wf.open()
        for number in range(3):
            with pytest.raises(StoreUnavailable, match="small"):
                wf.put("k", "x" * 2_000)
            wf.update({"n": 1}, merge_strategy="increment")
            assert dict(wf.view()) == {"n": number + 1}


def test_a_commit_that_the_database_refuses_an_event_loop_leaves_a_connection_that_works(postgres_url: str) -> None:
    async def main() -> None:
        async with await ctxqueue.aconnect(postgres_url) as manager:
            wf = manager.workflow("w", agent_id="ann_1")
            await wf.open()
            for number in range(3):
                with pytest.raises(StoreUnavailable, match="small"):
                    await wf.put("k", "x" * 2_000)
                await wf.update({"n": 1}, merge_strategy="increment")
                assert dict(await wf.view()) == {"n": number + 1}

    with small_entries_only(postgres_url):
        asyncio.run(main())
