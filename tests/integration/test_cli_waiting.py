"""``celery -A proj ctx``: what waits, what beat does by itself, and what is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery

import ctxqueue
from ctxqueue import all_of
from ctxqueue.effects import Outgoing
from ctxqueue.flows import inbox
from ctxqueue.flows.stored import packed
from ctxqueue.models import Agent
from tests.integration.commands import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue


@pytest.fixture
def queue() -> Iterator[ContextQueue]:
    app = Celery("waiting", set_as_current=False, broker="memory://", backend="cache+memory://")
    queue = ctxqueue.install(app, backend_url="memory://")

    @app.task(name="sum_up", shared=False)
    def sum_up() -> None:
        pass

    yield queue
    queue.manager.close()


@pytest.fixture
def wf(queue: ContextQueue) -> WorkflowHandle:
    wf = queue.workflow("q3", agent_id="analyst_1")
    wf.open()
    return wf


def armed(queue: ContextQueue, wf: WorkflowHandle) -> str:
    return wf.when(all_of("revenue", "rates")).then(queue.app.tasks["sum_up"].s()).id


def test_triggers_are_listed_shown_fired_and_called_off(queue: ContextQueue, wf: WorkflowHandle) -> None:
    first, second = armed(queue, wf), armed(queue, wf)
    rows = told(queue.app, "triggers", "list", "q3", "--json").rows()
    assert [(row["id"], row["state"], row["waits_for"]) for row in rows] == [
        (trigger, "ARMED", "revenue, rates") for trigger in sorted([first, second])
    ]
    assert told(queue.app, "triggers", "show", "q3", second[:-1], "--json").rows()[0]["id"] == second
    assert told(queue.app, "triggers", "show", "q3", first[0]).status == 1  # both begin so
    assert told(queue.app, "triggers", "fire", "q3", first).status == 0
    assert told(queue.app, "triggers", "fire", "q3", first).status == 1
    assert told(queue.app, "triggers", "cancel", "q3", second).status == 0
    refused = told(queue.app, "triggers", "cancel", "q3", second)
    assert (refused.status, "is CANCELLED" in refused.stderr) == (1, True)
    assert told(queue.app, "triggers", "list", "q3", "--state", "armed", "--json").rows() == []


def test_a_task_that_no_worker_has_had_is_called_off_only_if_that_is_meant(queue: ContextQueue) -> None:
    refused = told(queue.app, "parked", "cancel", "on-its-way")
    assert (refused.status, "no worker has had a task 'on-its-way'" in refused.stderr) == (1, True)
    assert str(queue.app.AsyncResult("on-its-way").state) == "PENDING"
    assert told(queue.app, "parked", "cancel", "on-its-way", "--unseen").status == 0
    assert str(queue.app.AsyncResult("on-its-way").state) == "REVOKED"
    assert told(queue.app, "parked", "cancel", "on-its-way").status == 0  # again, as one that is known


def test_dead_letters_are_listed_replayed_and_dropped(queue: ContextQueue, wf: WorkflowHandle) -> None:
    terms, run = queue.manager.terms, queue.manager.driver.run
    for operation in ("o1", "o2"):
        ref = inbox.checked(terms, "q3", Agent("analyst_1"), {"api_key": "s3cret"}, "replace", operation)
        payload = packed("q3", Agent("analyst_1"), {"api_key": "s3cret"}, "replace")
        run(inbox.enqueue(terms, ref, payload, outgoing=Outgoing(f"app\0q3\0{operation}\0update", b"m"), drain=None))
        run(inbox.bury(terms, ref, payload, 3, "it crashed"))
    assert "s3cret" not in told(queue.app, "dead", "list").stdout
    letters = told(queue.app, "dead", "list", "--json").rows()
    assert [(row["workflow_id"], row["reason"]) for row in letters] == [("q3", "it crashed")] * 2
    first, second = (row["id"] for row in letters)
    assert told(queue.app, "dead", "replay", first).status == 0
    assert told(queue.app, "dead", "drop", second, given="n\n").status == 1
    assert told(queue.app, "dead", "drop", second, "--yes").status == 0
    assert told(queue.app, "dead", "drop", second, "--yes").status == 1
    assert told(queue.app, "dead", "list", "q3", "--json").rows() == []
    assert wf.get("api_key") is None


def test_a_graph_is_drawn_as_an_agent_sees_it(queue: ContextQueue, wf: WorkflowHandle) -> None:
    wf.put("total", 1, depends_on=["revenue"])
    armed(queue, wf)
    assert told(queue.app, "graph", "q3").stdout.startswith(("flowchart", "graph"))
    assert "digraph" in told(queue.app, "graph", "q3", "--format", "dot", "--agent", "other_1").stdout


def test_a_sweep_says_what_it_did(queue: ContextQueue, wf: WorkflowHandle) -> None:
    wf.put("soon", 1, ttl=0.000_001)
    assert "1 expired" in told(queue.app, "sweep").stdout
    assert told(queue.app, "sweep", "--json").rows()[0]["expired"] == 0


def test_retention_removes_nothing_unless_told_to(queue: ContextQueue) -> None:
    queue.app.conf.ctxqueue_memory_retention = {"semantic": (365, 1)}
    for text in ("water boils at 100 degrees", "ice melts at 0 degrees"):
        queue.memory.remember(text)
    assert "1 memories of 1 owners would go" in told(queue.app, "retention").stdout
    assert len(queue.memory.list()) == 2
    assert "removed" in told(queue.app, "retention", "--apply").stdout
    assert len(queue.memory.list()) == 1


def test_memories_are_searched_with_reasons_shown_pinned_and_forgotten(queue: ContextQueue) -> None:
    boils = queue.memory.remember("water boils at 100 degrees", agent_id="cook_1")
    queue.memory.remember("ice melts at 0 degrees")
    (found,) = told(queue.app, "memory", "search", "when does water boil", "--limit", "1", "--json").rows()
    assert found["id"] == boils
    assert found["parts"]
    assert "boils" in told(queue.app, "memory", "search", "when does water boil").stdout
    assert told(queue.app, "memory", "show", boils, "--agent", "other_1").status == 1
    assert len(told(queue.app, "memory", "list", "--json").rows()) == 2
    assert len(told(queue.app, "memory", "list", "--agent", "other_1", "--json").rows()) == 1
    assert told(queue.app, "memory", "pin", boils).status == 0
    assert told(queue.app, "memory", "show", boils, "--json").rows()[0]["pinned"]
    assert told(queue.app, "memory", "pin", boils, "--off").status == 0
    assert told(queue.app, "memory", "stats", "--json").rows()[0]["semantic"] == 2
    assert told(queue.app, "memory", "forget", boils, "--yes").status == 0
    assert told(queue.app, "memory", "forget", boils, "--yes").status == 1


def test_memories_are_moved_to_another_embedder(queue: ContextQueue) -> None:
    queue.memory.remember("water boils at 100 degrees")
    moved = told(queue.app, "memory", "reembed", "tests.integration.embedders:Letters")
    assert moved.stdout == "1 memories were moved to tests.integration.embedders:Letters\n"
    (memory,) = queue.memory.list()
    assert memory.model.startswith("letters")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["triggers", "list", "nowhere"], 1),
        (["triggers", "show", "q3", "x"], 1),
        (["triggers", "fire", "q3", ""], 2),
        (["parked", "cancel", "no-such-task"], 1),
        (["parked", "cancel", ""], 2),
        (["unread", "--older-than", "nan"], 2),
        (["unread", "--older-than", "1e300"], 2),
        (["triggers"], 2),
        (["triggers", "lst", "q3"], 2),
        (["parked", "list", "nowhere"], 1),
        (["parked", "release", "q3", "x"], 1),
        (["dead", "list", "nowhere"], 1),
        (["dead", "replay", "no id"], 2),
        (["graph", "nowhere"], 1),
        (["sweep", "--limit", "0"], 2),
        (["memory", "show", "nothing"], 2),
        (["memory", "pin", "nothing"], 2),
        (["memory", "reembed", "nothing"], 1),
        (["memory", "reembed", "ctxqueue:Nothing"], 1),
        (["memory", "search", "x", "--type", "guess"], 2),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(
    queue: ContextQueue, wf: WorkflowHandle, arguments: list[str], status: int
) -> None:
    refused = told(queue.app, *arguments)
    assert (refused.status, refused.stdout, wf.list().items) == (status, "", ())
