"""What goes from the outbox to the broker is nobody's child, and leaves the app's results to who asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery._state import _task_stack  # type: ignore[attr-defined]  # the stubs leave it out
from celery.canvas import Signature
from celery.signals import before_task_publish

import ctxqueue
from ctxqueue.effects import Outgoing
from ctxqueue.identity import WorkflowRef, current_workflow
from ctxqueue.integration.messages import packed, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue


@pytest.fixture(params=[False, True], ids=["a backend a thread", "one backend"])
def queue(request: pytest.FixtureRequest) -> Iterator[ContextQueue]:
    app = Celery("published", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", result_backend_thread_safe=request.param)
    yield ctxqueue.install(app, backend_url="memory://")
    app.close()


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    """The headers of what is published."""
    headers_of: list[dict[str, Any]] = []

    def note(headers: dict[str, Any], **_signal: object) -> None:
        headers_of.append(dict(headers))

    before_task_publish.connect(note)
    yield headers_of
    before_task_publish.disconnect(note)


def item(app: Celery, task_id: str) -> Outgoing:
    return Outgoing(task_id, packed(app, dict(Signature("proj.kept", task_id=task_id)), "json"))


def test_it_belongs_to_none_of_what_is_under_way(queue: ContextQueue, sent: list[dict[str, Any]]) -> None:
    app = queue.app

    @app.task(name="proj.commits", shared=False)
    def commits() -> None: ...

    token = current_workflow.set(WorkflowRef("default", "of-the-committer", None))
    commits.push_request(id="committer", called_directly=False, children=[])
    _task_stack.push(commits)
    try:
        assert publish(queue, (item(app, "released"),)) == ("released",)
        app.send_task("proj.child")
        made: Any = commits.request.children
        children = [each.id for each in made]
    finally:
        _task_stack.pop()
        commits.pop_request()
        current_workflow.reset(token)
    released, child = sent
    assert (released["root_id"], released["parent_id"]) == ("released", None)
    assert "ctxqueue_workflow" not in released
    assert child["parent_id"] == "committer"
    assert children == [child["id"]]


def test_results_are_where_they_were(queue: ContextQueue) -> None:
    before = queue.app.backend
    assert publish(queue, (item(queue.app, "released"),)) == ("released",)
    assert queue.app.backend is before
