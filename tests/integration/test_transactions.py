"""What a task stages is written once its body has returned, all of it once, or not at all."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.waiting import SECONDS

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker()
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def test_it_is_written_when_the_task_ends(site: Deployment, workflow: WorkflowHandle) -> None:
    before = workflow.open().revision
    with workflow:
        result = site.task("stage").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    assert workflow.open().revision == before
    site.let_go(workflow.workflow_id)
    drawn = result.get(SECONDS)
    assert dict(workflow.view()) == {f"key-{drawn}": 1, "log": [drawn]}
    assert workflow.open().revision == before + 1
    assert site.notes(f"staged:{result.id}") == [True]


def test_a_body_that_raises_writes_nothing(site: Deployment, workflow: WorkflowHandle) -> None:
    site.let_go(workflow.workflow_id)
    with workflow:
        result = site.task("stage").delay(workflow.workflow_id, "raises")
    with pytest.raises(LookupError):
        result.get(SECONDS)
    assert dict(workflow.view()) == {}


def test_a_retry_writes_what_it_staged_itself(site: Deployment, workflow: WorkflowHandle) -> None:
    site.let_go(workflow.workflow_id, 2)
    with workflow:
        result = site.task("stage").delay(workflow.workflow_id, "retries")
    drawn = result.get(SECONDS)
    assert dict(workflow.view()) == {f"key-{drawn}": 1, "log": [drawn]}
    assert len(site.notes(f"ran:{result.id}")) == 2


def test_a_process_killed_with_all_staged_has_written_nothing(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("stage").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    (pid,) = site.notes(f"ran:{result.id}")
    os.kill(pid, signal.SIGKILL)
    site.let_go(workflow.workflow_id, 3)
    drawn = result.get(SECONDS)
    assert dict(workflow.view()) == {f"key-{drawn}": 1, "log": [drawn]}


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_a_coroutine_stages_too(site: Deployment, workflow: WorkflowHandle, end: str) -> None:
    with workflow:
        result = site.task("stage_awaiting").delay(end)
    if end == "raises":
        with pytest.raises(LookupError):
            result.get(SECONDS)
        assert dict(workflow.view()) == {}
    else:
        assert result.get(SECONDS) == [True]
        assert dict(workflow.view()) == {"awaited": 1}
