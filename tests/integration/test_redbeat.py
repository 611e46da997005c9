"""Our beat entries under RedBeat, which keeps its schedule in Redis and lets one beat of several work."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, cast

import pytest

from ctxqueue import DependencyTimeout
from ctxqueue.stores.redis.keys import workflow_keys
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.testing.processes import KeptProcess
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

REDBEAT = ("-S", "redbeat.RedBeatScheduler")
NAMES = ("ctxqueue.cleanup_sweep", "ctxqueue.dependency_callbacks")


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy(
        "parking",
        ctxqueue_sweep_interval=1.0,
        ctxqueue_lease=1.0,
        beat_max_loop_interval=1,
        redbeat_lock_timeout=3,
    )
    site.worker()
    return site


def until_swept(site: Deployment) -> None:
    """An expired entry goes, which only a sweep does."""
    workflow = site.workflow()
    workflow.put("brief", 1, ttl=0.5)
    entries = workflow_keys("default", workflow.workflow_id).e
    wait_until(lambda: site.redis.hlen(entries) == 0, "the expired entry is gone")


def holder(site: Deployment) -> bytes | None:
    """Who holds RedBeat's lock."""
    token: Any = site.redis.get("redbeat::lock")
    return cast("bytes | None", token)


def test_our_entries_run_and_another_beat_takes_over_when_one_dies(site: Deployment) -> None:
    first: KeptProcess = site.beat(*REDBEAT)
    wait_until(lambda: holder(site), "the first beat has the lock")
    until_swept(site)
    assert all(site.redis.exists(f"redbeat:{name}") for name in NAMES)
    held = holder(site)
    second = site.beat(*REDBEAT)
    with site.workflow():
        late = site.task("impatient").delay()
    with pytest.raises(DependencyTimeout):
        late.get(SECONDS)
    assert holder(site) == held
    site.stop(first, signal.SIGKILL)
    wait_until(lambda: holder(site) not in (None, held), "the second beat has the lock")
    until_swept(site)
    assert not second.ended.is_set()
