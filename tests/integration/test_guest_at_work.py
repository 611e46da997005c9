"""Somebody's project with ctxqueue at work: own task class, queue, serialiser, namespaced settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy(
        "guest",
        task_routes={"guest.*": {"queue": "guests"}},
        task_serializer="guest-json",
        result_serializer="guest-json",
        accept_content=["guest-json"],
        ctxqueue_namespace="guests",
    )
    site.worker("-Q", "guests,celery")
    return site


def message(site: Deployment, queue: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.redis.lpop(queue) or b"")
    return found


def test_a_message_outside_any_workflow_carries_nothing_of_ours(site: Deployment) -> None:
    site.task("guest.plain").apply_async((1,), queue="aside")
    assert "ctxqueue" not in json.dumps(message(site, "aside")["headers"])


def test_a_message_of_an_agent_is_a_run_of_its_own_outside_a_workflow_too(site: Deployment) -> None:
    for _ in range(2):
        site.task("guest.agent").apply_async(("key",), queue="aside", task_id="one-id")
    first, second = (message(site, "aside")["headers"] for _ in range(2))
    assert [name for name in first if name.startswith("ctxqueue")] == ["ctxqueue_run"]
    assert first["ctxqueue_run"] != second["ctxqueue_run"]


def test_a_message_in_a_workflow_carries_its_name(site: Deployment) -> None:
    with site.queue.workflow("q3-close"):
        site.task("guest.plain").apply_async((1,), queue="aside")
    headers = message(site, "aside")["headers"]
    assert (headers["ctxqueue_workflow"], headers["ctxqueue_namespace"]) == ("q3-close", "guests")
    site.task("guest.plain").apply_async((1,), queue="aside")
    assert "ctxqueue_workflow" not in message(site, "aside")["headers"]


def test_plain_tasks_run_as_ever(site: Deployment) -> None:
    assert site.task("guest.plain").delay(1).get(SECONDS) == 2
    assert site.task("guest.other").delay(1).get(SECONDS) == ["wrapped", 2]


def test_an_agents_task_goes_through_the_users_class_and_has_its_request(site: Deployment) -> None:
    result = site.task("guest.agent").delay("key")
    assert result.get(SECONDS) == [result.id, "key", "guest's"]
    based = site.task("guest.based").delay()
    assert based.get(SECONDS) == ["wrapped", based.id]


def test_a_task_is_parked_and_resumed_in_the_users_own_serialiser_and_queue(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("guest.waiting").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    assert result.state == "WAITING"
    workflow.put("key", "here")
    assert result.get(SECONDS) == [result.id, "here"]
    assert site.notes(f"ran:{result.id}") == [["enter guest.waiting"]]


def test_an_update_travels_in_the_users_own_serialiser(site: Deployment) -> None:
    workflow = site.workflow()
    result = site.queue.enqueue_update(workflow.workflow_id, "web_extractor_001", {"raw": b"\xff"})
    assert result.get(SECONDS) == {"revision": 1, "versions": {"raw": 1}, "replayed": False}
    assert workflow["raw"] == b"\xff"


def test_a_message_of_another_namespace_is_refused_before_it_touches_ours(site: Deployment) -> None:
    workflow = site.workflow()
    theirs = {"ctxqueue_namespace": "others", "ctxqueue_workflow": workflow.workflow_id}
    for name, args in (("guest.waiting", ()), ("guest.agent", ("key",))):
        result = site.task(name).apply_async(args, headers=theirs)
        with pytest.raises(ctxqueue.ConfigurationError, match="namespace 'others'"):
            result.get(SECONDS)
    assert site.parked(workflow) == []
    assert site.records(workflow) == []
