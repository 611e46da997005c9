"""An app whose context is in another store than its broker: tasks wait, go on and update as ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chain

from ctxqueue import WorkflowClosed
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.testing import EmbeddedCluster, EmbeddedPostgres

STORES = ("sqlite", "postgres", "cluster")


@pytest.fixture(scope="module", params=STORES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{folder / 'context.db'}"
    if request.param == "postgres":
        server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
        url = server.url("test0")
    elif request.param == "cluster":
        cluster: EmbeddedCluster = request.getfixturevalue("redis_cluster")
        url = cluster.url()
    settings = {"ctxqueue_backend_url": url, "ctxqueue_namespace": "elsewhere", "ctxqueue_sweep_interval": 0.5}
    with Deployment("parking", folder, settings) as site:
        site.worker()
        yield site


def test_tasks_wait_without_a_worker_and_go_on_in_a_chain(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        ends = [chain(site.task("sum_up").si(number), site.task("double").s()).delay() for number in range(10)]
    for end in ends:
        wait_until(lambda end=end: end.parent.state == "WAITING", "it waits")  # type: ignore[misc]
    # The state is written before the run is parked, and the message acknowledged after.
    wait_until(lambda: not any(site.queued().values()), "all are parked")
    workflow.put("revenue", 1)
    assert workflow.update({"rates": 2}).fired == 10
    assert [end.get(SECONDS) for end in ends] == [[number, 3, number, 3] for number in range(10)]
    wait_until(lambda: site.queued() == {"queue": 0, "unacked": 0, "unacked_index": 0}, "the broker holds nothing")


def test_an_enqueued_update_is_done_once(site: Deployment) -> None:
    workflow = site.workflow()
    results = [
        site.queue.enqueue_update(workflow.workflow_id, f"agent_{n}", {"list": [n]}, merge_strategy="append")
        for n in range(20)
    ]
    assert sorted(result.get(SECONDS)["versions"]["list"] for result in results) == list(range(1, 21))
    assert sorted(workflow["list"]) == list(range(20))


def test_beat_ends_waits_and_lives(site: Deployment) -> None:
    workflow = site.workflow()
    workflow.put("soon", 1, ttl=0.1)
    with workflow:
        result = site.task("impatient").delay()
    beat = site.beat()
    wait_until(lambda: result.state == "FAILURE", "the deadline ends it")
    wait_until(lambda: [change.kind for change in workflow.changes()] == ["put", "expired"], "the entry is swept")
    site.stop(beat)


def test_a_closed_workflow_lets_its_tasks_go(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("sum_up").delay()
    wait_until(lambda: result.state == "WAITING", "it waits")
    workflow.close()
    with pytest.raises(WorkflowClosed, match="revenue, rates"):
        result.get(SECONDS)
