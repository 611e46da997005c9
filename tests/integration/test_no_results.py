"""An app that keeps no results parks and resumes all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module", params=["disabled://", "ignored"])
def site(deploy: Deploy, request: pytest.FixtureRequest) -> Deployment:
    if request.param == "ignored":
        site = deploy("effects", task_ignore_result=True)
    else:
        site = deploy("effects", result_backend=request.param)
    site.worker()
    return site


def test_a_parked_task_runs_once_its_key_is_there_and_its_chain_goes_on(site: Deployment) -> None:
    workflow = site.workflow()
    tail = site.task("extend").s()
    tail_id = tail.freeze().id
    with workflow:
        head = chain(site.task("await_key").s(), tail).apply_async().parent
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", "here")
    wait_until(lambda: site.notes(f"ran:{tail_id}"), "the next task ran")
    wait_until(lambda: workflow.get("log") is not None and len(workflow["log"]) == 2, "both have written")
    assert workflow["log"] == ["resumed", "extended h"]
    assert len(site.notes(f"ran:{head.id}")) == 1
    assert site.redis.keys("celery-task-meta-*") == []


def test_a_message_delivered_again_runs_nothing_again(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        messages = [site.intercepted(site.task(name).s("rows")) for name in ("extract", "stumble")]
    for message in messages:
        task_id = site.deliver(message)
        wait_until(lambda task_id=task_id: site.notes(f"ran:{task_id}"), "the task ran")  # type: ignore[misc]
        wait_until(lambda: not any(site.queued().values()), "every message is answered")
        site.deliver(message)
        wait_until(lambda: not any(site.queued().values()), "every message is answered")
        assert site.notes(f"ran:{task_id}") == ["rows"]
    assert len(workflow["log"]) == 2
