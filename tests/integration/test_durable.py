"""What is published with ``durable=True`` outlives the broker: it is sent again until a worker has claimed it."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from ctxqueue import StoreUnavailable
from ctxqueue.testing import FaultProxy
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.result import AsyncResult

    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

LEASE = 1.0
SOON = 20 * LEASE
"""Seconds."""


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=LEASE, ctxqueue_sweep_interval=0.25)
    site.worker()
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


@pytest.fixture
def wire(site: Deployment) -> Iterator[FaultProxy]:
    with FaultProxy(site.url) as wire:
        yield wire


def attempts(site: Deployment, result: AsyncResult[Any]) -> int:
    return len(site.notes(f"ran:{result.id}"))


def lost(site: Deployment, queue: str, messages: int = 1) -> None:
    """Let the broker lose what it has in a queue that no worker reads, until so many are lost; then a worker comes."""
    gone = 0

    def lose() -> bool:
        nonlocal gone
        gone += site.redis.llen(queue)
        site.redis.delete(queue)
        return gone >= messages

    wait_until(lose, f"{messages} messages in {queue} are lost")
    worker = site.worker("-Q", queue, slots=1)
    assert not worker.ended.is_set()


def test_a_message_that_the_broker_loses_is_sent_again_as_it_was(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("lasting").apply_async((1,), {"what": "told"}, queue="lossy1", priority=3)
    assert site.redis.delete(*site.redis.scan_iter("lossy1*")) == 1
    site.worker("-Q", "lossy1", slots=1)
    assert result.get(SOON) == [1, "told"]
    assert attempts(site, result) == 1
    assert workflow["log"] == ["told"]


def test_a_task_without_a_workflow_is_sent_again_too(site: Deployment) -> None:
    result = site.task("lasting").apply_async((1,), queue="lossy2")
    lost(site, "lossy2")
    assert result.get(SOON) == [1, "lasting"]
    assert attempts(site, result) == 1


def test_the_next_task_of_a_chain_is_sent_again(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        task = site.task("lasting")
        result = chain(task.s(1), task.s(what="end").set(queue="lossy3")).delay()
    lost(site, "lossy3")
    assert result.get(SOON) == [[1, "lasting"], "end"]
    assert workflow["log"] == ["lasting", "end"]


def test_members_and_body_of_a_chord_are_sent_again(site: Deployment, workflow: WorkflowHandle) -> None:
    task = site.task("lasting")
    with workflow:
        header = group(task.s(number).set(queue="lossy4") for number in range(3))
        result = chord(header, task.s(what="end").set(queue="lossy5")).delay()
    lost(site, "lossy4", 3)
    lost(site, "lossy5")
    members, end = result.get(SOON)
    assert (sorted(members), end) == ([[number, "lasting"] for number in range(3)], "end")
    assert sorted(workflow["log"]) == ["end", "lasting", "lasting", "lasting"]


def test_a_retry_is_sent_again(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("lasting").apply_async((1,), {"retry_in": "lossy6"})
    lost(site, "lossy6")
    assert result.get(SOON) == [1, "lasting"]
    assert attempts(site, result) == 2
    assert workflow["log"] == ["lasting"]


def test_it_is_published_while_the_broker_is_away(site: Deployment, workflow: WorkflowHandle, wire: FaultProxy) -> None:
    cut_off = import_module(site.module).build({**site.settings, "broker_url": wire.url})
    wire.refuse()
    with closing(cut_off.manager), workflow:
        result = cut_off.app.tasks["lasting"].apply_async((1,), retry=False)
    again = site.app.AsyncResult(result.id)
    assert again.get(SOON) == [1, "lasting"]
    assert workflow["log"] == ["lasting"]


def test_nothing_is_published_while_the_store_is_away(site: Deployment, wire: FaultProxy) -> None:
    cut_off = import_module(site.module).build({**site.settings, "ctxqueue_backend_url": wire.url})
    wire.refuse()
    with closing(cut_off.manager), pytest.raises(StoreUnavailable):
        cut_off.app.tasks["lasting"].apply_async((1,), queue="lossy7")
    assert site.redis.llen("lossy7") == 0


def test_wrong_arguments_are_refused_and_nothing_is_kept(site: Deployment) -> None:
    with pytest.raises(TypeError):
        site.task("lasting").delay(nonsense=1)
    with pytest.raises(Exception, match="not JSON serializable"):
        site.task("lasting").apply_async((object(),), queue="lossy8")
    assert site.redis.llen("lossy8") == 0


def test_a_message_with_a_countdown_is_not_sent_again_before(site: Deployment) -> None:
    result = site.task("lasting").apply_async((1,), countdown=3 * LEASE)
    assert result.get(SECONDS) == [1, "lasting"]
    assert attempts(site, result) == 1
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
