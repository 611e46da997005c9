"""What a killed process leaves half done is brought to its end by others, each effect once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from celery import chain, chord

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

PLENTY = 5
"""More than the times that a task is held."""
QUICK: dict[str, Any] = {
    "ctxqueue_lease": 3.0,
    "ctxqueue_sweep_interval": 0.25,
    # For so long, with its retries, Celery holds a chord for the worker that was to send its body.
    "broker_connection_timeout": 0.5,
    "broker_transport_options": {
        "visibility_timeout": 2,
        "unacked_restore_interval": 0.5,
        "unacked_restore_throttle": 1,
    },
}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", **QUICK)
    site.beat()
    return site


class Scene(NamedTuple):
    """A chain of two tasks that was caught by the crash."""

    workflow: WorkflowHandle
    head: AsyncResult[Any]
    tail: AsyncResult[Any]


CHAINS = {
    "between two writes": ("halfway", "extend"),
    "before the next is sent": ("extract", "next_before"),
    "after the next is sent": ("extract", "next_after"),
    "before it is parked": ("not_yet_parked", "extract"),
    "after it is parked": ("just_parked", "extract"),
}


@pytest.fixture(scope="module")
def scenes(site: Deployment) -> dict[str, Scene]:
    """One worker with a task at each point of its life, killed whole; another worker takes its place."""
    worker = site.worker(slots=len(CHAINS))
    scenes = {}
    for moment, (first, second) in CHAINS.items():
        workflow = site.workflow()
        name = workflow.workflow_id
        with workflow:
            head = site.task(first).s() if "parked" in moment else site.task(first).s(name)
            tail = chain(head, site.task(second).s()).delay()
        scenes[moment] = Scene(workflow, tail.parent, tail)
        site.until_held(name if first == "halfway" else tail.parent.id)
    site.stop(worker, signal.SIGKILL)
    for scene in scenes.values():
        site.let_go(scene.workflow.workflow_id, PLENTY)
        site.let_go(scene.head.id, PLENTY)
    site.worker(slots=len(CHAINS))
    for scene in scenes.values():
        scene.workflow.put("key", "here")
    return scenes


def attempts(site: Deployment, result: AsyncResult[Any]) -> int:
    return len(site.notes(f"ran:{result.id}"))


def test_a_worker_killed_between_two_writes_leaves_each_of_them_once(
    site: Deployment, scenes: dict[str, Scene]
) -> None:
    workflow, head, tail = scenes["between two writes"]
    assert tail.get(SECONDS) == 3
    first, second, extended = workflow["log"]
    assert first.startswith("first-")
    assert second.startswith("second-")
    assert extended == f"extended {head.get(SECONDS)[0]}"
    assert (attempts(site, head), attempts(site, tail)) == (2, 1)


@pytest.mark.parametrize("moment", ["before the next is sent", "after the next is sent"])
def test_a_worker_killed_after_the_end_of_a_task_still_sends_the_next_once(
    site: Deployment, scenes: dict[str, Scene], moment: str
) -> None:
    workflow, head, tail = scenes[moment]
    answer = tail.get(SECONDS)
    assert head.get(SECONDS) == answer
    assert workflow["log"] == [*answer, f"after {answer[0]}"]
    assert (attempts(site, head), attempts(site, tail)) == (1, 1)


@pytest.mark.parametrize("moment", ["before it is parked", "after it is parked"])
def test_a_worker_killed_while_it_parks_a_task_loses_none(
    site: Deployment, scenes: dict[str, Scene], moment: str
) -> None:
    workflow, head, tail = scenes[moment]
    answer = tail.get(SECONDS)
    assert head.get(SECONDS) == "here"
    assert workflow["log"] == answer
    assert (attempts(site, head), attempts(site, tail)) == (1, 1)


@pytest.mark.parametrize("task", ["halfway", "unbound"])
def test_a_pool_process_killed_in_the_body_is_replaced(site: Deployment, scenes: dict[str, Scene], task: str) -> None:
    assert scenes
    workflow = site.workflow()
    if task == "halfway":
        with workflow:
            result = site.task(task).delay(workflow.workflow_id)
    else:
        result = site.task(task).delay(workflow.workflow_id, workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    (pid,) = site.notes(f"ran:{result.id}")
    os.kill(pid, signal.SIGKILL)
    site.let_go(workflow.workflow_id, PLENTY)
    answer = result.get(SECONDS)
    assert len(workflow["log"]) == len(answer if task == "halfway" else [answer])
    wait_until(lambda: attempts(site, result) == 2, "the second attempt ran")


def test_a_worker_that_is_to_stop_at_once_leaves_no_lease_to_wait_for(site: Deployment) -> None:
    leases = {"ctxqueue_lease": 10 * SECONDS, "worker_soft_shutdown_timeout": 0.1}
    workflow = site.workflow()
    name = workflow.workflow_id
    worker = site.worker("-Q", "stopping", slots=1, **leases)
    with workflow:
        result = site.task("halfway").apply_async((name,), queue="stopping")
    site.until_held(name)
    site.stop(worker, signal.SIGQUIT)
    site.worker("-Q", "stopping", slots=1, **leases)
    site.until_held(name, times=2)
    site.let_go(name, PLENTY)
    answer = result.get(SECONDS)
    assert len(workflow["log"]) == len(answer)


def test_a_pool_process_killed_before_it_sends_the_body_of_its_chord_leaves_it_to_a_second_delivery(
    site: Deployment, scenes: dict[str, Scene]
) -> None:
    """Its result is stored, and Celery has it that nobody else may send the body for some seconds yet."""
    assert scenes
    workflow = site.workflow()
    with workflow:
        body = chord([site.task("extract").s(name) for name in "ab"], site.task("body_before").s()).delay()
    site.until_held(body.id)
    (pid,) = site.notes(f"sends:{body.id}")
    os.kill(pid, signal.SIGKILL)
    site.let_go(body.id, PLENTY)
    answers = body.get(SECONDS)
    assert sorted(workflow["log"]) == [*answers, "body"]
    assert attempts(site, body) == 1


def test_an_app_that_makes_retries_of_lost_processes_makes_none_of_an_agents(deploy: Deploy) -> None:
    site = deploy("effects", **QUICK, task_retry_on_worker_lost=True)
    site.worker(slots=1)
    site.beat()
    workflow = site.workflow()
    with workflow:
        result = site.task("halfway").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    os.kill(site.notes(f"ran:{result.id}")[0], signal.SIGKILL)
    site.let_go(workflow.workflow_id, times=PLENTY)
    result.get(SECONDS)
    assert [entry.partition("-")[0] for entry in workflow["log"]] == ["first", "second"]


def test_a_stalled_attempt_that_wakes_up_late_writes_no_more(site: Deployment, scenes: dict[str, Scene]) -> None:
    assert scenes
    workflow = site.workflow()
    with workflow:
        tail = chain(site.task("halfway").s(workflow.workflow_id), site.task("extend").s()).delay()
    head = tail.parent
    site.until_held(workflow.workflow_id)
    (stalled,) = site.notes(f"ran:{head.id}")
    os.kill(stalled, signal.SIGSTOP)
    try:
        site.until_held(workflow.workflow_id, times=2)
        site.let_go(workflow.workflow_id, times=2)
        assert tail.get(SECONDS) == 3
        log = workflow["log"]
    finally:
        os.kill(stalled, signal.SIGCONT)
    wait_until(lambda: "was taken over by attempt 2" in site.log(), "the stalled one was refused")
    assert workflow["log"] == log
    assert [entry.partition("-")[0] for entry in log[:2]] == ["first", "second"]
    assert attempts(site, tail) == 1


def test_a_stalled_attempt_that_wakes_up_late_does_not_try_again(site: Deployment, scenes: dict[str, Scene]) -> None:
    assert scenes
    workflow = site.workflow()
    with workflow:
        result = site.task("insistent").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    (stalled,) = site.notes(f"ran:{result.id}")
    os.kill(stalled, signal.SIGSTOP)
    try:
        site.until_held(workflow.workflow_id, times=2)
        site.let_go(workflow.workflow_id, times=PLENTY)
        assert result.get(SECONDS) == "done"
    finally:
        os.kill(stalled, signal.SIGCONT)
    wait_until(lambda: site.log().count(f"insistent[{result.id}] received") >= 3, "the stalled one's retry came")
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
    assert workflow["log"] == ["first 0", "second 0"]
    assert attempts(site, result) == 2
    assert result.state == "SUCCESS"


def test_a_parked_task_outlives_every_worker(site: Deployment) -> None:
    worker = site.worker("-Q", "brief", slots=1)
    workflow = site.workflow()
    with workflow:
        result = site.task("await_key").apply_async(queue="brief")
    wait_until(lambda: site.parked(workflow), "the task is parked")
    site.stop(worker)
    workflow.put("key", "here")
    assert not result.ready()
    site.worker("-Q", "brief", slots=1)
    assert result.get(SECONDS) == "here"
    assert attempts(site, result) == 1


def test_a_resumed_task_whose_message_the_broker_loses_is_sent_again(
    site: Deployment, scenes: dict[str, Scene]
) -> None:
    assert scenes
    worker = site.worker("-Q", "lossy", slots=1)
    workflow = site.workflow()
    with workflow:
        result = site.task("await_key").apply_async(queue="lossy")
    wait_until(lambda: site.parked(workflow), "the task is parked")
    site.stop(worker)
    workflow.put("key", "here")
    assert site.redis.delete("lossy") == 1
    wait_until(lambda: site.redis.llen("lossy"), "the message is sent again", timeout=4 * QUICK["ctxqueue_lease"])
    assert result.state == "WAITING"
    site.worker("-Q", "lossy", slots=1)
    assert result.get(SECONDS) == "here"
    assert attempts(site, result) == 1
