"""How long one call holds the server, which serves nobody else meanwhile: the worst cases beside a one-key commit."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue import Put, all_of, connect
from ctxqueue.context import SharedContextManager
from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.benchmarks.contents import filled, key, value
from tests.benchmarks.interleaved import Timing, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability
from tests.benchmarks.watched import Watched
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


TITLE = "Server time of one call"
ONE_KEY = "commit of one key"
MOST = 50.0
ROUNDS = 9
FEW_ROUNDS = 3
"""Where each round takes long to prepare."""


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, report: Report) -> Iterator[Watched]:
    if not Path("/proc/self/schedstat").exists():
        report.skip(TITLE, "no /proc/self/schedstat: the kernel does not tell what a thread has used")
        pytest.skip("no /proc/self/schedstat")
    with EmbeddedServer() as server, pinned_apart(server.pid):
        yield Watched(server, monkeypatch)


def of_value(size: int) -> dict[str, Any]:
    return value(1, size)


def committing(watched: Watched) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = filled(manager, 10)
        numbers = itertools.count()
        while True:
            yield lambda: wf.put(key(1), value(next(numbers)))


def two_hundred_keys(watched: Watched) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = manager.workflow("two-hundred", agent_id="analyst_001")
        wf.open()
        while True:
            yield lambda: wf.update({key(number): of_value(5_000) for number in range(200)}, merge_strategy="replace")


def one_megabyte(watched: Watched) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = manager.workflow("megabyte", agent_id="analyst_001")
        wf.open()
        large = of_value(1_040_000)
        while True:
            yield lambda: wf.put("large", large)


def over_large_values(watched: Watched, *, pinned: bool) -> Iterator[Callable[[], object]]:
    """Small values over 200 large ones; with an option of its own each goes as a put, else as a set."""
    with connect(watched.url) as manager:
        wf = manager.workflow(f"over-large-{pinned}", agent_id="analyst_001")
        wf.open()
        small = {key(number): Put(number, pinned=True) if pinned else number for number in range(200)}
        while True:
            for number in range(200):
                wf.put(key(number), of_value(250_000))
            yield lambda: wf.update(small, merge_strategy="replace")


def evicting(watched: Watched) -> Iterator[Callable[[], object]]:
    with SharedContextManager(watched.url, {"max_entries": 1_000}) as manager:
        wf = filled(manager, 1_000, "evicting")
        numbers = itertools.count(1_000)
        while True:
            yield lambda: wf.update({key(next(numbers)): value(1) for _ in range(100)})


def listing(watched: Watched, size: int) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = manager.workflow(f"listing-{size}", agent_id="analyst_001")
        wf.open()
        for first in range(0, 1_200, 100):
            wf.update({key(number): of_value(size) for number in range(first, first + 100)})
        while True:
            yield lambda: wf.list(limit=1_000)


def catching_up(watched: Watched, size: int) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager, connect(watched.url) as elsewhere:
        wf = manager.workflow(f"catching-up-{size}", agent_id="analyst_001")
        wf.open()
        others = elsewhere.workflow(wf.workflow_id, agent_id="other_1")
        while True:
            wf.view()
            for first in range(0, 1_000, 100):
                others.update({key(number): of_value(size) for number in range(first, first + 100)})
            yield wf.view


def reading_history(watched: Watched, size: int) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = manager.workflow(f"history-{size}", agent_id="analyst_001")
        wf.open()
        for _ in range(21):
            wf.put("k", of_value(size))
        while True:
            yield lambda: wf.history("k")


def viewing(watched: Watched) -> Iterator[Callable[[], object]]:
    """Of a process that sees the workflow for the first time."""
    with connect(watched.url) as manager:
        filled(manager, 10_000, "viewed")
    while True:
        with connect(watched.url) as manager:
            yield manager.workflow("viewed", agent_id="analyst_001").view


def erasing(watched: Watched, size: int) -> Iterator[Callable[[], object]]:
    """What one agent wrote, among as much of another's."""
    with connect(watched.url) as manager:
        for turn in itertools.count():
            handles = [manager.workflow(f"erased-{size}", agent_id=f"{name}_{turn}") for name in ("one", "other")]
            handles[0].open()
            for _ in range(10):
                for handle in handles:
                    handle.put("k", of_value(size))
            yield lambda turn=turn: manager.erase(agent_id=f"one_{turn}")  # type: ignore[misc]


def forgetting(watched: Watched, size: int) -> Iterator[Callable[[], object]]:
    """The values of a key that was deleted so long ago that the log does not tell of it any more."""
    with SharedContextManager(watched.url, {"log_limit": 10}) as manager:
        wf = manager.workflow(f"forgotten-{size}", agent_id="analyst_001")
        wf.open()
        for turn in itertools.count():
            for _ in range(20):
                wf.put(f"k{turn}", of_value(size))
            wf.delete(f"k{turn}")
            for number in range(9):
                wf.put("other", number)
            yield lambda: wf.put("other", 9)


def reading_changes(watched: Watched) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = manager.workflow("changes", agent_id="analyst_001")
        wf.open()
        for _ in range(100):
            wf.update({key(number): number for number in range(200)}, merge_strategy="replace")
        while True:
            yield lambda: wf.changes(0, limit=1_000)


def fanning_out(watched: Watched) -> Iterator[Callable[[], object]]:
    worker = Worker(watched.url)
    with worker.manager as manager:
        wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
        wf.open()
        wf.update({key(number): 1 for number in range(1, 200)})
        for turn in itertools.count():
            needs = all_of(*(f"absent{turn}.{number}" for number in range(999)), "last")
            for number in range(200):
                worker.claim_and_park(f"{turn}-{number}", needs)
            yield lambda: wf.put("last", 1)
            wf.delete("last")


def claiming(watched: Watched) -> Iterator[Callable[[], object]]:
    worker = Worker(watched.url)
    with worker.manager as manager:
        wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
        wf.open()
        needs = all_of(*(key(number) for number in range(1_000)))
        turns = itertools.count()
        while True:
            yield lambda: worker.claim_and_park(f"claimed-{next(turns)}", needs)


def ending(watched: Watched) -> Iterator[Callable[[], object]]:
    worker = Worker(watched.url)
    with worker.manager as manager:
        for turn in itertools.count():
            wf = filled(manager, 10_000, WORKFLOW)
            for _ in range(3):
                wf.update({key(number): value(number) for number in range(200)})
            for number in range(150):
                worker.claim_and_park(f"ends-{turn}-{number}", all_of("never"))
            yield wf.remove


def expiring(watched: Watched) -> Iterator[Callable[[], object]]:
    with connect(watched.url) as manager:
        wf = filled(manager, 9_000, "expiring")
        while True:
            wf.update({f"short{number}": Put(value(number), ttl=0.05) for number in range(200)})
            wait_until(lambda: wf.get("short0") is None, "they have expired")
            yield manager.cleanup_expired_contexts


CASES: dict[str, tuple[Callable[[Watched], Iterator[Callable[[], object]]], int]] = {
    "commit of 200 keys of 5 KB, over as many": (two_hundred_keys, ROUNDS),
    "commit of 1 MB, over as much": (one_megabyte, ROUNDS),
    "commit of 200 small values, as put, over 250 KB each": (lambda it: over_large_values(it, pinned=True), FEW_ROUNDS),
    "commit of 200 small values, as set, over 250 KB each": (
        lambda it: over_large_values(it, pinned=False),
        FEW_ROUNDS,
    ),
    "commit of 100 keys that evicts 100": (evicting, ROUNDS),
    "page of 1,000 small entries": (lambda it: listing(it, 200), ROUNDS),
    "page of 256 KB": (lambda it: listing(it, 10_000), ROUNDS),
    "view brought up to date, 1,000 addresses of 200 bytes": (lambda it: catching_up(it, 200), ROUNDS),
    "view brought up to date, 1,000 addresses of 5 KB": (lambda it: catching_up(it, 5_000), ROUNDS),
    "history, 20 values of 200 bytes": (lambda it: reading_history(it, 200), ROUNDS),
    "history, 20 values of 100 KB": (lambda it: reading_history(it, 100_000), ROUNDS),
    "history, 20 values of 1 MB": (lambda it: reading_history(it, 1_040_000), ROUNDS),
    "view of 10,000 entries": (viewing, FEW_ROUNDS),
    "erasing an agent's part of 20 values of 1 MB": (lambda it: erasing(it, 1_040_000), FEW_ROUNDS),
    "forgetting 20 values of 1 MB that are gone": (lambda it: forgetting(it, 1_040_000), FEW_ROUNDS),
    "page of the log, revisions of 200 keys": (reading_changes, ROUNDS),
    "fan-out to 200 runs that need 1,000 keys": (fanning_out, FEW_ROUNDS),
    "claim and park with 1,000 keys": (claiming, ROUNDS),
    "end of a workflow of 10,000 entries": (ending, FEW_ROUNDS),
    "sweep of 200 expired entries": (expiring, ROUNDS),
}


def test_no_call_holds_the_server_long(watched: Watched, report: Report) -> None:
    one_key: list[float] = []
    usual = committing(watched)
    timings: dict[str, Timing] = {}
    for name, (case, rounds) in CASES.items():
        slowest: dict[str, list[float]] = {}
        works = case(watched)
        for number in range(-1, rounds):
            one_key += [max(watched.calls(next(usual)))[0] for _ in range(5)]
            longest = {script: micros for micros, script in sorted(watched.calls(next(works)))}
            for script, micros in longest.items() if number >= 0 else ():
                slowest.setdefault(script, []).append(micros)
        script, taken = max(slowest.items(), key=lambda item: statistics.median(item[1]))
        timings[f"{name} ({script})"] = Timing.of(taken)
    timings = {ONE_KEY: Timing.of(one_key), **timings}
    with redis.Redis.from_url(watched.url) as client:
        server = durability(client)
    found = {
        "server": server,
        "what": "the longest script call of each: processor time of the server's main thread, with its wire",
        "rounds": f"{ROUNDS}, {FEW_ROUNDS} where one takes long to prepare",
    }
    unit = timings[ONE_KEY].median
    lines = tuple(
        Line(f"{name} / {ONE_KEY}, server time", timing.median / unit, MOST)
        for name, timing in timings.items()
        if name != ONE_KEY
    )
    report.add(Section(TITLE, found, timings, lines, ONE_KEY))
