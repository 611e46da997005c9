"""A trigger sends any canvas, once, when its condition comes true; whatever dies meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import signature

from ctxqueue import InvalidInput, all_of, at_least, key
from ctxqueue.integration.headers import NAMESPACE, RUN, WORKFLOW
from tests.integration.apps.triggers import CANVASES
from tests.integration.deployments import QUEUE
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("triggers", ctxqueue_sweep_interval=0.25, ctxqueue_lease=1.0)
    site.worker()
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def canvas_of(site: Deployment, name: str) -> Any:
    return CANVASES[name](site.app.tasks)  # type: ignore[no-untyped-call]  # celery's own


def until_state(workflow: WorkflowHandle, state: str) -> None:
    wait_until(lambda: [each.state for each in workflow.triggers()] == [state], f"it is {state}")


def until_done(workflow: WorkflowHandle, *done: Any) -> None:
    def seen() -> list[Any]:
        entry = workflow.get("done")
        return sorted(entry.value, key=repr) if entry is not None else []

    wait_until(lambda: len(seen()) == len(done), f"{len(done)} are done")
    assert seen() == sorted(done, key=repr)


@pytest.mark.parametrize(
    ("canvas", "done"),
    [
        ("task", [[1]]),
        ("chain", [[1], [[1], 2]]),
        ("group", [[1], [2]]),
        ("chord", [[1], [2], [[[1], [2]], 3]]),
    ],
)
def test_any_canvas_is_sent_once_and_belongs_to_the_workflow(
    site: Deployment, workflow: WorkflowHandle, canvas: str, done: list[Any]
) -> None:
    trigger = workflow.when(all_of("a", key("b") > 1)).then(canvas_of(site, canvas))
    assert trigger.state == "ARMED"
    assert workflow.update({"a": 1}).fired == 0
    assert workflow.update({"b": 2}).fired == 1
    seen: list[Any] = []

    def all_done() -> bool:
        entry = workflow.get("done")
        seen[:] = entry.value if entry is not None else []
        return len(seen) >= len(done)

    wait_until(all_done, f"the {canvas} is done")
    assert sorted(seen, key=repr) == sorted(done, key=repr)
    for _, cause in site.notes(f"work:{workflow.workflow_id}"):
        assert cause == {
            "trigger": trigger.id,
            "workflow": workflow.workflow_id,
            "revision": 2,
            "agent": "SYSTEM",
            "keys": ["a", "b"],
        }
    until_state(workflow, "FIRED")


def test_what_was_there_first_counts_and_the_cause_is_passed(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("a", 1)
    trigger = workflow.when("a").then(site.app.signature("plain", args=(workflow.workflow_id,)), pass_cause=True)
    (given,) = wait_until(
        lambda: [each for each in site.notes("plain") if workflow.workflow_id in each], "the plain task ran"
    )
    assert given[0]["trigger"] == trigger.id
    assert given[1] == workflow.workflow_id


def test_its_time_is_up(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.when(at_least(2, "r_*")).then(
        site.task("work").s("in time"), timeout=0.3, on_timeout=site.task("work").s("late")
    )
    until_state(workflow, "EXPIRED")
    until_done(workflow, ["late"])
    ((_, cause),) = site.notes(f"work:{workflow.workflow_id}")
    assert cause["missing"] == ["2 of r_*"]
    workflow.update({"r_1": 1, "r_2": 1})
    assert workflow["done"] == [["late"]]


def test_a_task_arms_one_and_its_message_may_come_twice(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        message = site.intercepted(site.task("plan").s())
    first = site.deliver(message)
    site.deliver(message, under_a_new_tag=True)
    assert site.app.AsyncResult(first).get(SECONDS)
    workflow.update({"left": 1, "right": 2})
    until_done(workflow, ["planned"])
    until_state(workflow, "FIRED")
    wait_until(lambda: site.queued()["queue"] == site.queued()["unacked"] == 0, "nothing is left to be done")
    assert workflow["done"] == [["planned"]]


def test_a_launch_that_is_delivered_twice_launches_once(site: Deployment, workflow: WorkflowHandle) -> None:
    trigger = workflow.when("a").then(canvas_of(site, "chord"))
    carried = {RUN: trigger.id, WORKFLOW: workflow.workflow_id, NAMESPACE: site.queue.manager.terms.namespace}
    launch = site.task("ctxqueue.launch_canvas").s(workflow.workflow_id, trigger.id, False)  # noqa: FBT003
    message = site.intercepted(launch.set(task_id=trigger.id, headers=carried))
    workflow.put("a", 1)
    for _ in range(3):
        site.deliver(message, under_a_new_tag=True)
    until_done(workflow, [1], [2], [[[1], [2]], 3])
    wait_until(lambda: site.queued() == {"queue": 0, "unacked": 0, "unacked_index": 0}, "nothing is left to be done")
    assert len(workflow["done"]) == 3


def test_a_loop_of_triggers_ends(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("always", 1)
    with workflow:
        site.task("loops").delay()
    name = f"loops:{workflow.workflow_id}"
    wait_until(lambda: len(site.notes(name)) == 17, "the loop has come to its end")
    wait_until(lambda: site.queued()["queue"] == site.queued()["unacked"] == 0, "nothing is left to be done")
    assert len(site.notes(name)) == 17


def test_what_cannot_be_sent_is_set_aside_and_the_others_go_on(site: Deployment, workflow: WorkflowHandle) -> None:
    wrong = workflow.when("a").then(signature("work", args=(1,), options={"serializer": "no such"}))
    workflow.when("a").then(site.task("work").s("right"))
    workflow.put("a", 1)
    until_done(workflow, ["right"])

    def failed() -> Any:
        return next(each for each in workflow.triggers() if each.id == wrong.id).state == "FAILED"

    wait_until(failed, "it is set aside")
    (reason,) = [each.reason for each in workflow.triggers() if each.id == wrong.id]
    assert "cannot be sent" in reason


def test_what_is_no_signature_is_refused(site: Deployment, workflow: WorkflowHandle) -> None:
    with pytest.raises(InvalidInput, match="is no signature"):
        workflow.when("a").then(site.task("work"))
    with pytest.raises(InvalidInput, match="cannot be stored"):
        workflow.when("a").then(site.task("work").s(object()))
    assert workflow.triggers() == []
    assert site.redis.llen(QUEUE) == 0
