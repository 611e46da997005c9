"""In unit tests tasks run at once, in the caller: what they need is there, or an error says what is missing."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

import ctxqueue
from ctxqueue.identity import declared_agent
from ctxqueue.models import Agent
from tests.integration.apps import parking

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle


@pytest.fixture
def queue() -> ctxqueue.ContextQueue:
    return parking.build(
        {
            "task_always_eager": True,
            "task_eager_propagates": True,
            "result_backend": "cache+memory://",
            "ctxqueue_backend_url": f"memory://{uuid.uuid4()}",
            "sample_url": None,
        }
    )


@pytest.fixture
def workflow(queue: ctxqueue.ContextQueue) -> WorkflowHandle:
    handle = queue.workflow("unit-test")
    handle.open()
    return handle


def task(queue: ctxqueue.ContextQueue, name: str) -> Any:
    return queue.app.tasks[name]


def test_a_task_whose_keys_are_there_runs(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    workflow.put("passing", "here")
    with workflow:
        assert task(queue, "hasty").delay().get() == "here"


def test_one_branch_of_a_condition_is_enough(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    workflow.update({"base": 1, "left": 2})
    with workflow:
        assert task(queue, "either").delay().get() == ["base", "left"]


def test_a_bound_canvas_belongs_to_its_workflow_wherever_it_runs(
    queue: ctxqueue.ContextQueue, workflow: WorkflowHandle
) -> None:
    other = queue.workflow("another")
    other.open()
    workflow.put("passing", "here")
    other.put("passing", "there")
    hasty, gather = task(queue, "hasty"), task(queue, "gather")
    assert workflow.bind(hasty.s()).delay().get() == "here"
    with workflow:
        assert other.bind(chain(hasty.si(), hasty.si())).delay().get() == "there"
        assert chord([hasty.s(), other.bind(hasty.s())], gather.s()).delay().get() == ["here", "there"]
        assert hasty.delay().get() == "here"


def test_only_signatures_are_bound(workflow: WorkflowHandle) -> None:
    for wrong in ("hasty", {"args": []}, None):
        with pytest.raises(ctxqueue.InvalidInput, match="is no signature"):
            workflow.bind(wrong)


def test_a_missing_key_is_an_error_that_names_it(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    workflow.put("here", 1)
    with workflow, pytest.raises(ctxqueue.DependencyNotReady, match="never, nowhere") as refusal:
        task(queue, "impatient").delay()
    assert "here," not in str(refusal.value)


def test_a_canvas_fails_where_a_key_is_missing(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    hasty, gather = task(queue, "hasty"), task(queue, "gather")
    with workflow:
        for canvas in (chain(hasty.si(), hasty.si()), group(hasty.s()), chord([hasty.s()], gather.s())):
            with pytest.raises(ctxqueue.DependencyNotReady):
                canvas.delay()
        workflow.put("passing", "here")
        assert chain(hasty.si(), hasty.si()).delay().get() == "here"
        assert chord([hasty.s(), hasty.s()], gather.s()).delay().get() == ["here", "here"]


def test_a_task_writes_and_the_next_one_finds_it(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    @queue.task(agent_type="extractor", name="produce")
    def produce(self: Any) -> int:
        return int(self.context.update({"passing": "produced"}).revision)

    with workflow:
        assert chain(produce.si(), task(queue, "hasty").si()).delay().get() == "produced"


def test_what_a_task_stages_is_written_at_its_end(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    @queue.task(agent_type="extractor", name="stage")
    def stage(self: Any, *, fails: bool) -> bool:
        with self.context.transaction():
            self.context.put("staged", 1)
        if fails:
            raise LookupError
        return self.context.get("staged") is None

    with workflow:
        with pytest.raises(LookupError):
            stage.delay(fails=True)
        assert workflow.get("staged") is None
        assert stage.delay(fails=False).get() is True
    assert workflow["staged"] == 1


def test_outside_a_workflow_needs_are_an_error(queue: ctxqueue.ContextQueue) -> None:
    with pytest.raises(ctxqueue.ConfigurationError, match="belongs to no workflow"):
        task(queue, "hasty").delay()


def test_an_enqueued_update_is_done_at_once(queue: ctxqueue.ContextQueue, workflow: WorkflowHandle) -> None:
    result = queue.enqueue_update("unit-test", "web_extractor_001", {"rows": [1]})
    assert result.get() == {"revision": 1, "versions": {"rows": 1}, "replayed": False}
    assert workflow["rows"] == [1]
    second = queue.enqueue_update("unit-test", "web_extractor_001", {"rows": [2]}, merge_strategy="append")
    assert second.get()["revision"] == 2
    assert workflow["rows"] == [1, 2]


def test_an_update_with_a_result_is_held_to_the_role_in_which_it_was_asked_for(queue: ctxqueue.ContextQueue) -> None:
    interns_write = {"name": "interns write", "agent_role": "intern", "allow": ["write"]}
    queue.app.conf.ctxqueue_policy = {"default": ["read"], "rule": [interns_write]}
    queue.workflow("ruled").open()
    token = declared_agent.set(Agent("helper_1", agent_role="intern"))
    try:
        signature = queue.update.s("ruled", key="note", agent_id="helper_1")
    finally:
        declared_agent.reset(token)
    assert signature.clone((7,)).apply_async().get()["versions"] == {"note": 1}
    with pytest.raises(ctxqueue.AccessDenied):
        queue.update.s("ruled", key="note", agent_id="helper_1")
    forged = signature.clone((8,), kwargs={**signature.kwargs, "agent": ["helper", None, []]})
    with pytest.raises(ctxqueue.AccessDenied):
        forged.apply_async().get()
