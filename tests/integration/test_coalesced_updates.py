"""Updates through an inbox and its drain, and as signatures, at a worker; what the broker loses comes back."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord

import ctxqueue
from ctxqueue.flows import sweeping
from tests.integration.deployments import ASIDE
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

AGENT = "web_extractor_001"


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("inbox", ctxqueue_lease=0.5)
    site.worker()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def sweep(site: Deployment) -> None:
    """Do here what beat sets going: as fast as a test asks, a worker would have nothing else to do."""
    manager = site.queue.manager
    manager.cleanup_expired_contexts()
    manager.driver.run(sweeping.resend(manager.terms, 100))


def test_many_updates_become_few_commits(site: Deployment, workflow: WorkflowHandle) -> None:
    aside = f"aside-{workflow.workflow_id}"  # no drain runs before all are there: how many it finds is no accident
    pending = [
        site.queue.enqueue_update(
            workflow.workflow_id, AGENT, {"rows": [number]}, merge_strategy="append", coalesce=True, queue=aside
        )
        for number in range(500)
    ]

    def done() -> bool:
        for message in site.all_intercepted(aside):
            site.deliver(message)
        return pending[-1].state == "APPLIED"

    wait_until(done, "the drains, each set going by the one before, apply all")
    results = [update.get(SECONDS) for update in pending]
    assert [dict(result.versions) for result in results] == [{"rows": number} for number in range(1, 501)]
    assert {update.state for update in pending} == {"APPLIED"}
    assert workflow["rows"] == list(range(500))
    assert workflow.view().revision <= 10


def test_a_drain_goes_on_in_its_own_queue(site: Deployment, workflow: WorkflowHandle) -> None:
    for number in range(101):
        site.queue.enqueue_update(workflow.workflow_id, AGENT, {f"key-{number}": 1}, coalesce=True, queue=ASIDE)
    site.all_intercepted()
    drain = site.task("ctxqueue.drain_inbox")
    drain.apply_async((workflow.workflow_id, 1), queue="drains", priority=3)
    worker = site.worker("-Q", "drains", slots=1)
    wait_until(lambda: len(workflow.list(limit=200).items) == 101, "all are done by the worker of that queue")
    assert f"{drain.name}[" in site.log()
    site.stop(worker)


def test_a_wait_of_no_length_is_a_typed_error(site: Deployment, workflow: WorkflowHandle) -> None:
    pending = site.queue.enqueue_update(workflow.workflow_id, AGENT, {"key": 1}, coalesce=True)
    nothing: Any = None
    for timeout in (nothing, -1, "soon"):
        with pytest.raises(ctxqueue.InvalidDuration, match="timeout"):
            pending.get(timeout)
    assert pending.get(SECONDS).versions == {"key": 1}


def test_as_a_task_too_its_result_comes_by_the_result_backend(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("text", "no list")
    good, bad = (
        site.queue.enqueue_update(
            workflow.workflow_id, AGENT, {key: [1]}, merge_strategy="append", coalesce=True, as_task=True
        )
        for key in ("rows", "text")
    )
    assert good.get(SECONDS) == {"revision": 2, "versions": {"rows": 1}, "replayed": False}
    with pytest.raises(ctxqueue.InvalidInput, match="append needs a list"):
        bad.get(SECONDS)


def test_the_values_are_in_no_message(site: Deployment, workflow: WorkflowHandle) -> None:
    kinds: list[dict[str, Any]] = [{}, {"coalesce": True}, {"coalesce": True, "as_task": True}]
    for options in kinds:
        aside = f"aside-{workflow.workflow_id}"
        site.queue.enqueue_update(workflow.workflow_id, AGENT, {"salary": "classified"}, queue=aside, **options)
    messages = site.all_intercepted(aside)
    assert len(messages) == 2  # one drain for both
    for message in messages:
        fields = json.loads(message)
        for word in (b"classified", b"salary"):
            assert word not in message
            assert word not in b64decode(fields["body"])


@pytest.mark.parametrize("options", [{}, {"coalesce": True, "as_task": True}, {"coalesce": True}])
def test_what_the_broker_loses_comes_back(site: Deployment, workflow: WorkflowHandle, options: dict[str, Any]) -> None:
    aside = f"aside-{workflow.workflow_id}"
    update = site.queue.enqueue_update(workflow.workflow_id, AGENT, {"rows": 1}, queue=aside, **options)
    assert len(site.all_intercepted(aside)) == 1  # and is lost

    def done() -> bool:
        sweep(site)
        for message in site.all_intercepted(aside):
            site.deliver(message)
        return update.state == "APPLIED" if isinstance(update, ctxqueue.PendingUpdate) else update.ready()

    wait_until(done, "its message, and what reports of it, are sent again")
    if isinstance(update, ctxqueue.PendingUpdate):
        assert update.get(SECONDS).revision == 1
    else:
        assert update.get(SECONDS) == {"revision": 1, "versions": {"rows": 1}, "replayed": False}


def test_an_unknown_workflow_and_a_full_inbox_are_refused_at_once(site: Deployment, workflow: WorkflowHandle) -> None:
    for coalesce in (False, True):
        with pytest.raises(ctxqueue.WorkflowNotFound, match="nobody-opened-it"):
            site.queue.enqueue_update("nobody-opened-it", AGENT, {"key": 1}, coalesce=coalesce, as_task=True)
    with pytest.raises(ctxqueue.InvalidInput, match="need as_task=True"):
        site.queue.enqueue_update(workflow.workflow_id, AGENT, {"key": 1}, coalesce=True, countdown=1)
    with pytest.raises(ctxqueue.InvalidInput, match="link holds what is no signature"):
        site.queue.enqueue_update(workflow.workflow_id, AGENT, {"key": 1}, link=object())
    assert list(workflow.list()) == []


def test_an_update_that_kills_its_worker_is_set_aside_and_replayed(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("mode", "deadly")
    poison = site.queue.enqueue_update(
        workflow.workflow_id, AGENT, {"mode": "x"}, merge_strategy="deadly", coalesce=True
    )
    fine = site.queue.enqueue_update(workflow.workflow_id, AGENT, {"fine": 1}, coalesce=True)

    def settled() -> bool:
        sweep(site)
        return fine.state == "APPLIED"

    wait_until(settled, "the other update is done")
    with pytest.raises(ctxqueue.UpdateAbandoned, match="its drain died each time"):
        poison.get(SECONDS)
    (letter,) = site.queue.dead_letters(workflow.workflow_id)
    assert (letter.id, letter.agent_id) == (poison.id, AGENT)
    workflow.put("mode", "harmless")
    assert site.queue.replay_dead_letter(letter.id)

    def replayed() -> bool:
        sweep(site)
        return poison.state == "APPLIED"

    wait_until(replayed, "it is done now")
    assert workflow["mode"] == "x"
    assert len(site.queue.dead_letters(workflow.workflow_id)) == 0


def test_a_result_becomes_an_update(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    given = site.task("given")
    last = chain(given.s(7), site.queue.update.s(name, key="number", agent_id=AGENT)).delay()
    assert last.get(SECONDS) == {"revision": 1, "versions": {"number": 1}, "replayed": False}
    body = site.queue.update.s(name, key="all", agent_id=AGENT, merge_strategy="append")
    assert chord([given.s(1), given.s(2)], body).delay().get(SECONDS)["versions"] == {"all": 1}
    given.apply_async((3,), link=site.queue.update.s(name, key="linked", agent_id=AGENT))
    wait_until(lambda: workflow.get("linked"), "the callback has run")
    assert (workflow["number"], sorted(workflow["all"]), workflow["linked"]) == (7, [1, 2], 3)


def test_a_signature_is_checked_when_it_is_made(site: Deployment) -> None:
    with pytest.raises(ctxqueue.InvalidName):
        site.queue.update.s("w", key="", agent_id=AGENT)
    with pytest.raises(ctxqueue.UnknownStrategy):
        site.queue.update.s("w", key="k", agent_id=AGENT, merge_strategy="guess")


def test_the_result_that_becomes_an_update_is_not_shown(site: Deployment, workflow: WorkflowHandle) -> None:
    signature = site.queue.update.s(workflow.workflow_id, key="k", agent_id=AGENT)
    signature.clone(("classified",)).apply_async(queue=ASIDE)
    (message,) = site.all_intercepted()
    headers = json.loads(message)["headers"]
    assert "classified" not in json.dumps(headers)


def test_a_message_that_comes_again_makes_one_update(site: Deployment, workflow: WorkflowHandle) -> None:
    signature = site.queue.update.s(workflow.workflow_id, key="rows", agent_id=AGENT, merge_strategy="append")
    message = site.intercepted(signature.clone(([1],)))
    for expected in (False, True):
        task_id = site.deliver(message)
        answer = wait_until(lambda task_id=task_id: site.app.AsyncResult(task_id).result, "it is done")
        assert answer["replayed"] is expected
        site.forget_result(task_id)
    assert workflow["rows"] == [1]


def test_what_a_guard_refuses_at_the_worker_fails_with_a_typed_error(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    def append(**options: Any) -> Any:
        name, updates = workflow.workflow_id, {"pair": [1]}
        return site.queue.enqueue_update(name, AGENT, updates, merge_strategy="append", **options)

    for update in (append(), append(coalesce=True)):
        update.get(SECONDS)
    signature = site.queue.update.s(workflow.workflow_id, key="pair", agent_id=AGENT, merge_strategy="append")
    value = chain(site.task("given").s([2]), signature)
    for update in (append(), append(coalesce=True), append(coalesce=True, as_task=True), value.apply_async()):
        with pytest.raises(ctxqueue.WriteRefused, match="guard 'pairs' refuses a write of 'pair'"):
            update.get(SECONDS)
    assert workflow["pair"] == [1, 1]
    assert site.queue.manager.summary(workflow.workflow_id).stored_updates == 0
