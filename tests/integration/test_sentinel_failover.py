"""Broker, result backend and store behind Sentinels, as the settings are shipped: the master dies under load."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery.result import AsyncResult, denied_join_result
from kombu.exceptions import OperationalError

from ctxqueue import celery_defaults
from ctxqueue.integration.backend import OUR_SENTINELS
from ctxqueue.testing import EmbeddedSentinels
from ctxqueue.testing.sentinels import MASTER_NAME
from tests.integration.apps.chaos import ACKNOWLEDGED
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle

pytestmark = pytest.mark.long

RATE = 50
"""Tasks a second."""
BEFORE, AFTER = 5.0, 15.0
"""Seconds of tasks before the fault, and after it."""
DOWN_AFTER = 1.0
"""Seconds that a master is silent before the Sentinels replace it. With the failover itself, which takes another, it is
less than the 3 s after which clients begin to try again: those that do so earlier get the old address once more."""
LONGEST_GAP = 10.0
"""Seconds without an update that is told of."""
WORKFLOWS = 20
FLAGS = ("--without-mingle",)
"""A worker that connects anew would look for others for four seconds before it takes a message."""


@pytest.fixture
def sentinels() -> Iterator[EmbeddedSentinels]:
    with EmbeddedSentinels(down_after=DOWN_AFTER) as sentinels:
        yield sentinels


@pytest.fixture
def site(sentinels: EmbeddedSentinels, tmp_path: Path) -> Iterator[Deployment]:
    """The app on the Sentinels; the deployment's own server only takes down what the tasks were told."""
    defaults = celery_defaults()
    url = sentinels.url().partition("?")[0]
    name = {"master_name": MASTER_NAME}
    settings = {
        **defaults,
        "broker_url": url,
        "result_backend": f"{OUR_SENTINELS}{url}",
        "broker_transport_options": {**defaults["broker_transport_options"], **name, "visibility_timeout": 15},
        "result_backend_transport_options": name,
        "ctxqueue_wait_replicas": 1,
        "ctxqueue_lease": 5.0,
        "ctxqueue_sweep_interval": 1.0,
    }
    with Deployment("chaos", tmp_path, settings) as site:
        for _ in range(2):
            site.worker(slots=2, flags=FLAGS)
        site.beat()
        yield site


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_master_that_dies_costs_no_update_that_was_told_of(
    site: Deployment, sentinels: EmbeddedSentinels, fault: str
) -> None:
    workflows = [site.workflow() for _ in range(WORKFLOWS)]
    master = sentinels.master()
    published = _publish(site, workflows, BEFORE)
    getattr(master, fault)()
    published |= _publish(site, workflows, AFTER)
    if fault == "pause":
        master.resume()
        # Until a Sentinel has told it otherwise it takes itself for the master, and answers who asks it as of then.
        sentinels.wait_until_whole()
    with redis.Redis.from_url(sentinels.master().url()) as client:
        wait_until(lambda: client.llen("celery") == 0 == client.hlen("unacked"), "the broker is empty", 2 * SECONDS)
    ended = {name: _state(site, task_id) for name, task_id in published.items()}
    told = [json.loads(each) for each in site.redis.lrange(ACKNOWLEDGED, 0, -1)]
    held = Counter(name for workflow in workflows for name in workflow["names"])
    # The messages are a plain publish: those that the replica had not got are lost with the old master.
    lost_by_the_broker = [name for name, state in ended.items() if state == "PENDING"]
    gap = max(later - earlier for (earlier, _), (later, _) in pairwise(sorted(told)))
    sys.stdout.write(
        f"{fault}: {len(published)} tasks, {len(told)} told of, {len(lost_by_the_broker)} lost by the broker,"
        f" gap {gap:.1f} s, {Counter(ended.values())}\n"
    )
    assert {name for _, name in told} - set(held) == set()
    assert {name for name, state in ended.items() if state == "SUCCESS"} - set(held) == set()
    assert [name for name, times in held.items() if times != 1] == []
    assert set(ended.values()) <= {"SUCCESS", "PENDING"}
    assert set(held) <= set(published)
    assert gap < LONGEST_GAP


def _publish(site: Deployment, workflows: list[WorkflowHandle], seconds: float) -> dict[str, str]:
    """Publish for so long, each one until the broker takes it; return the names and the tasks' ids."""
    published: dict[str, str] = {}
    begun = time.monotonic()
    for number in range(int(seconds * RATE)):
        due = begun + number / RATE
        wait_until(lambda due=due: time.monotonic() >= due, "the next one's time has come")  # type: ignore[misc]
        name = f"name-{begun:.3f}-{number}"
        workflow = workflows[number % len(workflows)]
        signature: Any = site.task("append_through").s(name)
        signature.freeze()
        with workflow, denied_join_result():
            wait_until(lambda signature=signature: _taken(signature), f"the broker takes {name}")  # type: ignore[misc]
        published[name] = signature.id
    return published


def _taken(signature: Any) -> bool:
    try:
        signature.apply_async()
    except OperationalError:
        return False
    return True


def _state(site: Deployment, task_id: str) -> str:
    return str(AsyncResult(task_id, app=site.app).state)
