"""A task does not wait for ever: after its deadline it fails with what was missing, in Celery's own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.exceptions import ChordError

from ctxqueue import DependencyTimeout
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SLOTS = 2


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking", ctxqueue_sweep_interval=0.25)
    site.worker(slots=SLOTS)
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def test_a_task_past_its_deadline_fails_and_names_what_is_missing(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("here", 1)
    with workflow:
        result = site.task("impatient").delay()
    with pytest.raises(DependencyTimeout) as failure:
        result.get(SECONDS)
    assert "never" in str(failure.value)
    assert "nowhere" in str(failure.value)
    assert "here," not in str(failure.value)
    assert result.state == "FAILURE"
    assert site.notes(f"ran:{result.id}") == []
    assert site.parked(workflow) == []


def test_the_error_callback_is_called_at_the_deadline(site: Deployment, workflow: WorkflowHandle) -> None:
    name = f"mourned:{workflow.workflow_id}"
    with workflow:
        result = site.task("impatient").apply_async(
            link=site.task("linked").s(name), link_error=site.task("mourn").s(name)
        )
    (mourned,) = wait_until(lambda: site.notes(name), "the error callback ran")
    assert mourned[:2] == [result.id, "DependencyTimeout"]


def test_a_chain_ends_at_a_task_past_its_deadline(site: Deployment, workflow: WorkflowHandle) -> None:
    name = f"after:{workflow.workflow_id}"
    with workflow:
        result = chain(site.task("begin").si(), site.task("impatient").si(), site.task("linked").si(1, name)).delay()
    with pytest.raises(DependencyTimeout):
        result.parent.get(SECONDS)
    assert site.notes(name) == []


@pytest.mark.xfail(
    strict=True, reason="DependencyTimeout is a socket.timeout for Celery, which then says that get() timed out"
)
def test_the_end_of_a_chain_raises_the_deadline_of_its_middle(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = chain(site.task("impatient").si(), site.task("begin").si()).delay()
    with pytest.raises(DependencyTimeout):
        result.get(SECONDS)


def test_a_chord_fails_with_a_member_past_its_deadline(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = chord([site.task("begin").s(), site.task("impatient").s()], site.task("gather").s()).delay()
    wait_until(result.failed, "the chord failed")
    assert isinstance(result.result, ChordError)
    assert "DependencyTimeout" in str(result.result)


def delete(workflow: WorkflowHandle) -> None:
    assert workflow.delete("passing")


def let_expire(workflow: WorkflowHandle) -> None:
    workflow.put("passing", "soon gone", ttl=0.05)
    wait_until(lambda: workflow.get("passing") is None, "the key has expired")


def keep_all_slots_busy(site: Deployment, name: str) -> None:
    for _ in range(SLOTS):
        site.task("held").delay(name)
    site.until_held(name, SLOTS)


@pytest.mark.parametrize("take_away", [delete, let_expire])
def test_a_key_that_came_and_went_parks_the_task_again_under_the_same_deadline(
    site: Deployment, workflow: WorkflowHandle, take_away: Callable[[WorkflowHandle], Any]
) -> None:
    with workflow:
        result = site.task("hasty").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    (first,) = site.records(workflow)
    keep_all_slots_busy(site, workflow.workflow_id)
    assert workflow.update({"passing": "fleeting"}).fired == 1
    assert site.parked(workflow) == []
    take_away(workflow)
    site.let_go(workflow.workflow_id, SLOTS)
    wait_until(lambda: site.parked(workflow), "the task is parked again")
    (second,) = site.records(workflow)
    assert (second["g"], second["d"]) == (b"1", first["d"])
    with pytest.raises(DependencyTimeout):
        result.get(SECONDS)


def test_a_task_parked_again_resumes_when_its_key_comes_again(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("hasty").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    keep_all_slots_busy(site, workflow.workflow_id)
    workflow.put("passing", "fleeting")
    workflow.delete("passing")
    site.let_go(workflow.workflow_id, SLOTS)
    wait_until(lambda: site.parked(workflow), "the task is parked again")
    workflow.put("passing", "to stay")
    assert result.get(SECONDS) == "to stay"
