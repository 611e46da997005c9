"""A message that is delivered twice takes effect once, whenever the second delivery comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.result import AsyncResult

from tests.integration.deployments import ASIDE
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

LEASE = 3.0
"""Seconds; an attempt whose renewals are held up for two thirds of it is taken over."""
NOTHING = {"queue": 0, "unacked": 0, "unacked_index": 0}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=LEASE, ctxqueue_sweep_interval=0.25)
    site.worker(slots=3)
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


@pytest.fixture(params=[False, True], ids=["same tag", "new tag"])
def under_a_new_tag(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def message_of(site: Deployment, workflow: WorkflowHandle, signature: Any) -> bytes:
    with workflow:
        return site.intercepted(signature)


def result_of(site: Deployment, task_id: str) -> AsyncResult[Any]:
    return AsyncResult(task_id, app=site.app)


def attempts(site: Deployment, task_id: str) -> int:
    return len(site.notes(f"ran:{task_id}"))


def until_idle(site: Deployment) -> None:
    wait_until(lambda: site.queued() == NOTHING, "every message is answered")


def test_a_message_delivered_again_after_its_end_changes_nothing(
    site: Deployment, workflow: WorkflowHandle, *, under_a_new_tag: bool
) -> None:
    message = message_of(site, workflow, site.task("extract").s("rows"))
    result = result_of(site, site.deliver(message))
    first = result.get(SECONDS)
    site.forget_result(result.id)
    site.deliver(message, under_a_new_tag=under_a_new_tag)
    assert site.stored_anew(result.id) == first
    assert workflow["log"] == first
    assert attempts(site, result.id) == 1


def test_the_next_task_of_a_chain_runs_once_for_two_deliveries(
    site: Deployment, workflow: WorkflowHandle, *, under_a_new_tag: bool
) -> None:
    extract, extend = site.task("extract"), site.task("extend")
    tail = extend.s()
    tail_id = tail.freeze().id
    message = message_of(site, workflow, chain(extract.s("rows"), tail))
    head = result_of(site, site.deliver(message))
    first = head.get(SECONDS)
    assert result_of(site, tail_id).get(SECONDS) == 2
    site.forget_result(head.id)
    site.forget_result(tail_id)
    site.deliver(message, under_a_new_tag=under_a_new_tag)
    assert site.stored_anew(head.id) == first
    assert site.stored_anew(tail_id) == 2
    assert attempts(site, tail_id) == 1
    assert workflow["log"] == [*first, f"extended {first[0]}"]


def test_a_failure_is_the_first_one_for_both_deliveries(site: Deployment, workflow: WorkflowHandle) -> None:
    message = message_of(site, workflow, site.task("stumble").s("rows"))
    result = result_of(site, site.deliver(message))
    with pytest.raises(LookupError) as first:
        result.get(SECONDS)
    site.forget_result(result.id)
    site.deliver(message)
    second = site.stored_anew(result.id)
    assert (type(second), str(second)) == (LookupError, str(first.value))
    assert workflow["log"] == ["rows"]


def test_a_delivery_beside_a_living_attempt_waits_for_its_end(
    site: Deployment, workflow: WorkflowHandle, *, under_a_new_tag: bool
) -> None:
    message = message_of(site, workflow, chain(site.task("halfway").s(workflow.workflow_id), site.task("extend").s()))
    task_id = site.deliver(message)
    site.until_held(workflow.workflow_id)
    site.deliver(message, under_a_new_tag=under_a_new_tag)
    wait_until(lambda: [record for record in site.records(workflow) if "b" in record], "the second is kept")
    assert attempts(site, task_id) == 1
    site.let_go(workflow.workflow_id)
    first = result_of(site, task_id).get(SECONDS)
    wait_until(lambda: not [record for record in site.records(workflow) if "b" in record], "the second went out")
    until_idle(site)
    assert workflow["log"] == [*first, f"extended {first[0]}"]
    assert attempts(site, task_id) == 1
    assert result_of(site, task_id).get(SECONDS) == first


def test_a_body_longer_than_its_lease_keeps_it(site: Deployment, workflow: WorkflowHandle) -> None:
    message = message_of(site, workflow, site.task("halfway").s(workflow.workflow_id))
    task_id = site.deliver(message)
    site.until_held(workflow.workflow_id)
    (begun,) = site.records(workflow)
    first_end = float(begun["l"]) / 1e6
    site.deliver(message)
    wait_until(lambda: site.clock() > first_end + LEASE, "two leases have passed")
    (running,) = site.records(workflow)
    assert running["e"] == b"1"
    assert site.clock() < float(running["l"]) / 1e6
    site.let_go(workflow.workflow_id)
    answer = result_of(site, task_id).get(SECONDS)
    assert workflow["log"] == answer
    assert attempts(site, task_id) == 1


def test_a_lease_never_ends_later_than_one_lease_from_now(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("halfway").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    (begun,) = site.records(workflow)
    wait_until(lambda: site.records(workflow)[0]["l"] > begun["l"], "the lease was renewed")
    first_renewal = float(site.records(workflow)[0]["l"]) / 1e6
    now = site.clock()
    site.let_go(workflow.workflow_id)
    result.get(SECONDS)
    assert first_renewal <= now + LEASE


def test_a_delivery_of_a_parked_run_is_dropped(
    site: Deployment, workflow: WorkflowHandle, *, under_a_new_tag: bool
) -> None:
    message = message_of(site, workflow, site.task("await_key").s())
    result = result_of(site, site.deliver(message))
    wait_until(lambda: site.parked(workflow), "the run is parked")
    site.deliver(message, under_a_new_tag=under_a_new_tag)
    until_idle(site)
    assert len(site.parked(workflow)) == 1
    workflow.put("key", "here")
    assert result.get(SECONDS) == "here"
    site.deliver(message)
    until_idle(site)
    assert attempts(site, result.id) == 1
    assert workflow["log"] == ["resumed"]


def test_a_retry_is_meant_and_writes_again(site: Deployment, workflow: WorkflowHandle) -> None:
    message = message_of(site, workflow, site.task("persist").s())
    result = result_of(site, site.deliver(message))
    assert result.get(SECONDS) == 2
    site.deliver(message)
    until_idle(site)
    assert workflow["log"] == ["try 0", "try 1", "try 2"]
    assert result_of(site, result.id).get(SECONDS) == 2


def test_a_task_outside_any_workflow_runs_once_a_message_too(site: Deployment, workflow: WorkflowHandle) -> None:
    message = site.intercepted(site.task("unbound").s(workflow.workflow_id, workflow.workflow_id))
    site.let_go(workflow.workflow_id, times=2)
    result = result_of(site, site.deliver(message))
    answer = result.get(SECONDS)
    site.deliver(message)
    until_idle(site)
    assert workflow["log"] == [answer]
    assert attempts(site, result.id) == 1


def test_a_chord_counts_a_member_that_is_delivered_twice_once(site: Deployment, workflow: WorkflowHandle) -> None:
    body = site.task("gather").s()
    body_id = body.freeze().id
    header = [site.task("extract").s(name).set(queue=ASIDE) for name in "abc"]
    with workflow:
        chord(header, body).delay()
    first, second, third = site.all_intercepted()
    site.deliver(first)
    site.deliver(second)
    until_idle(site)
    site.deliver(first)
    until_idle(site)
    assert site.notes(f"ran:{body_id}") == []
    site.deliver(third)
    answers = result_of(site, body_id).get(SECONDS)
    assert sorted(workflow["log"]) == answers
    for message in (first, third):
        site.deliver(message)
    until_idle(site)
    assert attempts(site, body_id) == 1


def test_the_body_of_a_chord_runs_once_whichever_member_sends_it(site: Deployment, workflow: WorkflowHandle) -> None:
    body = site.task("gather").s()
    body_id = body.freeze().id
    with workflow:
        chord([site.task("extract").s(name).set(queue=ASIDE) for name in "ab"], body).delay()
    first, second = site.all_intercepted()
    group = json.loads(first)["headers"]["group"]
    size = f"celery-taskset-meta-{group}.s"
    counted: Any = site.redis.dump(size)
    for message in (first, second):
        site.deliver(message)
        until_idle(site)
    answers = result_of(site, body_id).get(SECONDS)
    # As if Celery had counted neither of them: it dies before it cleans up, and what it keeps is for a while only.
    site.redis.delete(f"celery-taskset-meta-{group}.c")
    site.redis.restore(size, 0, counted, replace=True)
    site.forget_result(body_id)
    for message in (second, first):
        site.deliver(message)
        until_idle(site)
    assert site.stored_anew(body_id) == answers, "the body was sent again"
    assert attempts(site, body_id) == 1


def test_a_task_that_another_one_takes_the_place_of_runs_once(site: Deployment, workflow: WorkflowHandle) -> None:
    message = message_of(site, workflow, site.task("delegate").s("rows"))
    result = result_of(site, site.deliver(message))
    first = result.get(SECONDS)
    site.deliver(message)
    until_idle(site)
    assert result_of(site, result.id).get(SECONDS) == first
    assert workflow["log"] == first
    assert len(site.notes(f"ran:{result.id}")) == 1
