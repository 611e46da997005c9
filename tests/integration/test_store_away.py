"""While the store is away nothing is lost: messages wait, and are carried out once it is back."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from celery.signals import before_task_publish

import ctxqueue
from ctxqueue.flows import inbox
from ctxqueue.flows.stored import UpdateRef
from ctxqueue.testing import EmbeddedServer, FaultProxy
from tests.integration.apps import effects
from tests.integration.deployments import ASIDE
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

AGENT = "web_extractor_001"


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedServer]:
    """A store beside the broker, with a workflow in it."""
    with EmbeddedServer() as store, ctxqueue.connect(store.url()) as manager:
        manager.workflow("away").open()
        yield store


@pytest.fixture(scope="module")
def wire(store: EmbeddedServer) -> Iterator[FaultProxy]:
    with FaultProxy(store.url()) as wire:
        yield wire


@pytest.fixture
def site(deploy: Deploy, wire: FaultProxy) -> Deployment:
    """A worker that cannot reach its store."""
    wire.refuse()
    wire.reset_all()
    site = deploy("effects", ctxqueue_backend_url=wire.url, ctxqueue_lease=1.0)
    site.worker()
    return site


def test_a_task_waits_in_the_broker_for_its_store(site: Deployment, store: EmbeddedServer, wire: FaultProxy) -> None:
    workflow = site.queue.workflow("away", agent_id=AGENT)
    with workflow:
        result = site.task("extract").delay("rows")
    wait_until(lambda: f"[{result.id}] goes back to the queue" in site.log(), "the message was given back")
    assert site.notes(f"ran:{result.id}") == []
    assert result.state == "PENDING"
    wire.resume()
    answer = result.get(SECONDS)
    with ctxqueue.connect(store.url()) as manager:
        assert manager.workflow("away")["log"] == answer
    assert site.notes(f"ran:{result.id}") == ["rows"]


def retries_under_way(site: Deployment) -> list[dict[str, Any]]:
    held = [json.loads(message)[0] for message in site.redis.hvals("unacked")]
    return [each for each in (*held, *site.waiting_messages()) if each["headers"]["retries"]]


def test_an_update_is_tried_again_and_its_retry_shows_no_values(
    site: Deployment, store: EmbeddedServer, wire: FaultProxy
) -> None:
    wire.resume()
    result = site.queue.enqueue_update("away", AGENT, {"salary": "classified"}, queue=ASIDE)
    (message,) = site.all_intercepted()
    wire.refuse()
    wire.reset_all()
    site.deliver(message)
    (retry, *_) = wait_until(lambda: retries_under_way(site), "the update is tried again")
    for word in ("salary", "classified"):
        assert word not in json.dumps(retry)
    wire.resume()
    assert result.get(SECONDS)["versions"] == {"salary": 1}
    with ctxqueue.connect(store.url()) as manager:
        assert manager.workflow("away", agent_id=AGENT)["salary"] == "classified"


def test_an_update_that_cannot_be_stored_is_not_sent(site: Deployment) -> None:
    with pytest.raises(ctxqueue.StoreUnavailable):
        site.queue.enqueue_update("away", AGENT, {"rows": 1}, queue=ASIDE)
    assert site.all_intercepted() == []


def test_an_update_is_published_once_the_store_has_answered(site: Deployment, wire: FaultProxy) -> None:
    """Its message is made ready meanwhile, but what is in the queue is stored."""
    wire.resume()
    ready = threading.Event()

    def is_ready(**_signal: object) -> None:
        ready.set()

    def enqueue() -> str:
        return str(site.queue.enqueue_update("away", AGENT, {"rows": 1}, queue=ASIDE).id)

    enqueue()  # connects
    site.all_intercepted()
    wire.hang()
    before_task_publish.connect(is_ready)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(enqueue)
        assert ready.wait(SECONDS)
        assert site.all_intercepted() == []
        wire.resume()
        task_id = call.result(SECONDS)
    before_task_publish.disconnect(is_ready)
    (message,) = site.all_intercepted()
    assert json.loads(message)["headers"]["id"] == task_id


def test_an_update_is_stored_where_there_is_no_broker(store: EmbeddedServer) -> None:
    """Its sweep sends it, once there is one."""
    queue = effects.build(
        {
            "broker_url": "redis://127.0.0.1:1/0",
            "broker_connection_retry_on_startup": False,
            "task_publish_retry": False,
            "result_backend": "cache+memory://",
            "ctxqueue_backend_url": store.url(),
            "sample_url": store.url(),
        }
    )
    result = queue.enqueue_update("away", AGENT, {"brokerless": [1]}, merge_strategy="append", operation_id="once")
    assert result.state == "PENDING"
    with pytest.raises(ctxqueue.WorkflowNotFound):
        queue.enqueue_update("unknown", AGENT, {"k": 1})
    with ctxqueue.connect(store.url()) as manager:
        assert manager.driver.run(inbox.carry_out(manager.terms, UpdateRef("away", AGENT, "once"))).revision
        assert manager.workflow("away", agent_id=AGENT)["brokerless"] == [1]
    queue.manager.close()
    queue.app.close()


def test_an_update_is_stored_where_the_result_backend_is_away(store: EmbeddedServer) -> None:
    """Celery wants to listen for the result before it publishes; the sweep sends it, once that can be done."""
    with FaultProxy(store.url()) as wire:
        urls = {"broker_url": store.url(), "result_backend": wire.url, "ctxqueue_backend_url": store.url()}
        tries_once = {"retry_policy": {"max_retries": 0}}
        queue = effects.build({**urls, "result_backend_transport_options": tries_once, "sample_url": store.url()})
        with closing(queue.manager) as manager:
            queue.enqueue_update("away", AGENT, {"early": 1}, queue=ASIDE).forget()
            wire.refuse()
            wire.reset_all()
            result = queue.enqueue_update("away", AGENT, {"late": [1]}, operation_id="late", queue=ASIDE)
            assert result.id
            assert manager.driver.run(inbox.carry_out(manager.terms, UpdateRef("away", AGENT, "late"))).revision
            wire.resume()
            del result  # Celery stops to listen for it
