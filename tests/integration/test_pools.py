"""Parking and effects in worker pools without processes: threads, and none at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain

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
