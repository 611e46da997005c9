"""RabbitMQ as the broker, the context in Redis: ``./dev test-rabbitmq``."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord

from ctxqueue import DependencyTimeout, celery_defaults
from ctxqueue.integration.check import findings
from ctxqueue.integration.setup import look
from tests.integration.apps import parking
from tests.integration.deployments import Deployment
from tests.rabbitmq import INSTALL_HINT, EmbeddedRabbitMQ, find_rabbitmq
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.skipif(find_rabbitmq() is None, reason=INSTALL_HINT)]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedRabbitMQ]:
    script = find_rabbitmq()
    assert script is not None
    with EmbeddedRabbitMQ(script) as broker:
        yield broker


def settings(broker: EmbeddedRabbitMQ) -> dict[str, Any]:
    """Return the shipped ones, but for what only a Redis broker understands."""
    defaults = celery_defaults()
    del defaults["broker_transport_options"]
    return {**defaults, "broker_url": broker.url, "ctxqueue_sweep_interval": 0.5, "ctxqueue_lease": 3.0}


@pytest.fixture(scope="module")
def site(broker: EmbeddedRabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment("parking", tmp_path_factory.mktemp("parking"), settings(broker)) as site:
        site.worker()
        site.beat()
        yield site


def test_tasks_wait_without_a_worker_and_go_on_in_a_chain(site: Deployment, broker: EmbeddedRabbitMQ) -> None:
    workflow = site.workflow()
    with workflow:
        ends = [chain(site.task("sum_up").si(number), site.task("double").s()).delay() for number in range(10)]
    wait_until(lambda: len(site.parked(workflow)) == len(ends), "all are parked")  # WAITING is said before that
    assert {end.parent.state for end in ends} == {"WAITING"}
    wait_until(lambda: broker.held("celery") == 0, "the broker holds none of them; a tick of beat's comes and goes")
    workflow.put("revenue", 1)
    assert workflow.update({"rates": 2}).fired == 10
    assert [end.get(SECONDS) for end in ends] == [[number, 3, number, 3] for number in range(10)]


def test_members_of_a_chord_wait_too(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        body = chord([site.task("named").s(name) for name in "abc"], site.task("gather").s()).delay()
    for number, name in enumerate("abc"):
        workflow.put(name, number)
    assert body.get(SECONDS) == [[0], [1], [2]]


def test_an_enqueued_update_is_done_once(site: Deployment, broker: EmbeddedRabbitMQ) -> None:
    workflow = site.workflow()
    results = [
        site.queue.enqueue_update(workflow.workflow_id, f"agent_{n}", {"list": [n]}, merge_strategy="append")
        for n in range(20)
    ]
    assert sorted(result.get(SECONDS)["versions"]["list"] for result in results) == list(range(1, 21))
    assert sorted(workflow["list"]) == list(range(20))
    assert broker.held("celery") <= 2  # ticks of beat at most


def test_beat_ends_waits_and_lives(site: Deployment) -> None:
    workflow = site.workflow()
    workflow.put("soon", 1, ttl=0.1)
    with workflow:
        result = site.task("impatient").delay()
    with pytest.raises(DependencyTimeout, match="here"):
        result.get(SECONDS)
    wait_until(lambda: [change.kind for change in workflow.changes()] == ["put", "expired"], "the entry is swept")


def test_the_check_says_why_it_lets_nobody_in(site: Deployment, broker: EmbeddedRabbitMQ) -> None:
    urls = {
        broker.url: "",
        broker.url.replace("guest:guest", "guest:s3cret"): "ACCESS_REFUSED",
        f"{broker.url.rstrip('/')}/elsewhere": "vhost elsewhere not found",
    }
    for url, why in urls.items():
        queue = parking.build({**site.settings, "broker_url": url})
        told = [finding for finding in findings(look(queue)) if finding.about.startswith("broker at")]
        queue.manager.close()
        assert [why in finding.risk for finding in told] == [True] * bool(why)
        assert "s3cret" not in str(told)


def test_a_killed_process_and_a_killed_worker_leave_each_effect_once(broker: EmbeddedRabbitMQ, tmp_path: Path) -> None:
    # Kombu keeps one pool for all apps of a broker's URL: the first deployment to close would close the other's.
    other_name = {"broker_url": broker.url.replace("127.0.0.1", "localhost")}
    with Deployment("effects", tmp_path, {**settings(broker), **other_name}) as site:
        site.app.conf.task_default_queue = "effects"
        site.settings["task_default_queue"] = "effects"
        worker = site.worker(slots=2)
        site.beat()
        workflow = site.workflow()
        with workflow:
            result = site.task("halfway").delay(workflow.workflow_id)
        site.until_held(workflow.workflow_id)
        os.kill(site.notes(f"ran:{result.id}")[0], signal.SIGKILL)
        site.until_held(workflow.workflow_id, times=2)
        site.stop(worker, signal.SIGKILL)
        site.let_go(workflow.workflow_id, times=5)
        site.worker(slots=2)
        answer = result.get(SECONDS)
        first, second = workflow["log"]
        assert (first.partition("-")[0], second.partition("-")[0]) == ("first", "second")
        assert answer == [first, second] or answer[1] == second
        assert len(site.notes(f"ran:{result.id}")) == 3
