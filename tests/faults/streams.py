"""Streams of commits from many processes, and what may be true of them after a fault."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import ctxqueue
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager

WORKFLOWS = tuple(f"q{number}-close" for number in range(6))
BLOCKING = 2
"""Processes with one stream, by the blocking driver."""
AWAITING = 2
"""Processes with several streams in one event loop."""
STREAMS_A_LOOP = 3
STREAMS = BLOCKING + AWAITING * STREAMS_A_LOOP
PAUSE = 0.004
"""Seconds between two commits of one stream."""
SOME = 20


class Acknowledged(NamedTuple):
    """One append that its caller was told of. ``began`` and ``ended`` are by the machine's monotonic clock."""

    workflow: str
    item: tuple[int, int]
    revision: int
    began: float
    ended: float


@dataclass
class Streams:
    """Commits under way, and after the block all that were acknowledged."""

    counts: Any
    acknowledged: list[Acknowledged] = field(default_factory=list)

    def wait_for_progress(self) -> None:
        """Return once every stream has made some more commits."""
        before = list(self.counts)
        wait_until(
            lambda: all(now >= then + SOME for now, then in zip(self.counts, before, strict=True)),
            "every stream goes on",
            timeout=40,
        )

    def longest_gap(self) -> float:
        """Return the longest time in seconds that one stream went without an acknowledgement."""
        gaps = [0.0]
        for stream in range(STREAMS):
            ends = [each.ended for each in self.acknowledged if each.item[0] == stream]
            gaps += (later - earlier for earlier, later in pairwise(ends))
        return max(gaps)

    def tell(self, lost: int) -> None:
        """Print the figures; pytest shows them with -rP."""
        sys.stdout.write(f"acknowledged {len(self.acknowledged)}, lost {lost}, gap {self.longest_gap():.1f} s\n")


@contextmanager
def streaming(url: str) -> Iterator[Streams]:
    """Append to some workflows from four processes for as long as the block lasts; each call must succeed."""
    with ctxqueue.connect(url) as manager:
        for name in WORKFLOWS:
            manager.workflow(name).open()
    context = multiprocessing.get_context("spawn")
    stop, counts, reports = context.Event(), context.Array("Q", STREAMS, lock=False), context.Queue()
    first_streams = [*range(BLOCKING), *range(BLOCKING, STREAMS, STREAMS_A_LOOP)]
    processes = [context.Process(target=_work, args=(url, first, stop, counts, reports)) for first in first_streams]
    for process in processes:
        process.start()
    streams = Streams(counts)
    try:
        streams.wait_for_progress()
        yield streams
    finally:
        stop.set()
        found = [reports.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(20)
        if failures := "\n".join(failure for failure, _ in found if failure):
            pytest.fail(failures)  # also where the block has failed: it says why
    streams.acknowledged = [Acknowledged(*each) for _, done in found for each in done]


def _work(url: str, first: int, stop: Any, counts: Any, reports: Any) -> None:
    done: list[Acknowledged] = []
    failure = ""
    try:
        if first < BLOCKING:
            _blocking(url, first, stop, counts, done)
        else:
            asyncio.run(_awaiting(url, first, stop, counts, done))
    except BaseException:  # noqa: BLE001 - whatever it is, the test reports it
        failure = traceback.format_exc()
    reports.put((failure, [tuple(each) for each in done]))


def _blocking(url: str, stream: int, stop: Any, counts: Any, done: list[Acknowledged]) -> None:
    with ctxqueue.connect(url) as manager:
        handles = [manager.workflow(name, agent_id=f"writer_{stream}") for name in WORKFLOWS]
        number = 0
        while not stop.wait(PAUSE):
            wf = handles[number % len(handles)]
            began = time.monotonic()
            result = wf.update({"log": [[stream, number]]}, merge_strategy="append")
            ended = time.monotonic()
            done.append(Acknowledged(wf.workflow_id, (stream, number), result.revision, began, ended))
            number += 1
            counts[stream] = number


async def _awaiting(url: str, first: int, stop: Any, counts: Any, done: list[Acknowledged]) -> None:
    async with ctxqueue.aconnect(url) as manager:

        async def write(stream: int) -> None:
            handles = [manager.workflow(name, agent_id=f"writer_{stream}") for name in WORKFLOWS]
            number = 0
            while not stop.is_set():
                wf = handles[number % len(handles)]
                began = time.monotonic()
                result = await wf.update({"log": [[stream, number]]}, merge_strategy="append")
                ended = time.monotonic()
                done.append(Acknowledged(wf.workflow_id, (stream, number), result.revision, began, ended))
                number += 1
                counts[stream] = number
                await asyncio.sleep(PAUSE)  # the pace: nothing is waited for

        await asyncio.gather(*(write(stream) for stream in range(first, first + STREAMS_A_LOOP)))


def logs(manager: SharedContextManager) -> dict[str, list[tuple[int, int]]]:
    """Return what the workflows hold: the appended items, in the order of their commits."""
    return {name: [(stream, number) for stream, number in manager.workflow(name)["log"]] for name in WORKFLOWS}


def check_once_and_in_order(held: dict[str, list[tuple[int, int]]]) -> None:
    """No item is there twice, and each stream's stand in the order in which it made them."""
    for name, items in held.items():
        assert len(items) == len(set(items)), name
        for stream in range(STREAMS):
            mine = [number for writer, number in items if writer == stream]
            assert mine == sorted(mine), (name, stream)


def lost(held: dict[str, list[tuple[int, int]]], acknowledged: list[Acknowledged]) -> list[Acknowledged]:
    """Return what was acknowledged and is not there."""
    present = {(name, item) for name, items in held.items() for item in items}
    return [each for each in acknowledged if (each.workflow, each.item) not in present]


def check_only_the_tail_is_lost(
    held: dict[str, list[tuple[int, int]]], acknowledged: list[Acknowledged], fault_at: float, lag: float
) -> list[Acknowledged]:
    """What a failover lost are each workflow's last commits before the fault, acknowledged within ``lag`` seconds.

    Replication is asynchronous and in order: what the replica had not received is the end of the master's history.
    """
    gone = lost(held, acknowledged)
    for each in gone:
        assert fault_at - lag <= each.ended <= fault_at + lag, (each, fault_at)
        survivors = [
            other.revision
            for other in acknowledged
            if other.workflow == each.workflow and other.ended < fault_at and other not in gone
        ]
        assert each.revision > max(survivors, default=0), each
    return gone
