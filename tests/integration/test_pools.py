"""Parking and effects in worker pools without processes: threads, and none at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, chord

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module", params=["threads", "solo"])
def site(deploy: Deploy, request: pytest.FixtureRequest) -> Deployment:
    site = deploy("effects", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker(pool=request.param, slots=4)
    site.beat()
    return site


def test_parked_tasks_are_resumed_each_in_its_own_workflow(site: Deployment) -> None:
    workflows = [site.workflow() for _ in range(8)]
    results = []
    for workflow in workflows:
        with workflow:
            results.append(chain(site.task("await_key").s(), site.task("extend").s()).delay())
    wait_until(lambda: all(site.parked(workflow) for workflow in workflows), "all are parked")
    for workflow in workflows:
        workflow.put("key", workflow.workflow_id)
    assert [result.get(SECONDS) for result in results] == [2] * len(workflows)
    for workflow in workflows:
        assert workflow["log"] == ["resumed", f"extended {workflow.workflow_id[0]}"]


def test_a_chord_waits_for_its_parked_members_and_its_parked_body(site: Deployment) -> None:
    workflow = site.workflow()
    member = site.task("await_key").si()
    with workflow:
        result = chord([site.task("extract").si("at once"), member, member], member).delay()
    wait_until(lambda: len(site.parked(workflow)) == 2, "both members are parked")
    assert not result.ready()
    workflow.put("key", "here")
    assert result.get(SECONDS) == "here"
    assert workflow["log"].count("resumed") == 3


def test_the_body_of_a_chord_parks_of_itself(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = chord([site.task("extract").si(name) for name in "ab"], site.task("await_key").si()).delay()
    wait_until(lambda: site.parked(workflow), "the body is parked")
    workflow.put("key", "here")
    assert result.get(SECONDS) == "here"


def test_a_cancelled_task_ends_revoked(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("halfway").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    assert site.queue.cancel(result.id) is True
    site.let_go(workflow.workflow_id)
    wait_until(lambda: not any(site.queued().values()), "the message is answered")
    state: str = result.state
    assert state == "REVOKED"
    assert len(workflow["log"]) == 1


def test_a_transaction_and_a_step_in_such_a_pool(site: Deployment) -> None:
    workflow = site.workflow()
    site.let_go(workflow.workflow_id, 4)
    with workflow:
        staged = site.task("stage").delay(workflow.workflow_id, "retries")
        drawn = site.task("stepwise").delay(workflow.workflow_id, times=1)
    first, second = drawn.get(SECONDS)
    assert first == second
    written = staged.get(SECONDS)
    assert workflow["log"] == [written]


def test_many_tasks_at_once_lose_no_write(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        results = [site.task("extract").delay(str(number)) for number in range(40)]
    written = [answer for result in results for answer in result.get(SECONDS)]
    assert sorted(workflow["log"]) == sorted(written)


def test_a_message_delivered_again_changes_nothing(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        message = site.intercepted(site.task("extract").s("rows"))
    result = site.app.AsyncResult(site.deliver(message))
    first = result.get(SECONDS)
    site.deliver(message)
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
    assert workflow["log"] == first
    assert len(site.notes(f"ran:{result.id}")) == 1


def test_a_retry_writes_again(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        assert site.task("persist").delay().get(SECONDS) == 2
    assert workflow["log"] == ["try 0", "try 1", "try 2"]


def test_the_worker_tells_of_itself_and_the_store(site: Deployment) -> None:
    (stats,) = site.app.control.inspect(timeout=SECONDS, limit=1)._request("ctxqueue_stats").values()  # noqa: SLF001 - as `celery inspect` does
    told = {"installed": True, "metrics": False, "tracing": False, "namespace": "default", "outbox": 0}
    assert stats | told == stats
    assert stats["store"] in site.url
