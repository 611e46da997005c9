"""What updates as tasks cost, beside a task that does nothing: to send one, to carry one out, many together."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.interleaved import durability, measure, pin_apart, table, write_report
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle

AGENT = "web_extractor_001"
NO_OP = "apply_async of a no-op"
MOST_ENQUEUED = 1.6
MOST_DIRECT = 0.5
MOST_WORKER_CPU = 1.5
LEAST_COALESCED = 10.0
BLOCKS = 5
A_BLOCK = 400
TOGETHER = 4_000
PRODUCERS = 4


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(
        "inbox", tmp_path, {"ctxqueue_inbox_limit": 10 * TOGETHER, "worker_prefetch_multiplier": 32}
    ) as site:
        yield site


def test_sending_one(site: Deployment) -> None:
    pinned = pin_apart(site.server.pid)
    workflow = site.workflow()
    numbers = itertools.count()
    nothing = site.task("nothing")
    name = workflow.workflow_id
    timings = measure(
        {
            NO_OP: lambda: nothing.apply_async((name, AGENT, "x" * 36)),
            "direct update": lambda: workflow.update({"k": next(numbers)}),
            "enqueue_update": lambda: site.queue.enqueue_update(name, AGENT, {"k": next(numbers)}),
            "enqueue_update, coalesced": lambda: site.queue.enqueue_update(
                name, AGENT, {"k": next(numbers)}, coalesce=True
            ),
        },
        rounds=1_500,
    )
    circumstances = {"server": durability(site.redis), "pinned": pinned}
    path = write_report("updates-sent", circumstances, timings, NO_OP)
    unit = timings[NO_OP].median
    sys.stdout.write(f"\n{circumstances['server']}; {pinned}\n{table(timings, NO_OP)}\n{path}\n")
    assert timings["enqueue_update"].median <= MOST_ENQUEUED * unit
    assert timings["direct update"].median <= MOST_DIRECT * unit


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_carrying_one_out(site: Deployment) -> None:
    worker = site.worker(pool="solo", slots=1)
    workflow = site.workflow()
    numbers = itertools.count()
    senders: dict[str, Callable[[], Any]] = {
        "no-op": lambda: site.task("nothing").apply_async((workflow.workflow_id, AGENT, "x" * 36)),
        "update": lambda: site.queue.enqueue_update(workflow.workflow_id, AGENT, {f"k{next(numbers) % 50}": 1}),
    }
    ratios = []
    for block in range(BLOCKS + 1):
        spent = {}
        for kind, send in senders.items():
            begun = cpu_seconds(worker.pid)
            results = [send() for _ in range(A_BLOCK)]
            for result in results:
                result.get(SECONDS)
            spent[kind] = cpu_seconds(worker.pid) - begun
        if block:  # the first one warms up
            ratios.append(spent["update"] / spent["no-op"])
    median = statistics.median(ratios)
    sys.stdout.write(
        f"\nworker CPU, update / no-op: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; median {median:.2f}"
        f" (at most {MOST_WORKER_CPU})\n"
    )
    assert median <= MOST_WORKER_CPU


def sent(site: Deployment, workflow: WorkflowHandle, count: int, **options: Any) -> list[Any]:
    """Enqueue from a few threads at once: one alone waits for its round trips, and the worker for it."""

    def enqueue(number: int) -> Any:
        return site.queue.enqueue_update(workflow.workflow_id, AGENT, {"k": number}, **options)

    with ThreadPoolExecutor(PRODUCERS) as producers:
        return list(producers.map(enqueue, range(count)))


def rate(site: Deployment, count: int, **options: Any) -> float:
    """Updates a second, from the first one's sending to the last one's outcome."""
    workflow = site.workflow()
    begun = time.perf_counter()
    for update in sent(site, workflow, count, **options):
        update.get(SECONDS)
    return count / (time.perf_counter() - begun)


def test_many_together(site: Deployment) -> None:
    site.worker(pool="solo", slots=1)
    rates: dict[str, list[float]] = {"one task each": [], "coalesced": []}
    for block in range(BLOCKS + 1):
        alone, together = rate(site, TOGETHER // 8), rate(site, TOGETHER, coalesce=True)
        if block:
            rates["one task each"].append(alone)
            rates["coalesced"].append(together)
    ratio = statistics.median(
        together / alone for alone, together in zip(rates["one task each"], rates["coalesced"], strict=True)
    )
    for kind, measured in rates.items():
        sys.stdout.write(f"\n{kind}: {', '.join(f'{each:.0f}' for each in measured)} updates/s")
    sys.stdout.write(f"\ncoalesced / one task each, median: {ratio:.1f} (at least {LEAST_COALESCED})\n")
    assert ratio >= LEAST_COALESCED
