"""Beat sets the sweep and the callbacks going, at the interval that the app configures."""

from __future__ import annotations

from ast import literal_eval
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import DependencyTimeout
from ctxqueue.stores.redis.keys import workflow_keys
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

INTERVAL = 0.4
JITTER = 0.05
OURS = ("ctxqueue.cleanup_sweep", "ctxqueue.dependency_callbacks")


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking", ctxqueue_sweep_interval=INTERVAL, ctxqueue_lease=1.0)
    site.worker()
    site.beat()
    return site


def test_beat_sends_each_of_our_tasks_at_the_interval_and_a_late_one_expires(deploy: Deploy) -> None:
    site = deploy("parking", ctxqueue_sweep_interval=INTERVAL)
    beat = site.beat()
    ticks = 5
    wait_until(lambda: len(site.waiting_messages()) >= ticks * len(OURS), "beat has ticked a few times")
    site.stop(beat)
    messages = site.waiting_messages()
    assert {message["headers"]["task"] for message in messages} == set(OURS)
    for name in OURS:
        ours = [message for message in messages if message["headers"]["task"] == name]
        ends = [datetime.fromisoformat(message["headers"]["expires"]) for message in ours]
        pauses = [(second - first).total_seconds() for first, second in pairwise(ends)]
        # A tick that comes late makes one pause longer and the next one shorter: not every pause, in either way.
        assert max(pauses) > INTERVAL - JITTER
        assert min(pauses) < 2 * INTERVAL
        assert all(float(message["properties"]["expiration"]) <= INTERVAL * 1_000 for message in ours)


def test_a_tick_that_nobody_took_in_time_is_not_carried_out(deploy: Deploy) -> None:
    site = deploy("parking", ctxqueue_sweep_interval=INTERVAL)
    beat = site.beat()
    wait_until(lambda: len(site.waiting_messages()) >= len(OURS), "beat has ticked")
    site.stop(beat)
    late = len(site.waiting_messages())
    wait_until(lambda: site.clock() > last_expiry(site.waiting_messages()), "the ticks have expired")
    site.worker()
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
    wait_until(lambda: site.log().count("Discarding revoked task: ctxqueue.") == late, "each was discarded")


def last_expiry(messages: list[dict[str, Any]]) -> float:
    return max(datetime.fromisoformat(message["headers"]["expires"]).timestamp() for message in messages)


def test_an_expired_entry_goes_without_anyone_reading_it(site: Deployment) -> None:
    workflow = site.workflow()
    workflow.put("brief", 1, ttl=2.0)
    workflow.put("lasting", 2)
    entries = workflow_keys("default", workflow.workflow_id).e
    assert site.redis.hlen(entries) == 2
    wait_until(lambda: site.redis.hlen(entries) == 1, "the expired entry is gone")
    assert workflow["lasting"] == 2
    wait_until(lambda: any(run["expired"] and not run["evicted"] for run in sweeps(site)), "the run is on record")
    assert all(run.keys() == {"scanned", "expired", "evicted", "kept", "seconds", "complete"} for run in sweeps(site))
    wait_until(lambda: any(run["scanned"] == 0 for run in sweeps(site)), "one that finds nothing is on record too")


def sweeps(site: Deployment) -> list[dict[str, Any]]:
    """Return what each run has recorded, as the worker's log has it."""
    return [
        literal_eval(line.partition("cleanup sweep: ")[2]) for line in site.log().splitlines() if "sweep: {" in line
    ]


def test_two_beats_do_no_harm(site: Deployment) -> None:
    second = site.beat()
    workflow = site.workflow()
    name = f"mourned:{workflow.workflow_id}"
    with workflow:
        results = [
            site.task("impatient").apply_async(link_error=site.task("mourn").s(f"{name}:{number}"))
            for number in range(20)
        ]
        resumed = site.task("named").delay("late")
    workflow.put("here", 1, ttl=0.2)
    for number, result in enumerate(results):
        with pytest.raises(DependencyTimeout):
            result.get(SECONDS)
        assert len(wait_until(lambda number=number: site.notes(f"{name}:{number}"), "it was mourned")) == 1  # type: ignore[misc]
    workflow.put("late", "came")
    assert resumed.get(SECONDS) == ["came"]
    assert site.notes(f"named:{workflow.workflow_id}") == [[]]
    site.stop(second)
