"""What people write in bodies and declarations in a hurry, and what befalls a body from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from billiard.exceptions import TimeLimitExceeded

from ctxqueue import ConfigurationError, DependencyTimeout
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

LEASE = 1.0


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("bodies", ctxqueue_lease=LEASE, ctxqueue_sweep_interval=0.25, accept_content=["json", "yaml"])
    site.worker("-E", slots=2)
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def until_quiet(site: Deployment) -> None:
    wait_until(lambda: not any(site.queued().values()), "every message is answered")


@pytest.mark.parametrize("name", ["factorial", "factorial_awaited"])
def test_one_that_calls_its_own_task_calls_a_function(site: Deployment, workflow: WorkflowHandle, name: str) -> None:
    with workflow:
        assert site.task(name).delay(4).get(SECONDS) == 24
    assert site.notes(f"ran:{workflow.workflow_id}") == [4, 3, 2, 1]


def test_a_task_on_our_class_that_names_no_agent_is_told_how(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("based").delay()
    with pytest.raises(ConfigurationError, match=r"has no agent: declare it by @ctx\.task"):
        result.get(SECONDS)


def test_an_error_after_the_last_try_shows_no_argument(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("giving_up").delay("classified-1", password="classified-2")
    task: Any = site.task("giving_up")
    with pytest.raises(task.MaxRetriesExceededError, match=rf"Can't retry giving_up\[{result.id}\]"):
        result.get(SECONDS)
    stored: Any = site.redis.get(f"celery-task-meta-{result.id}")
    assert b"classified" not in stored
    assert "classified" not in site.log()


def test_needs_that_cannot_be_said_end_a_durable_task_once(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("picky").delay()
    with pytest.raises(LookupError, match="no such argument"):
        result.get(SECONDS)
    (record,) = site.records(workflow)
    assert record["s"] == b"failed"
    kept = [field for name in site.redis.scan_iter("*:t", _type="hash") for field in site.redis.hkeys(name)]
    assert [field for field in kept if field.startswith(b"n:")] == [], "nothing is left that would be sent again"


def test_an_event_that_the_broker_does_not_take_costs_no_task(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("unheard").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", "here")
    assert result.get(SECONDS) == "here"
    assert "task-waiting could not be sent" in site.log()


def test_its_expiry_is_the_deadline_of_a_task_that_waits(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("wait").apply_async(expires=1.0)
    with pytest.raises(DependencyTimeout, match="key"):
        result.get(SECONDS)
    assert site.parked(workflow) == []


def test_a_retry_of_a_task_that_was_parked_is_no_resumption(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("wait_and_retry").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", "here")
    assert result.get(SECONDS) == [1, 0.0]
    (record,) = site.records(workflow)
    assert (record["q"], record["g"]) == (b"1", b"0")


def test_arguments_that_need_a_serialiser_of_their_own_can_be_parked(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    given = {1, 2}
    with pytest.raises(TypeError):
        json.dumps(given)
    with workflow:
        result = site.task("shows").apply_async((given,), serializer="yaml")
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", "here")
    assert result.get(SECONDS) == str(given)


def test_one_that_is_ended_for_its_time_limit_is_not_begun_again(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        message = site.intercepted(site.task("too_long").s())
    task_id = site.deliver(message)
    wait_until(lambda: site.notes(f"ran:{task_id}"), "it runs")
    site.deliver(message, under_a_new_tag=True)
    wait_until(lambda: [record for record in site.records(workflow) if "b" in record], "the second is kept")
    with pytest.raises(TimeLimitExceeded):
        site.app.AsyncResult(task_id).get(SECONDS)
    wait_until(lambda: not [record for record in site.records(workflow) if "b" in record], "the second went out")
    until_quiet(site)
    assert site.notes(f"ran:{task_id}") == [1]
    with pytest.raises(TimeLimitExceeded):
        site.app.AsyncResult(task_id).get(SECONDS)


def test_one_that_is_given_back_at_its_time_limit_is_tried_again(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        task_id = site.task("tries_again").delay().id
    wait_until(lambda: site.app.AsyncResult(task_id).state == "FAILURE", "its time is up")
    wait_until(lambda: site.app.AsyncResult(task_id).state == "SUCCESS", "it has been tried again")
    until_quiet(site)
    assert site.app.AsyncResult(task_id).get(SECONDS) == "in time"


def test_two_messages_of_one_task_id_are_two_runs(site: Deployment) -> None:
    for number in (1, 2):
        result = site.task("told").apply_async((number,), task_id="daily")
        wait_until(lambda: len(site.notes("ran:daily")) == number, "it ran")  # noqa: B023 - it is called at once
        until_quiet(site)
        assert result.id == "daily"
    assert site.notes("ran:daily") == [1, 2]


def test_a_result_that_only_celery_can_keep_is_one(site: Deployment) -> None:
    assert site.task("odd").delay().get(SECONDS) == "odd"
    assert "a result could not be packed" in site.log()
