"""What 50,000 parked tasks cost: memory of each, and how long a call holds the server when one commit releases all."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.benchmarks.contents import value
from tests.benchmarks.interleaved import Timing
from tests.benchmarks.report import Line, Report, Section, durability
from tests.benchmarks.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "50,000 parked tasks"
MANY = 50_000
ONE_KEY, RELEASE = "commit of one key", "call that releases, the longest of each script"
MOST = 50.0


@pytest.fixture
def server(report: Report) -> Iterator[EmbeddedServer]:
    if not Path("/proc/self/schedstat").exists():
        report.skip(TITLE, "no /proc/self/schedstat: the kernel does not tell what a thread has used")
        pytest.skip("no /proc/self/schedstat")
    with EmbeddedServer() as server:
        yield server


@pytest.mark.long
def test_one_commit_releases_them_all_and_no_call_holds_the_server_long(
    report: Report, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(server.url())
    with redis.Redis.from_url(server.url()) as client, worker.manager as manager:
        workflow = manager.workflow(WORKFLOW, agent_id="analyst_001")
        workflow.open()
        before = client.info("memory")["used_memory"]
        for number in range(MANY):
            worker.claim_and_park(f"parked-{number}", "last")
        each = (client.info("memory")["used_memory"] - before) / MANY
        watched = Watched(server, monkeypatch)
        one_key = [max(watched.calls(partial(workflow.put, "other", value(number))))[0] for number in range(200)]
        calls = watched.calls(lambda: workflow.put("last", 1))
        while len(worker.published) < MANY:
            more = watched.calls(worker.sweep)
            more += watched.calls(lambda: worker.published.extend(worker.deliver()))
            assert more, f"{len(worker.published)} of {MANY} were released, and nothing is due"
            calls += more
        assert len(set(worker.published)) == MANY
        told = {"server": durability(client), "memory of one, beside its message": f"{each:,.0f} bytes"}
    unit = Timing.of(one_key)
    slowest: dict[str, list[float]] = {}
    for micros, script in calls:
        slowest.setdefault(script, []).append(micros)
    timings = {f"{RELEASE}: {script}": Timing.of([max(taken)] * 2) for script, taken in slowest.items()}
    lines = tuple(
        Line(f"{name} / {ONE_KEY}, server time", timing.median / unit.median, MOST) for name, timing in timings.items()
    )
    report.add(Section(TITLE, told, {ONE_KEY: unit, **timings}, lines, ONE_KEY))
