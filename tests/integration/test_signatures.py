"""Work that is not signed, or not by us, is refused; work that is goes through parking, chains, chords and retries."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord

from ctxqueue.errors import BadSignature
from ctxqueue.models import Agent
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.audited import AuditRecord
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

KEYS = {"older": base64.b64encode(b"o" * 32).decode(), "newest": base64.b64encode(b"n" * 32).decode()}
SIGNATURE = "ctxqueue_signature"
POLICY = {"rule": [{"name": "the mute write nothing", "agent_type": "mute", "deny": ["write"]}]}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy(
        "effects",
        ctxqueue_signing_keys=KEYS,
        ctxqueue_policy=POLICY,
        ctxqueue_lease=1.0,
        ctxqueue_sweep_interval=0.25,
    )
    site.worker()
    site.beat()
    return site


def refused(site: Deployment, action: str = "refused") -> list[AuditRecord]:
    """Return what the audit log says of work that was refused."""
    return [record for record in site.queue.manager.audit(limit=1_000) if record.action == action]


def changed(message: bytes, **headers: Any) -> bytes:
    fields = json.loads(message)
    fields["headers"].update(headers)
    return json.dumps(fields).encode()


def test_signed_work_goes_through_parking_chains_chords_and_retries(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        parked = site.task("await_key").delay()
        chained = chain(site.task("extract").s("a"), site.task("extend").s()).delay()
        gathered = chord([site.task("extract").s("b"), site.task("extract").s("c")], site.task("gather").s()).delay()
        retried = site.task("persist").delay()
        durable = site.task("lasting").delay(1)
    wait_until(lambda: parked.state == "WAITING", "it is parked")
    workflow.put("key", "there")
    for result in (parked, chained, gathered, retried, durable):
        result.get(SECONDS)
    update = site.queue.enqueue_update(workflow.workflow_id, "extractor", {"k": 1})
    assert update.get(SECONDS)["versions"] == {"k": 1}
    coalesced = site.queue.enqueue_update(workflow.workflow_id, "extractor", {"l": 1}, coalesce=True)
    assert coalesced.get(SECONDS).versions == {"l": 1}


def test_a_worker_that_starts_notes_by_which_policy(site: Deployment) -> None:
    (noted,) = refused(site, "policy")
    assert noted.detail.endswith("a policy given in Python")


def test_forged_work_is_refused_and_told_so(site: Deployment) -> None:
    workflow, other = site.workflow(), site.workflow()
    with workflow:
        message = site.intercepted(site.task("extract").s("forged"))
    body = json.loads(message)["body"]
    arguments = json.loads(base64.b64decode(body))
    arguments[0] = ["other"]
    chained = json.loads(base64.b64decode(body))
    chained[2]["chain"] = [dict(site.task("extract").s("appended"))]
    forged = [
        changed(message, ctxqueue_workflow=other.workflow_id),
        changed(message, ctxqueue_run="another"),
        changed(message, task="stumble"),
        changed(message, retries=1),
        changed(message, **{SIGNATURE: None}),
        changed(message, **{SIGNATURE: json.loads(message)["headers"][SIGNATURE].replace("newest", "older")}),
        json.dumps({**json.loads(message), "body": base64.b64encode(json.dumps(arguments).encode()).decode()}).encode(),
        json.dumps({**json.loads(message), "body": base64.b64encode(json.dumps(chained).encode()).decode()}).encode(),
    ]
    for each in forged:
        task_id = site.deliver(each, under_a_new_tag=True)
        error = site.stored_anew(task_id)
        assert isinstance(error, BadSignature)
        assert str(error) in refused(site)[-1].detail
        assert refused(site)[-1].task_id == task_id
        site.forget_result(task_id)
    assert list(other.view()) == list(workflow.view()) == []
    assert len(refused(site)) == len(forged)
    assert site.stored_anew(site.deliver(message, under_a_new_tag=True)) is not None
    assert list(workflow.view()) != []


def test_a_stored_update_that_nobody_signed_is_refused(site: Deployment) -> None:
    from ctxqueue.flows import inbox, stored  # noqa: PLC0415 - as an intruder with the store's password does

    workflow = site.workflow()
    ref = stored.UpdateRef(workflow.workflow_id, "victim", "update:forged")
    manager = site.queue.manager
    manager.driver.run(
        inbox.enqueue(manager.terms, ref, stored.packed(workflow.workflow_id, Agent("victim"), {"k": 1}, "replace"))
    )
    args = (ref.home, ref.agent_id, ref.operation_id)
    with pytest.raises(BadSignature):
        site.queue.app.tasks["ctxqueue.context_update"].delay(*args).get(SECONDS)
    assert (refused(site)[-1].agent_id, refused(site)[-1].workflow_id) == ("victim", workflow.workflow_id)
    assert list(workflow.view()) == []
