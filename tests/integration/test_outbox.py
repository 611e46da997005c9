"""A task that a commit has released is sent, whatever becomes of the process that committed and of the broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.flows import sweeping
from ctxqueue.testing import FaultProxy
from ctxqueue.testing.processes import KeptProcess
from tests.integration.deployments import ROOT
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery.result import AsyncResult

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

LEASE = 3.0
LONGEST_COMMIT = 20.0
"""Seconds that a commit may take while the broker refuses connections: Celery tries four times."""

COMMIT = """
import json, sys
from importlib import import_module
queue = import_module("tests.integration.apps.effects").build(json.loads(sys.argv[1]))
queue.workflow(sys.argv[2]).put("key", "here")
"""
BARE_COMMIT = """
import ctxqueue, sys
with ctxqueue.connect(sys.argv[1]) as manager:
    manager.workflow(sys.argv[2]).put("key", "here")
"""


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=LEASE)
    site.worker()
    return site


@pytest.fixture
def wire(site: Deployment) -> Iterator[FaultProxy]:
    """A wire to the broker that fails on demand."""
    with FaultProxy(site.url) as wire:
        yield wire


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def parked(site: Deployment, workflow: WorkflowHandle, tasks: int = 1) -> list[AsyncResult[Any]]:
    with workflow:
        results = [site.task("await_key").delay() for _ in range(tasks)]
    wait_until(lambda: len(site.parked(workflow)) == tasks, f"{tasks} are parked")
    return results


def resend(queue: ContextQueue) -> int:
    """Do as ``ctxqueue.dependency_callbacks`` does, here."""
    manager = queue.manager
    return manager.driver.run(sweeping.resend(manager.terms, 1_000))


def until_sent_again(site: Deployment, result: AsyncResult[Any]) -> None:
    """Let the worker see to it, as beat would have it do, until the lease of the lost sender has ended."""

    def done() -> bool:
        if not any(site.queued().values()):
            site.task("ctxqueue.dependency_callbacks").delay()
        return result.ready()

    wait_until(done, "the task was sent again")


def attempts(site: Deployment, result: AsyncResult[Any]) -> int:
    return len(site.notes(f"ran:{result.id}"))


def test_a_process_killed_between_commit_and_publication_is_made_up_for(
    site: Deployment, workflow: WorkflowHandle, wire: FaultProxy, tmp_path: Path
) -> None:
    (result,) = parked(site, workflow)
    wire.hang()
    settings = json.dumps({**site.settings, "broker_url": wire.url})
    command = [sys.executable, "-c", COMMIT, settings, workflow.workflow_id]
    committer = KeptProcess(command, tmp_path / "log", cwd=ROOT)
    wait_until(lambda: not site.parked(workflow), "the key is committed")
    assert not committer.ended.is_set()
    site.stop(committer, signal.SIGKILL)
    wire.close()
    assert not result.ready()
    until_sent_again(site, result)
    assert result.get(SECONDS) == "here"
    assert attempts(site, result) == 1


def test_a_process_killed_between_publication_and_its_record_sends_nothing_twice(
    site: Deployment, workflow: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The end of the process."""

    (result,) = parked(site, workflow)
    driver = site.queue.manager.driver
    send = driver.publisher

    def send_and_die(items: Any) -> Any:
        assert send(items)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(driver, "publisher", send_and_die)
        with pytest.raises(Killed):
            workflow.put("key", "here")
    assert result.get(SECONDS) == "here"
    wait_until(lambda: resend(site.queue) == 1, "the message goes out a second time")
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
    assert attempts(site, result) == 1
    assert workflow["log"] == ["resumed"]


def test_a_commit_stands_while_the_broker_refuses_connections(
    site: Deployment, workflow: WorkflowHandle, wire: FaultProxy
) -> None:
    (result,) = parked(site, workflow)
    cut_off = import_module(site.module).build({**site.settings, "broker_url": wire.url})
    wire.refuse()
    begun = time.monotonic()
    with closing(cut_off.manager):
        committed = cut_off.workflow(workflow.workflow_id).update({"key": "here"})
    assert time.monotonic() - begun < LONGEST_COMMIT
    assert committed.fired == 1
    assert not result.ready()
    until_sent_again(site, result)
    assert result.get(SECONDS) == "here"
    assert attempts(site, result) == 1


def test_messages_that_cannot_be_sent_fail_no_commit_and_keep_no_other_waiting(
    site: Deployment, workflow: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *others = parked(site, workflow, tasks=4)
    task, as_ever = site.task("await_key"), site.task("await_key").apply_async
    spoilt: dict[str, dict[str, Any]] = {first.id: {"queue": 5}, second.id: {"compression": "none-such"}}

    def apply_async(*args: Any, **options: Any) -> Any:
        """Does as a task class of the user's that gets something wrong for some of many."""
        return as_ever(*args, **{**options, **spoilt.get(options["task_id"], {})})

    with monkeypatch.context() as patch:
        patch.setattr(task, "apply_async", apply_async)
        assert workflow.update({"key": "here"}).fired == 4
        assert [other.get(SECONDS) for other in others] == ["here", "here"]
    until_sent_again(site, first)
    assert (first.get(SECONDS), second.get(SECONDS)) == ("here", "here")


def test_a_commit_of_a_process_without_celery_releases_a_task_at_the_next_callbacks(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    (result,) = parked(site, workflow)
    subprocess.run(
        [sys.executable, "-c", BARE_COMMIT, site.url, workflow.workflow_id], check=True, cwd=ROOT, timeout=SECONDS
    )
    assert site.parked(workflow) == []
    assert not result.ready()
    site.task("ctxqueue.dependency_callbacks").delay()
    assert result.get(SECONDS) == "here"


def test_each_app_sends_only_its_own_messages(site: Deployment, workflow: WorkflowHandle) -> None:
    (result,) = parked(site, workflow)
    other = import_module("tests.integration.apps.parking").build(site.settings)
    with closing(other.manager):
        other.workflow(workflow.workflow_id).put("key", "here")
        assert resend(other) == 0
    assert not result.ready()
    assert resend(site.queue) == 1
    assert result.get(SECONDS) == "here"


def test_callbacks_that_run_at_once_share_the_work(site: Deployment, workflow: WorkflowHandle) -> None:
    results = parked(site, workflow, tasks=60)
    other = import_module("tests.integration.apps.parking").build(site.settings)
    with closing(other.manager):
        other.workflow(workflow.workflow_id).put("key", "here")
    patient = import_module(site.module).build({**site.settings, "ctxqueue_lease": 60.0})
    with closing(patient.manager), ThreadPoolExecutor(4) as pool:
        sent = [future.result() for future in [pool.submit(resend, patient) for _ in range(4)]]
    assert sum(sent) == len(results)
    assert [result.get(SECONDS) for result in results] == ["here"] * len(results)
    assert [attempts(site, result) for result in results] == [1] * len(results)
