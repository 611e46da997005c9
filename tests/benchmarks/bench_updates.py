"""What updates as tasks cost, beside a task that does nothing: to send one, to carry one out, many together."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.interleaved import Timing, measure, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS, wait_until

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


def test_sending_one(site: Deployment, report: Report) -> None:
    workflow = site.workflow()
    numbers = itertools.count()
    nothing = site.task("nothing")
    name = workflow.workflow_id
    with pinned_apart(site.server.pid) as pinned:
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
    unit = timings[NO_OP].median
    lines = (
        Line("enqueue_update / apply_async of a no-op", timings["enqueue_update"].median / unit, MOST_ENQUEUED),
        Line("direct update / apply_async of a no-op", timings["direct update"].median / unit, MOST_DIRECT),
    )
    circumstances = {"server": durability(site.redis), "pinned": pinned}
    report.add(Section("Sending an update", circumstances, timings, lines, NO_OP))


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_carrying_one_out(site: Deployment, report: Report) -> None:
    worker = site.worker(pool="solo", slots=1)
    workflow = site.workflow()
    numbers = itertools.count()
    senders: dict[str, Callable[[], Any]] = {
        "no-op": lambda: site.task("nothing").apply_async((workflow.workflow_id, AGENT, "x" * 36)),
        "update": lambda: site.queue.enqueue_update(workflow.workflow_id, AGENT, {f"k{next(numbers) % 50}": 1}),
    }
    spent: dict[str, list[float]] = {kind: [] for kind in senders}
    for block in range(BLOCKS + 1):
        for kind, send in senders.items():
            begun = cpu_seconds(worker.pid)
            results = [send() for _ in range(A_BLOCK)]
            for result in results:
                result.get(SECONDS)
            if block:  # the first one warms up
                spent[kind].append((cpu_seconds(worker.pid) - begun) / A_BLOCK * 1e6)
    ratios = [update / no_op for no_op, update in zip(spent["no-op"], spent["update"], strict=True)]
    line = Line("worker CPU: enqueued update / no-op task", statistics.median(ratios), MOST_WORKER_CPU)
    circumstances = {
        "server": durability(site.redis),
        "worker": f"solo, {BLOCKS} blocks of {A_BLOCK} in turn; CPU time of its process",
        "ratios": ", ".join(f"{ratio:.2f}" for ratio in ratios),
    }
    report.add(Section("Carrying out an update", circumstances, _timings(spent), (line,)))


def _timings(taken: dict[str, list[float]]) -> dict[str, Timing]:
    return {kind: Timing.of(each) for kind, each in taken.items()}


def sent(site: Deployment, workflow: WorkflowHandle, count: int, **options: Any) -> list[Any]:
    """Enqueue from a few threads at once: one alone waits for its round trips, and the worker for it."""

    def enqueue(number: int) -> Any:
        return site.queue.enqueue_update(workflow.workflow_id, AGENT, {"k": number}, **options)

    with ThreadPoolExecutor(PRODUCERS) as producers:
        return list(producers.map(enqueue, range(count)))


def rate(site: Deployment, count: int, **options: Any) -> float:
    """Updates a second, from the first one's sending until the store shows that the last has been applied."""
    workflow = site.workflow()
    begun = time.perf_counter()
    updates = sent(site, workflow, count, **options)
    wait_until(lambda: (entry := workflow.get("k")) and entry.version == count, "all are applied")
    passed = time.perf_counter() - begun
    for update in updates:
        update.get(SECONDS)
    return count / passed


def test_many_together(site: Deployment, report: Report) -> None:
    site.worker(pool="solo", slots=1)
    rates: dict[str, list[float]] = {"one task each": [], "coalesced": []}
    for block in range(BLOCKS + 1):
        alone, together = rate(site, TOGETHER // 8), rate(site, TOGETHER, coalesce=True)
        if block:
            rates["one task each"].append(alone)
            rates["coalesced"].append(together)
    ratios = [together / alone for alone, together in zip(rates["one task each"], rates["coalesced"], strict=True)]
    line = Line(
        "updates a second, end to end: coalesced / one task each",
        statistics.median(ratios),
        LEAST_COALESCED,
        at_least=True,
    )
    circumstances = {
        "server": durability(site.redis),
        "workers": f"one, solo; {PRODUCERS} producing threads",
        **{f"{kind}, updates/s": ", ".join(f"{each:.0f}" for each in rate) for kind, rate in rates.items()},
    }
    taken = {kind: [1e6 / each for each in measured] for kind, measured in rates.items()}
    report.add(Section("Many updates together", circumstances, _timings(taken), (line,)))
