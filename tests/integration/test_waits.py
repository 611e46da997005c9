"""A body that comes to need something waits for it without its worker, and runs again once it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain, chord

from ctxqueue import DependencyNotReady, DependencyTimeout, WorkflowClosed, WorkflowNotFound
from tests.integration.commands import told
from tests.integration.test_parking import until_waiting
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("waits", ctxqueue_sweep_interval=0.25)
    site.worker()
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def test_a_body_waits_as_often_as_it_wants_and_writes_once(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("approve").delay()
    until_waiting(site, workflow, result)
    workflow.put("draft", "text")
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["approved", "rejected"]}
    workflow.put("rejected", "not yet")
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["signed"]}
    workflow.put("signed", "by Ann")
    assert result.get(SECONDS) == [f"{result.id}1", ["draft", "rejected", "signed", "steps"], "by Ann"]
    assert workflow["steps"] == ["asked", "answered"]
    assert len(site.notes(f"began:{result.id}")) == 3
    wait_until(lambda: site.queued() == {"queue": 0, "unacked": 0, "unacked_index": 0}, "the broker holds nothing")


def test_the_operator_lets_a_task_go_on_without_what_it_waits_for(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("approve").delay()
    for needs in (["draft"], ["approved", "rejected"]):
        until_waiting(site, workflow, result)
        (row,) = told(site.queue.app, "parked", "list", workflow.workflow_id, "--json").rows()
        assert (row["task"], row["task_id"], row["needs"]) == ("approve", result.id, needs)
        assert told(site.queue.app, "parked", "release", workflow.workflow_id, row["run_id"]).status == 0
        wait_until(lambda needs=needs: result.info != {"needs": needs}, "it has gone on")  # type: ignore[misc]
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["signed"]}
    assert told(site.queue.app, "parked", "release", workflow.workflow_id, row["run_id"] + "x").status == 1
    workflow.put("signed", "by Ann")
    assert result.get(SECONDS) == [f"{result.id}1", ["signed", "steps"], "by Ann"]
    assert workflow["steps"] == ["asked", "answered"]


def test_a_parked_task_is_called_off_by_its_id(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("approve").delay()
    until_waiting(site, workflow, result)
    assert result.id in told(site.queue.app, "parked", "list").stdout
    assert told(site.queue.app, "parked", "cancel", result.id).status == 0
    assert result.state == "REVOKED"
    wait_until(lambda: not site.parked(workflow), "nothing waits")


def test_what_is_there_is_not_waited_for(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.update({"draft": 1, "approved": 1, "signed": 2})
    with workflow:
        result = site.task("approve").delay()
    assert result.get(SECONDS)[2] == 2
    assert len(site.notes(f"began:{result.id}")) == 1


def test_each_wait_has_its_own_time_and_the_body_may_go_on_without(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("fall_back").delay()
    assert result.get(SECONDS) == [
        "task fall_back waited in vain for first",
        "task fall_back waited in vain for second",
    ]


def test_a_body_that_catches_every_error_waits_all_the_same(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("careless").delay()
    until_waiting(site, workflow, result)
    assert workflow.get("written") is None
    workflow.put("late", 1)
    assert result.get(SECONDS) == "done"
    assert workflow["written"] == 1
    assert site.notes("swallowed") == []


def test_a_coroutine_waits_alike(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("awaits").delay()
    until_waiting(site, workflow, result)
    workflow.put("answer", 41)
    assert result.get(SECONDS) == 42


def test_a_chain_and_a_chord_go_on_after_it(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        waits = [site.task("awaits").si() for _ in range(2)]
        result = chain(site.task("careless").si(), chord(waits, site.task("careless").si())).delay()
    workflow.update({"late": 1, "answer": 1})
    assert result.get(SECONDS) == "done"


def test_a_workflow_that_is_closed_meanwhile_ends_it(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("awaits").delay()
    until_waiting(site, workflow, result)
    workflow.close()
    with pytest.raises(WorkflowClosed):
        result.get(SECONDS)


def test_one_that_is_cancelled_meanwhile_is_over(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("awaits").delay()
    until_waiting(site, workflow, result)
    assert site.queue.cancel(result.id) is True
    assert result.state == "REVOKED"
    assert site.parked(workflow) == []


def test_values_and_counts_are_waited_for(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("settle").delay()
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["draft", "2 of part_*"]}
    workflow.update({"draft": 1, "part_1": 1})
    workflow.put("part_2", 1)
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["total > 10", "state in ['final', 'frozen']"]}
    workflow.update({"total": 11, "state": "draft"})
    workflow.put("state", "frozen")
    assert result.get(SECONDS) == [11, "frozen"]
    assert site.parked(workflow) == []


def test_a_value_that_does_not_come_in_time(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("total", 10)
    with workflow:
        result = site.task("too_late").delay()
    with pytest.raises(DependencyTimeout, match="waited in vain for total > 10"):
        result.get(SECONDS)


@pytest.mark.parametrize("end", ["close", "remove"])
def test_a_workflow_that_ends_ends_the_wait_for_a_value(site: Deployment, end: str) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("settle").delay()
    until_waiting(site, workflow, result)
    getattr(workflow, end)()
    with pytest.raises((WorkflowClosed, WorkflowNotFound)):
        result.get(SECONDS)
    assert result.state == "FAILURE"


def test_eagerly_nothing_can_be_waited_for(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("draft", 1)
    with workflow, pytest.raises(DependencyNotReady, match="approved, rejected"):
        site.task("approve").apply(throw=True)
