"""How soon a task begins that a commit has released, beside one that is published and needs nothing."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import redis

from tests.benchmarks.interleaved import Timing
from tests.benchmarks.report import Line, Report, Section, durability
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS, WARM_UP = 120, 15
NO_OP, RELEASE, PARK = "publish to start, of a no-op", "commit of the last key to start", "publish to parked"


def test_what_is_released_begins_as_soon_as_what_is_published(report: Report, tmp_path: Path) -> None:
    with Deployment("latency", tmp_path, {}) as site:
        site.worker(slots=2)
        taken: dict[str, list[float]] = {NO_OP: [], RELEASE: [], PARK: []}
        for number in range(WARM_UP + ROUNDS):
            calls: list[Callable[[Deployment, int], dict[str, float]]] = [_no_op, _dependent]
            random.shuffle(calls)
            for call in calls:
                for what, seconds in call(site, number).items() if number >= WARM_UP else ():
                    taken[what].append(seconds * 1e6)
        with redis.Redis.from_url(site.url) as client:
            server = durability(client)
    timings = {what: Timing.of(samples) for what, samples in taken.items()}
    waited = Timing.of([park + release for park, release in zip(taken[PARK], taken[RELEASE], strict=True)])
    unit = timings[NO_OP].median
    lines = (
        Line("commit of the last key to start / latency of a no-op", timings[RELEASE].median / unit, 1.4),
        Line("park and release / latency of two no-ops", waited.median / (2 * unit), 1.6),
    )
    told = {"server": server, "what": "one worker of two processes, idle; broker, results and store on one server"}
    report.add(Section("Latency of what is released", told, {**timings, "park and release": waited}, lines, NO_OP))


def _until_idle(site: Deployment) -> None:
    """Wait until the worker has nothing to do: else the next message meets a process that is wide awake, or busy."""
    wait_until(lambda: not any(site.queued().values()), "all messages are acknowledged")


def _no_op(site: Deployment, _number: int) -> dict[str, float]:
    _until_idle(site)
    published = time.time()
    return {NO_OP: site.task("no_op").delay().get(SECONDS) - published}


def _dependent(site: Deployment, number: int) -> dict[str, float]:
    workflow = site.workflow("latency")
    name = f"key-{number}"
    _until_idle(site)
    with workflow:
        published = time.time()
        result = site.task("dependent").delay(name)
    wait_until(lambda: site.parked(workflow), "it is parked")
    (record,) = site.records(workflow)
    _until_idle(site)
    committed = time.time()
    workflow.put(name, 1)
    began: float = result.get(SECONDS)
    return {PARK: int(record["p"]) / 1e6 - published, RELEASE: began - committed}
