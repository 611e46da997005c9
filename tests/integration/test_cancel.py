"""A task is cancelled wherever it is, and what depends on it ends as Celery lets it end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.exceptions import ChordError, TaskRevokedError

from ctxqueue import InvalidName
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=3.0, ctxqueue_sweep_interval=0.25, task_track_started=True)
    site.worker(slots=3)
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def is_revoked(given: AsyncResult[Any]) -> None:
    result = given.app.AsyncResult(given.id)  # which has seen nothing yet
    # A worker that has taken its message may write STARTED over it, before it learns what became of the task.
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)
    state: str = result.state
    assert state == "REVOKED"


def quiet(site: Deployment) -> None:
    wait_until(lambda: not any(site.queued().values()), "every message is answered")


def ran(site: Deployment, result: AsyncResult[Any]) -> int:
    return len(site.notes(f"ran:{result.id}"))


def test_one_that_waits_in_the_broker(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("extract").apply_async(("a",), queue="later")
    assert site.queue.cancel(result.id) is True
    is_revoked(result)
    site.worker("-Q", "later", slots=1)
    quiet(site)
    wait_until(lambda: not site.redis.llen("later"), "a worker has taken it")
    quiet(site)
    is_revoked(result)
    assert ran(site, result) == 0


def test_one_that_is_published_only_later(site: Deployment, workflow: WorkflowHandle) -> None:
    """Its id is its caller's choice, or the message is still on its way to the broker."""
    name = f"chosen-{workflow.workflow_id}"
    assert [site.queue.cancel(name), site.queue.cancel(name)] == [True, True]
    is_revoked(site.app.AsyncResult(name))
    with workflow:
        result = site.task("extract").apply_async(("a",), task_id=name)
        other = site.task("extract").delay("b")
    other.get(SECONDS)
    quiet(site)
    is_revoked(result)
    assert ran(site, result) == 0
    assert site.queue.cancel(name) is True


def test_one_that_never_comes(site: Deployment) -> None:
    """It is as good as any other that no worker has seen; what is noted of it has an end."""
    quiet(site)  # what ran before may have its end yet to be told to the broker
    before = set(site.redis.scan_iter("*", count=1_000))
    assert site.queue.cancel("nobody's") is True
    is_revoked(site.app.AsyncResult("nobody's"))
    quiet(site)  # beat's ticks come and go: nothing stays
    noted = set(site.redis.scan_iter("*nobody*", count=1_000)) - before
    assert len(noted) == 2  # its mark, and its result
    assert all(0 < site.redis.ttl(name) <= 25 * 3_600 for name in noted)


def test_one_that_is_parked(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("await_key").delay()
    wait_until(lambda: site.parked(workflow), "it is parked")
    assert site.queue.cancel(result.id) is True
    is_revoked(result)
    assert site.parked(workflow) == []
    workflow.put("key", "here")
    quiet(site)
    is_revoked(result)
    assert ran(site, result) == 0


def test_where_results_are_messages_only_its_worker_can_say_so(deploy: Deploy) -> None:
    site = deploy("effects", ctxqueue_lease=3.0, ctxqueue_sweep_interval=0.25, result_backend="rpc://")
    site.worker()
    workflow = site.workflow()
    with workflow:
        result = site.task("await_key").delay()
    wait_until(lambda: site.parked(workflow), "it is parked")
    assert site.queue.cancel(result.id) is True
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)
    assert site.queue.cancel("unseen") is True


def test_one_that_runs_writes_no_more(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("halfway").delay(workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    assert site.queue.cancel(result.id) is True
    is_revoked(result)
    before = workflow["log"]
    site.let_go(workflow.workflow_id)
    quiet(site)
    is_revoked(result)
    assert workflow["log"] == before
    assert len(before) == 1


def test_one_that_runs_and_writes_nothing_more_ends_revoked_too(site: Deployment, workflow: WorkflowHandle) -> None:
    name = f"u-{workflow.workflow_id}"
    result = site.task("unbound").delay(workflow.workflow_id, name)
    site.until_held(name)
    assert site.queue.cancel(result.id) is True
    site.let_go(name)
    quiet(site)
    is_revoked(result)


def test_one_that_celery_revokes_is_over_for_workers_that_have_not_heard_of_it(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    with workflow:
        message = site.intercepted(site.task("halfway").s(workflow.workflow_id))
    result = site.app.AsyncResult(site.deliver(message))
    site.until_held(workflow.workflow_id)
    site.app.control.revoke(result.id, terminate=True)
    is_revoked(result)
    wait_until(lambda: site.records(workflow)[0]["s"] == b"cancelled", "that is recorded")
    site.worker("-Q", "unaware", slots=1)
    site.redis.lpush("unaware", message)
    wait_until(lambda: not site.redis.llen("unaware"), "the other worker has taken it")
    quiet(site)
    is_revoked(result)
    assert ran(site, result) == 1


def test_one_that_has_ended_stays_so(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("extract").delay("a")
    answer = result.get(SECONDS)
    quiet(site)
    assert site.queue.cancel(result.id) is False
    assert result.state == "SUCCESS"
    assert site.app.AsyncResult(result.id).get(SECONDS) == answer


def test_one_that_has_failed_stays_so(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("stumble").delay("over")
    with pytest.raises(LookupError):
        result.get(SECONDS)
    quiet(site)
    assert site.queue.cancel(result.id) is False
    assert result.state == "FAILURE"


def test_one_of_which_only_the_result_is_left_stays_so(site: Deployment, workflow: WorkflowHandle) -> None:
    """The store has forgotten it, as it does after a day."""
    with workflow:
        result = site.task("extract").delay("a")
    answer = result.get(SECONDS)
    quiet(site)
    assert site.redis.delete(*site.redis.scan_iter(f"*{result.id}*:b", count=1_000)) == 1
    assert site.queue.cancel(result.id) is False
    assert site.app.AsyncResult(result.id).get(SECONDS) == answer


def test_one_of_a_plain_task_that_has_ended_stays_so(site: Deployment) -> None:
    workflow = site.workflow()
    update = site.queue.enqueue_update(workflow.workflow_id, "extractor_1", {"k": 1})
    update.get(SECONDS)
    assert site.queue.cancel(update.id) is False
    assert update.state == "SUCCESS"


def test_a_chain_ends_with_it(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        tail = chain(site.task("await_key").si(), site.task("extract").si("after")).delay()
    head = tail.parent
    wait_until(lambda: site.parked(workflow), "it is parked")
    assert site.queue.cancel(head.id) is True
    with pytest.raises(TaskRevokedError):
        tail.get(SECONDS)
    quiet(site)
    assert ran(site, tail) == 0


@pytest.mark.parametrize("member", ["await_key", "halfway"])
def test_a_chord_fails_with_it(site: Deployment, workflow: WorkflowHandle, member: str) -> None:
    task = site.task(member)
    with workflow:
        result = chord(
            [site.task("extract").s("a"), task.si() if member == "await_key" else task.si(workflow.workflow_id)],
            site.task("gather").s(),
        ).delay()
    cancelled = result.parent.results[1]
    if member == "await_key":
        wait_until(lambda: site.parked(workflow), "it is parked")
    else:
        site.until_held(workflow.workflow_id)
    assert site.queue.cancel(cancelled.id) is True
    site.let_go(workflow.workflow_id)
    wait_until(result.failed, "the chord fails")
    assert isinstance(result.result, ChordError)
    assert ran(site, result) == 0


def test_a_wrong_id(site: Deployment) -> None:
    for wrong in ("", 7):
        with pytest.raises(InvalidName):
            site.queue.cancel(wrong)  # type: ignore[arg-type]
