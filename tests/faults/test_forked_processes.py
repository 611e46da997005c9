"""A process forked from one that has been at work: it has connections and lanes of its own."""

from __future__ import annotations

import os
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ctxqueue import Change, SharedContextManager, connect
from ctxqueue.stores.redis import connection, routing
from ctxqueue.stores.sql import store, upgrading
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.watching import Watch
    from tests.faults.places import Place

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CHILDREN = 4
EACH = 50


@pytest.fixture
def wf(place: Place) -> Iterator[WorkflowHandle]:
    with connect(place.url) as manager:
        handle = manager.workflow("q3-close", agent_id="analyst_001")
        handle.open()
        handle.put("k", ["parent"])
        yield handle


def forked(work: Callable[[], object]) -> int:
    """Do some work in a fork of this process, which ends after a while whatever it waits for; return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(int(SECONDS))
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may get out of the child
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def add(wf: WorkflowHandle, writer: int) -> None:
    for number in range(EACH):
        wf.update({"appended": [[writer, number]]}, merge_strategy="append")
        wf.update({"merged": {f"{writer}.{number}": number}})
        assert wf["k"] == ["parent"]


def test_parent_and_children_write_at_once(wf: WorkflowHandle) -> None:
    children = [forked(lambda writer=writer: add(wf, writer)) for writer in range(1, CHILDREN + 1)]  # type: ignore[misc]
    add(wf, 0)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * CHILDREN
    add(wf, CHILDREN + 1)
    items = wf["appended"]
    for writer in range(CHILDREN + 2):
        assert [number for who, number in items if who == writer] == list(range(EACH))
    assert len(wf["merged"]) == len(items) == (CHILDREN + 2) * EACH


def test_the_childs_end_does_not_close_the_parents_connection(wf: WorkflowHandle) -> None:
    for _ in range(3):
        child = forked(lambda: wf["k"])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert wf["k"] == ["parent"]


def test_a_watch_goes_on_in_a_child_though_another_thread_waited_by_it(wf: WorkflowHandle) -> None:
    with wf.watch(from_revision=0, timeout=SECONDS) as watch, ThreadPoolExecutor(1) as thread:
        assert key_from(watch) == "k"
        waiting = thread.submit(key_from, watch)
        wait_until(watch._taking.locked, "it waits")  # noqa: SLF001 - there is no other sign
        child = forked(lambda: put_and_take(wf, watch))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert waiting.result(SECONDS) == "later"


def key_from(watch: Watch) -> str:
    change = next(watch)
    assert isinstance(change, Change)
    return change.key


def put_and_take(wf: WorkflowHandle, watch: Watch) -> None:
    wf.put("later", 1)
    assert key_from(watch) == "later"


@contextmanager
def stopped_behind(module: Any, name: str) -> Iterator[Event]:
    """Have a function's first call stop once it is done; yields what tells that it has."""
    function, done, goes_on = getattr(module, name), Event(), Event()

    def stopping(*arguments: Any) -> Any:
        setattr(module, name, function)
        reply = function(*arguments)
        done.set()
        goes_on.wait(SECONDS)
        return reply

    setattr(module, name, stopping)
    try:
        yield done
    finally:
        goes_on.set()


def test_a_child_does_not_wait_for_a_write_of_its_parent(sqlite_url: str) -> None:
    with connect(sqlite_url) as manager, ThreadPoolExecutor(1) as thread:
        wf = manager.workflow("w", agent_id="analyst_001")
        wf.open()
        with stopped_behind(store, "committed") as done:
            writing = thread.submit(wf.put, "k", 1)
            assert done.wait(SECONDS)
            child = forked(lambda: wf.put("k", 2))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        writing.result(SECONDS)
        assert wf["k"] == 2


def test_a_child_does_not_wait_for_its_parents_first_contact(postgres_url: str) -> None:
    with SharedContextManager(postgres_url) as manager, ThreadPoolExecutor(1) as thread:
        wf = manager.workflow("w", agent_id="analyst_001")
        with stopped_behind(upgrading, "check") as done:
            opening = thread.submit(wf.open)
            assert done.wait(SECONDS)
            child = forked(wf.open)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert opening.result(SECONDS).revision == 0


@pytest.mark.parametrize(("where", "asking"), [("redis_url", connection), ("cluster_url", routing)])
def test_a_child_does_not_wait_for_its_parents_first_contact_with_redis(
    where: str, asking: Any, request: pytest.FixtureRequest
) -> None:
    with SharedContextManager(request.getfixturevalue(where)) as manager, ThreadPoolExecutor(1) as thread:
        wf = manager.workflow("w", agent_id="analyst_001")
        with stopped_behind(asking, "check_answers") as done:
            opening = thread.submit(wf.open)
            assert done.wait(SECONDS)
            child = forked(wf.open)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert opening.result(SECONDS).revision == 0


def test_a_child_that_closes_leaves_its_parents_connections_open(postgres_url: str) -> None:
    def connections() -> set[int]:
        with psycopg.connect(postgres_url) as other:
            rows = other.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'ctxqueue'").fetchall()
        return {pid for (pid,) in rows}

    with connect(postgres_url) as manager:
        wf = manager.workflow("w", agent_id="analyst_001")
        wf.open()
        wf.put("k", 1)
        before = connections()
        child = forked(manager.close)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert wf["k"] == 1
        assert connections() == before
